"""A server's words may quote our own request, its header included; they leave this package without the token.

Only words for people are touched: in an id, a prefix or a file name a short token would be found by chance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.comfy.secret import Secret
    from batchrunner.core.results import Complaint, Entry, Refused, Taken


def entry(said: Entry, secret: Secret | None) -> Entry:
    """Return a history entry whose error holds no secret."""
    if secret is None:
        return said
    return replace(said, says=secret.hide(said.says), exception=secret.hide(said.exception))


def refused(said: Refused, secret: Secret | None) -> Refused:
    """Return a refusal that holds no secret."""
    if secret is None:
        return said
    return replace(said, says=secret.hide(said.says), complaints=_complaints(said.complaints, secret))


def taken(said: Taken, secret: Secret | None) -> Taken:
    """Return an acceptance whose complaints hold no secret."""
    return said if secret is None else replace(said, complaints=_complaints(said.complaints, secret))


def _complaints(said: tuple[Complaint, ...], secret: Secret) -> tuple[Complaint, ...]:
    return tuple(replace(one, input=secret.hide(one.input), says=secret.hide(one.says)) for one in said)
