"""Belt and braces: the token is kept out of everything by construction, and taken out here if it got in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from structlog.typing import Processor

    from batchrunner.core.identity import Json

REDACTED = "***"


def redactor(secret: str) -> Processor:
    """Return a processor that replaces `secret` wherever it stands in a record, however deep."""

    def redact(_: object, __: str, record: MutableMapping[str, object]) -> Mapping[str, object]:
        return {key: clean(value, secret) for key, value in record.items()}

    return redact


def clean(value: object, secret: str) -> Json:
    """Return `value` as plain JSON without `secret`: nothing is left to be turned into text behind our back."""
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, dict):
        return {str(clean(str(key), secret)): clean(item, secret) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, secret) for item in value]
    text = str(value)
    return text.replace(secret, REDACTED) if secret else text
