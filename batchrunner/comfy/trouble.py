"""Every way an exchange can go wrong, as a Trouble in words of ours.

aiohttp's own errors print the request with its headers, the token among them; none of them, nor their text, leaves
this package.
"""

from __future__ import annotations

import errno
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from batchrunner.core.results import Cause, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system's refusals that are this machine's, however much they look like the network's."""
ERRORS = (aiohttp.ClientError, OSError, ValueError)
"""What an exchange may raise; aiohttp's time-outs are OSErrors, its complaints about headers ValueErrors."""
_LONGEST_WAIT = 600.0
_CLASSES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((aiohttp.ClientConnectorDNSError,), "has no address: the name is unknown"),
    ((aiohttp.ClientSSLError,), "has a certificate that can't be trusted, or speaks no TLS"),
    ((aiohttp.ClientConnectorError,), "can't be reached"),
    ((aiohttp.ConnectionTimeoutError,), "can't be reached in time"),
    ((TimeoutError,), "did not answer in time"),
    ((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError), "broke the connection"),
    ((aiohttp.InvalidURL,), "has an address that can't be used"),
    ((Exception,), "does not speak proper HTTP"),
)
"""What a trouble is called, from the special to the general."""


def of_error(where: str, error: Exception) -> Failure:
    """Return what an error of aiohttp or the system means; `sent` is False only where no byte can have left."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)
    if isinstance(cause, OSError) and cause.errno in OURS:
        return Failure(Cause.LOCAL, f"this machine has no room for another connection to {where}", sent=not unsent)
    return Failure(Cause.UNAVAILABLE, f"{where} {_class(error)}", sent=not unsent)


def of_status(where: str, status: int, headers: Mapping[str, str], url: URL) -> Failure:
    """Return what a status without the answer we asked for means."""
    wait = retry_after(headers)
    if status in (401, 403):
        return Failure(Cause.UNAUTHORIZED, f"{where} does not let us in ({status})", retry_after=wait)
    if 300 <= status < 400:
        target = _target(headers.get("Location", ""), url)
        return Failure(
            Cause.UNAVAILABLE, f"{where} sends us elsewhere ({status}), to {target}; redirects are not followed"
        )
    said = {404: "has no such address (404): is the URL right?", 429: "asks for fewer requests (429)"}
    says = f"{where} {said.get(status, f'answered {status}')}"
    return Failure(Cause.UNAVAILABLE, says, retry_after=wait, not_found=status == 404)


def of_answer(where: str, says: str) -> Failure:
    """Return what an answer that can't be believed means."""
    return Failure(Cause.UNAVAILABLE, f"{where} gave an answer of the wrong shape: {says}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, 0 to 600: a number, or a date measured against the server's own `Date`."""
    said = headers.get("Retry-After", "").strip()
    if said.isascii() and said.removeprefix("-").isdigit():
        return min(max(float(said[:12]), 0.0), _LONGEST_WAIT)
    until, now = date(said), date(headers.get("Date", ""))
    return None if until is None or now is None else min(max(until - now, 0.0), _LONGEST_WAIT)


def date(said: str) -> float | None:
    """Return an HTTP date as seconds since the epoch, None if it is none."""
    try:
        return parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _class(error: Exception) -> str:
    """Name the kind of a trouble."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno == errno.ECONNREFUSED:
        return "refused the connection"
    return next(said for kinds, said in _CLASSES if isinstance(error, kinds))


def _target(location: str, url: URL) -> str:
    """Return where a redirect points, host and path only: its query may hold what is nobody's business."""
    try:
        target = url.join(URL(location))
        shown = f"{target.scheme}://{target.host or '?'}:{target.port or '?'}{target.raw_path}"
    except ValueError:
        return "an address that can't be read"
    return shown.encode("unicode_escape").decode("ascii")[:200]
