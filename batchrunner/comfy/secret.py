"""The token: a word that can be sent and never shown, and taken out of a server's words."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from batchrunner.core.actions import Entry, Failure, NodeError, Refused, Taken

# -- The token: a word that can be sent and never shown.


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


# -- A server's words may quote our own request, its header included; they leave this package without the token.
#
# Only words for people are touched: in an id, a prefix or a file name a short token would be found by chance.


_TITLE = re.compile(r"<title(?:\s[^<>]{0,200})?>([^<]{0,1000})<", re.IGNORECASE)
_LONGEST_TITLE = 100


def title(page: bytes | bytearray, secret: Secret | None) -> str:
    """Return the title of an HTML page, one printable line of at most 100 characters that holds no secret.

    It is the empty text where the page has none.
    """
    found = _TITLE.search(_hidden(page.decode("utf-8", "replace"), secret))
    line = " ".join(unescape(found[1]).split()) if found else ""
    return _hidden("".join(sign for sign in line if sign.isprintable()), secret)[:_LONGEST_TITLE]


def failure(said: Failure, secret: Secret | None) -> Failure:
    """Return a failure whose words hold no secret: a redirect's target may repeat it."""
    return replace(said, message=_hidden(said.message, secret))


def entry(said: Entry, secret: Secret | None) -> Entry:
    """Return a history entry whose error holds no secret."""
    if secret is None:
        return said
    return replace(said, message=secret.hide(said.message), exception=secret.hide(said.exception))


def refused(said: Refused, secret: Secret | None) -> Refused:
    """Return a refusal that holds no secret."""
    if secret is None:
        return said
    return replace(said, message=secret.hide(said.message), node_errors=_hidden_errors(said.node_errors, secret))


def taken(said: Taken, secret: Secret | None) -> Taken:
    """Return an acceptance whose node errors hold no secret."""
    return said if secret is None else replace(said, node_errors=_hidden_errors(said.node_errors, secret))


def _hidden_errors(said: tuple[NodeError, ...], secret: Secret) -> tuple[NodeError, ...]:
    return tuple(replace(one, input=secret.hide(one.input), message=secret.hide(one.message)) for one in said)


def _hidden(text: str, secret: Secret | None) -> str:
    return text if secret is None else secret.hide(text)
