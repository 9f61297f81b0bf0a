"""One POST of JSON to a URL that is a secret: whoever knows it may post there.

Nothing of it but the host's name leaves this module; aiohttp's own errors quote the whole, so only their kind is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

_ANOTHER_TRY = frozenset({408, 425, 429})
_CLASSES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "has no address: the name is unknown"),
    (aiohttp.ClientSSLError, "has a certificate that can't be trusted, or speaks no TLS"),
    (aiohttp.ClientConnectorError, "can't be reached"),
    (TimeoutError, "did not answer in time"),
    (Exception, "broke the connection off"),
)
"""What an error is called, from the special to the general."""


@dataclass(frozen=True, slots=True)
class Miss:
    """A try that did not deliver."""

    message: str
    """Why, after the name of whom it was for; holds no secret."""
    again: bool
    """Whether another try may help, and can do no harm."""


class Way(Protocol):
    """A way to tell somebody. Every call is one try; what went wrong is an answer, not an exception."""

    @property
    def name(self) -> str:
        """What to call it before people: no secret."""

    async def deliver(self, body: bytes, limit: float) -> Miss | None:
        """Hand over a notice as JSON within `limit` seconds; return what went wrong."""


class Webhook:
    """A URL to POST to. Raises ValueError, without the URL, if it is none of http or https with a host."""

    def __init__(self, url: str) -> None:
        try:
            self._url = URL(url)
            usable = self._url.scheme in ("http", "https") and bool(self._url.host and self._url.port)
        except ValueError:
            usable = False
        if not usable or not url.isprintable() or " " in url:
            raise ValueError("is no URL that begins with http:// or https://")
        self.name = self._url.host or ""

    def __repr__(self) -> str:
        return f"Webhook({self.name})"

    async def deliver(self, body: bytes, limit: float) -> Miss | None:
        """POST once; a redirect is not followed, for the notice is not meant for whoever stands there."""
        try:
            async with _session(limit) as http, http.post(self._url, data=body, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Miss(next(message for kind, message in _CLASSES if isinstance(error, kind)), again=True)
        if 200 <= status < 300:
            return None
        if 300 <= status < 400:
            return Miss(f"sends us elsewhere ({status}); redirects are not followed", again=False)
        return Miss(f"answered {status}", again=status >= 500 or status in _ANOTHER_TRY)


def _session(limit: float) -> aiohttp.ClientSession:
    """Return a session for one try: no proxy from the environment, no netrc, no cookies, nothing kept alive."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=limit),
        auto_decompress=False,
        trust_env=False,
    )
