"""A real nginx in front, as the deployed servers have one: it asks for the token, and speaks HTML when it is upset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from batches import Batch
from comfyui import Server
from evidence import assert_home, twice
from nginx import NGINX, TOKEN, Nginx

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx on this machine")


def test_a_night_behind_nginx(tmp_path: Path) -> None:
    """Behind nginx every video comes home, each rendered once; without the token nothing gets through."""
    with Server(tmp_path / "server", seconds=0.1) as server, Nginx(tmp_path / "nginx", server.url) as proxy:
        batch = Batch(tmp_path / "night", (proxy.url,), ("cat-1", "cat-2"))
        refused = batch.run()
        assert refused.code == 3
        assert "refuses the token" in refused.err
        assert server.events() == []
        batch.token = TOKEN
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(server.events("rendered")) == {}


def test_nginx_without_its_server(tmp_path: Path) -> None:
    """502 and its HTML are waited out: the server comes back having forgotten all, and the night is finished."""
    with Server(tmp_path / "server", seconds=0.3) as server, Nginx(tmp_path / "nginx", server.url) as proxy:
        batch = Batch(tmp_path / "night", (proxy.url,), ("cat-1", "cat-2"), token=TOKEN)
        with batch.start() as running:
            server.until("started", 2)
            server.kill()
            running.hear("is away")
            server.start()
            assert running.end().code == 0
        assert_home(batch.home, batch.wanted)
