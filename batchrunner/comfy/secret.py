"""The token: a word that can be sent and never shown, and taken out of a server's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from html import unescape
from typing import TYPE_CHECKING, Any, TypeVar

from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from ssl import SSLContext

T = TypeVar("T")
_SENDABLE = re.compile(r"[\x21-\x7e]{1,4096}")
_CHANCE = 8
"""Characters of a token from which on it is taken for itself wherever it is found."""


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
        """Return `text` with *** wherever the token stands in it, also where its end was cut off with the text's."""
        hidden = text.replace(self._text, repr(self))
        last = hidden[-1:]
        for length in range(min(len(self._text) - 1, len(hidden)), _CHANCE - 1, -1):
            if self._text[length - 1] == last and hidden.endswith(self._text[:length]):
                return hidden[:-length] + repr(self)
        return hidden

    def is_long(self) -> bool:
        """Whether the token can't stand in an id or a name by chance."""
        return len(self._text) >= _CHANCE

    def bearer(self) -> str:
        """Return the value of an Authorization header."""
        return f"Bearer {self._text}"


class Credentials:
    """The headers that every request to one server carries, and the secrets that stand in them. Its repr shows none.

    `tls`: whose certificates are trusted, where it is not those that the system trusts.
    """

    __slots__ = ("_headers", "_secrets", "tls")

    def __init__(
        self, headers: Mapping[str, str] | None = None, secrets: Iterable[Secret] = (), tls: SSLContext | None = None
    ) -> None:
        self._headers = dict(headers or {})
        self._secrets = tuple(secrets)
        self.tls = tls

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self._headers)})"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("a secret stays where it is")

    @classmethod
    def bearer(cls, token: Secret | None, tls: SSLContext | None = None) -> Credentials:
        """Return the credentials of a server that takes a bearer token; none without one."""
        return cls({"Authorization": token.bearer()}, (token,), tls) if token else cls(tls=tls)

    def __bool__(self) -> bool:
        """Whether any secret is sent."""
        return bool(self._secrets)

    def headers(self) -> dict[str, str]:
        """Return the headers themselves, for the one place that sends them."""
        return dict(self._headers)

    def hide(self, text: str, *, name: bool = False) -> str:
        """Return `text` with *** for every secret in it; in a `name`, only for those too long to be there by chance."""
        for secret in self._secrets:
            if secret.is_long() or not name:
                text = secret.hide(text)
        return text


NO_CREDENTIALS = Credentials()


# -- Everything a server says leaves this package through here: its words may quote our own request, header included.


_TITLE = re.compile(r"<title(?:\s[^<>]{0,200})?>([^<]{0,1000})<", re.IGNORECASE)
_LONGEST_TITLE = 100
_NAMES = frozenset({"prompt", "prefixes", "name", "subfolder", "kind", "outputs", "digest"})
"""Fields of an answer by which prompts and files are told apart. A token shorter than 8 characters stays in them: it
would be found there by chance, and a file that is asked for under another name is lost."""


def redacted(value: T, credentials: Credentials, *, name: bool = False) -> T:
    """Return an answer with *** wherever a secret stood in it: dataclasses, mappings, tuples and lists of texts.

    With `name` every text is treated as one by which things are told apart: short secrets stay in it.
    """
    return _redacted(value, credentials, name=name) if credentials else value


def _redacted(value: Any, credentials: Credentials, *, name: bool = False) -> Any:  # noqa: ANN401 - any answer
    match value:
        case Enum():
            return value  # a word of ours
        case str():
            return credentials.hide(value, name=name)
        case tuple() | list():
            return type(value)(_redacted(one, credentials, name=name) for one in value)
        case Mapping():
            return {
                _redacted(key, credentials, name=True): _redacted(one, credentials, name=name)
                for key, one in value.items()
            }
        case _ if is_dataclass(value) and not isinstance(value, type):
            found = {field.name: getattr(value, field.name) for field in fields(value)}
            return replace(
                value, **{key: _redacted(one, credentials, name=name or key in _NAMES) for key, one in found.items()}
            )
    return value


def title(page: bytes | bytearray, credentials: Credentials) -> str:
    """Return the title of an HTML page, one printable line of at most 100 characters that holds no secret.

    It is the empty text where the page has none.
    """
    found = _TITLE.search(redacted(page.decode("utf-8", "replace"), credentials))
    line = " ".join(unescape(found[1]).split()) if found else ""
    return redacted("".join(sign for sign in line if sign.isprintable()), credentials)[:_LONGEST_TITLE]
