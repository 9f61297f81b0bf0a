"""A real nginx in front, as the deployed servers have one: it asks for the token, and speaks HTML when it is upset."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from batches import Batch
from comfyui import Server, free_port
from evidence import assert_home, twice
from processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TOKEN = "a-t0ken-for-nginx"
_NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
_CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      if ($http_authorization != "Bearer {token}") {{ return 401 '{{"error": "Unauthorized"}}'; }}
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_read_timeout 3s;
    }}
  }}
}}
"""

pytestmark = pytest.mark.skipif(_NGINX is None, reason="there is no nginx on this machine")


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[str]:
    """Run nginx in front of `upstream`; yield its URL."""
    assert _NGINX is not None
    folder.mkdir()
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, port=port, token=_TOKEN, upstream=upstream), encoding="ascii"
    )
    with subprocess.Popen([_NGINX, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL) as running:
        until(lambda: (folder / "nginx.pid").exists() or None, "nginx did not start")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()


def test_a_night_behind_nginx(tmp_path: Path) -> None:
    """Behind nginx every video comes home, each rendered once; without the token nothing gets through."""
    with Server(tmp_path / "server", seconds=0.1) as server, nginx(tmp_path / "nginx", server.url) as url:
        batch = Batch(tmp_path / "night", (url,), ("cat-1", "cat-2"))
        refused = batch.run()
        assert refused.code == 3
        assert "refuses the token" in refused.err
        assert server.events() == []
        batch.token = _TOKEN
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(server.events("rendered")) == {}


def test_nginx_without_its_server(tmp_path: Path) -> None:
    """502 and its HTML are waited out: the server comes back having forgotten all, and the night is finished."""
    with Server(tmp_path / "server", seconds=0.3) as server, nginx(tmp_path / "nginx", server.url) as url:
        batch = Batch(tmp_path / "night", (url,), ("cat-1", "cat-2"), token=_TOKEN)
        with batch.start() as running:
            server.until("started", 2)
            server.kill()
            running.hear("is away")
            server.start()
            assert running.end().code == 0
        assert_home(batch.home, batch.wanted)
