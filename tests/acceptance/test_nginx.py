"""A real nginx in front, as the deployed servers have one: it asks for the token, and speaks HTML when it is upset."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from batches import Batch
from comfyui import Server, free_port
from evidence import assert_home, twice
from processes import ended, until

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
    listen 127.0.0.1:{port}; client_max_body_size {limit}; client_body_buffer_size {limit};
    location / {{
      if ($http_authorization != "Bearer {token}") {{ return 401 '{{"error": "Unauthorized"}}'; }}
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_read_timeout 3s;
    }}
  }}
}}
"""

pytestmark = pytest.mark.skipif(_NGINX is None, reason="there is no nginx on this machine")


@contextmanager
def nginx(folder: Path, upstream: str, limit: str = "1m") -> Iterator[str]:
    """Run nginx in front of `upstream`, which takes bodies up to `limit`, by default its own; yield its URL."""
    assert _NGINX is not None
    folder.mkdir()
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, port=port, token=_TOKEN, upstream=upstream, limit=limit), encoding="ascii"
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


_PICTURES = """
name: night
server: {url}
settle: 1s
grace: 1s
poll: 50ms
workflow: own.json
params: {{seed: 10.seed, length: [4.length, 5.frames_number], image: picture.image}}
defaults: {{length: 25}}
sweep: {{image: [small.png, large.png], seed: 7}}
files: "{{image}}"
"""


def test_a_picture_over_nginx_s_limit(tmp_path: Path) -> None:
    """Over 1 MB its job alone fails, naming the proxy and what to change; with the limit lifted it is rendered."""
    graph = json.loads(files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8"))
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
    graph["pixels"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["picture", 0], "vae": ["1", 2]}}
    graph["10"]["inputs"]["latent_image"] = ["pixels", 0]
    (tmp_path / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    dice = random.Random(1)  # noqa: S311 - a picture, no secret
    for name, length in (("small.png", 9_000), ("large.png", 1_200_000)):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + dice.randbytes(length))
    with Server(tmp_path / "server", seconds=0.1) as server:
        for limit, code, loaded in (("1m", 1, 1), ("2m", 0, 2)):
            with nginx(tmp_path / f"nginx-{limit}", server.url, limit) as url:
                (tmp_path / "night.yaml").write_text(_PICTURES.format(url=url), encoding="utf-8")
                ended(tmp_path, "retry", "night.yaml")
                run = ended(tmp_path, "run", "night.yaml", token=_TOKEN)
            assert run.code == code, run.err
            assert len(server.events("loaded")) == loaded
            if code:
                assert "takes no file of 1.2 MB" in run.err
                assert "the proxy before 127.0.0.1:" in run.err
                assert "client_max_body_size" in run.err
        assert twice(server.events("rendered")) == {}
