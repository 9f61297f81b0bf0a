"""A server that takes connections and never answers."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

from batches import Batch
from comfyui import Server

if TYPE_CHECKING:
    from pathlib import Path

_SOON = 15.0
"""Seconds of a busy machine; the check alone would wait 15 s for a server that hangs, one request of it 90 s."""


def test_a_server_that_hangs_does_not_hold_up_the_start(tmp_path: Path) -> None:
    """Beside a server that works, one that takes connections and never answers is told within a few seconds."""
    with Server(tmp_path / "server") as up, closing(socket.create_server(("127.0.0.1", 0))) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        batch = Batch(tmp_path, (up.url, url))
        began = time.monotonic()
        with batch.start() as running:
            line = running.hear("couldn't check nodes and models")
            assert url in line
            assert time.monotonic() - began < _SOON
