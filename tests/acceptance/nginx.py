"""A real nginx before a server, as the deployed ones have: it asks for the token, and limits the size of a body."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Self

from comfyui import free_port
from processes import LIMIT, until

if TYPE_CHECKING:
    from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
"""None: there is none on this machine."""
TOKEN = "a-t0ken-for-nginx"
_CONFIGURATION = """
{user} daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port}; client_max_body_size {limit}; client_body_in_file_only clean;
    location / {{
      if ($http_authorization != "Bearer {token}") {{ return 401 '{{"error": "Unauthorized"}}'; }}
      proxy_pass {upstream}; proxy_http_version 1.1; proxy_read_timeout 3s;
    }}
  }}
}}
"""


class Nginx:
    """A proxy before `upstream`, with its files in `folder`; it listens when the block begins.

    Each body lies in a file of its own until it was passed on, so that a test sees how much of it has come.
    """

    def __init__(self, folder: Path, upstream: str, limit: str = "1m") -> None:
        folder.mkdir()
        self._folder = folder
        self._upstream = upstream
        self._running: subprocess.Popen[bytes] | None = None
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.limit = limit
        """The largest body, by default nginx's own; another one counts from the next start on."""

    def start(self) -> None:
        """Start it, or start it again at the same port."""
        assert NGINX is not None
        text = _CONFIGURATION.format(
            folder=self._folder,
            port=self._port,
            token=TOKEN,
            upstream=self._upstream,
            limit=self.limit,
            user="" if os.geteuid() else "user root;",  # else its worker is nobody, who may not enter the folder
        )
        configuration = self._folder / "nginx.conf"
        configuration.write_text(text, encoding="ascii")
        command = [NGINX, "-p", str(self._folder), "-c", str(configuration)]
        self._running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until(lambda: (self._folder / "nginx.pid").exists() or None, "nginx did not start")

    def stop(self) -> None:
        """Stop it at once: what is under way is cut."""
        if self._running is not None:
            self._running.terminate()
            self._running.wait(LIMIT)
        for body in (self._folder / "body").rglob("*"):
            body.unlink()

    def largest_body(self) -> int:
        """Return how many bytes of the largest body that is under way have come, 0 if none is."""
        sizes = [0]
        for body in (self._folder / "body").rglob("*"):
            try:
                sizes.append(body.stat().st_size)
            except FileNotFoundError:  # it was passed on just now
                continue
        return max(sizes)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
