"""What an error of the system or of aiohttp is called, and whether a byte can have left before it."""

from __future__ import annotations

import errno
import os
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from batchrunner.comfy.errors import of_error
from batchrunner.core.actions import Cause

KEY = ConnectionKey("gpu", 8188, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)


def refused(code: int) -> OSError:
    """Return what the system says when it refuses."""
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_no_room_for_a_connection_is_this_machines_trouble(code: int) -> None:
    """Without a handle for a connection nothing left; without room for what was to be sent on one, a part may have."""
    before = of_error("gpu:8188", aiohttp.ClientConnectorError(KEY, refused(code)))
    during = of_error("gpu:8188", refused(code))
    assert (before.cause, before.sent) == (Cause.LOCAL, False)
    assert (during.cause, during.sent) == (Cause.LOCAL, True)
    assert before.message == "this machine has no file handles or sockets left for a connection to gpu:8188"


@pytest.mark.parametrize(
    ("error", "said", "sent"),
    [
        (aiohttp.ClientConnectorError(KEY, refused(errno.ECONNREFUSED)), "refused the connection", False),
        (aiohttp.ClientConnectorError(KEY, refused(errno.EHOSTUNREACH)), "can't be reached", False),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(socket.EAI_NONAME, "unknown")),
            "has no address: the name is unknown",
            False,
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(socket.EAI_AGAIN, "later")),
            "has no address: looking up the name failed",
            False,
        ),
        (aiohttp.ConnectionTimeoutError(), "can't be reached in time", False),
        (aiohttp.InvalidURL("x"), "has an address that can't be used", False),
        (TimeoutError(), "did not answer in time", True),
        (aiohttp.ServerDisconnectedError(), "broke the connection", True),
        (aiohttp.ClientPayloadError(), "broke the connection", True),
        (refused(errno.ECONNRESET), "does not speak proper HTTP", True),
        (ValueError(), "does not speak proper HTTP", True),
    ],
)
def test_an_error_of_the_network_is_the_servers(error: Exception, said: str, *, sent: bool) -> None:
    """Whatever else goes wrong with an exchange, the server is away; only before a connection nothing was sent."""
    trouble = of_error("gpu:8188", error)
    assert (trouble.cause, trouble.message, trouble.sent) == (Cause.UNAVAILABLE, f"gpu:8188 {said}", sent)
