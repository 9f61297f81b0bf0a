"""The token: a word that can be sent and never shown."""

from __future__ import annotations

import re

from batchrunner.errors import YoursError

_SENDABLE = re.compile(r"[\x21-\x7e]{1,4096}")


class Secret:
    """A bearer token whose `repr`, `str` and format are `***`.

    Surrounding white space is dropped (a token file ends in a newline). Raises YoursError, without the token, where a
    header could not carry it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        stripped = text.strip()
        if not _SENDABLE.fullmatch(stripped):
            raise YoursError("The token must be 1 to 4,096 visible ASCII characters without a space in it.")
        self._text = stripped

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("a secret stays where it is")

    def reveal(self) -> str:
        """Return the token itself, for whoever has to keep it out of a log."""
        return self._text

    def hide(self, text: str) -> str:
        """Return `text` with *** wherever the token stands in it."""
        return text.replace(self._text, repr(self))

    def bearer(self) -> str:
        """Return the value of an Authorization header."""
        return f"Bearer {self._text}"
