"""Every way an exchange can go wrong, as a Failure in words of ours.

aiohttp's own errors print the request with its headers, the token among them; none of them, nor their text, leaves
this package.
"""

from __future__ import annotations

import errno
import socket
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from batchrunner.core.actions import Cause, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system's refusals that are this machine's, however much they look like the network's."""
ERRORS = (aiohttp.ClientError, OSError, ValueError)
"""What an exchange may raise; aiohttp's time-outs are OSErrors, its complaints about headers ValueErrors."""
_LONGEST_WAIT = 600.0
_LONGEST_PATH = 200
_CLASSES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((aiohttp.ClientConnectorDNSError,), "has no address: looking up the name failed"),
    ((aiohttp.ClientConnectorCertificateError,), "has a certificate that can't be trusted"),
    ((aiohttp.ClientSSLError,), "ended the TLS handshake, or speaks no TLS"),
    ((aiohttp.ClientConnectorError,), "can't be reached"),
    ((aiohttp.ConnectionTimeoutError,), "can't be reached in time"),
    ((TimeoutError,), "did not answer in time"),
    ((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientOSError), "broke the connection"),
    ((aiohttp.InvalidURL,), "has an address that can't be used"),
    ((Exception,), "does not speak proper HTTP"),
)
"""What an error is called, from the special to the general."""


def of_error(where: str, error: Exception) -> Failure:
    """Return what an error of aiohttp or the system means; `sent` is False only where no byte can have left."""
    unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)
    if _is_out_of_handles(error):
        message = f"this machine has no file handles or sockets left for a connection to {where}"
        return Failure(Cause.LOCAL, message, sent=not unsent, handles=True)
    return Failure(
        Cause.UNAVAILABLE,
        f"{where} {_class(error)}",
        sent=not unsent,
        needs_person=_is_unknown(error) or isinstance(error, aiohttp.ClientConnectorCertificateError),
        timed_out=isinstance(error, TimeoutError) and not unsent,
    )


def of_status(where: str, status: int, headers: Mapping[str, str], url: URL, page: str | None = None) -> Failure:
    """Return what a status without the answer we asked for means; `page` is the title of the page that came with it.

    A page without a title has the empty one; None is no page.
    """
    return Failure(
        Cause.UNAUTHORIZED if status in (401, 403) else Cause.UNAVAILABLE,
        f"{where} {_status(status, headers, url, page)}",
        retry_after=retry_after(headers),
        not_found=status == 404,
        page=page is not None,
        status=status,
    )


def of_answer(where: str, message: str) -> Failure:
    """Return what an answer that can't be believed means."""
    return Failure(Cause.UNAVAILABLE, f"{where} gave an answer of the wrong shape: {message}")


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


def _status(status: int, headers: Mapping[str, str], url: URL, page: str | None) -> str:
    """Say in words what a status means."""
    if 300 <= status < 400:
        target = _target(headers.get("Location", ""), url)
        return f"sends us elsewhere ({status}), to {target}; redirects are not followed"
    titled = f': "{page}"' if page else ""
    if status == 404:
        sent = f" It sent a page{titled}" if page is not None else ""
        return f"has no {url.raw_path[:_LONGEST_PATH]} (404): is the URL right?{sent}"
    if page is not None:
        return f"answered {status} with a page{titled}"
    said = {401: "refused access (401)", 403: "refused access (403)", 429: "asks for fewer requests (429)"}
    return said.get(status, f"answered {status}")


def _is_out_of_handles(error: Exception) -> bool:
    """Tell whether this machine could not open a socket; to the resolver that is an unknown name, so it is tried."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        try:
            socket.socket().close()
        except OSError as failed:
            return failed.errno in OURS
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return isinstance(cause, OSError) and cause.errno in OURS


def _is_unknown(error: Exception) -> bool:
    """Tell whether there is no such name; a resolver that can't be asked just now says something else."""
    return isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno == socket.EAI_NONAME


def _class(error: Exception) -> str:
    """Name the kind of an error."""
    if _is_unknown(error):
        return "has no address: the name is unknown"
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
