"""How soon a finished file is home, and what short jobs lose: python tests/benchmarks/hint.py [off] [jobs].

The real command, in a process of its own, renders 20 jobs of 2 s and 40 of 0.3 s on a simulator behind nginx (without
one if there is none), each with a file of 0.3 MB. Beside it a bare client that posts everything at once, listens to the
websocket and does nothing but GET, write, fsync and rename: what it takes is the floor. With `off` the command opens no
socket; with `jobs` the server has a jobs API. Printed: ratios, and the medians they are made of.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
import sys
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from batchrunner.comfy.submission import post_body
from batchrunner.core.facts import Accepted, Saved
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.manifest import load
from batchrunner.sim.machine import Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator, serve
from batchrunner.state import read_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

SIZE = 300_000
CASES = ((20, 2.0), (40, 0.3))
_MANIFEST = """
name: {name}
server: {url}
ttl: none
hint: {hint}
workflow: ltx2
defaults: {{size: sd, length: 25, quality: fast}}
sweep: {{prompt: a cat, seed: {{count: {jobs}}}}}
"""
_NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
_CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass {upstream}; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One client's way through all jobs of a case. Times in seconds, medians where there are many."""

    makespan: float
    """From the start of the first render to the end of the last."""
    idle: float
    """Of that, how long the server had nothing to render."""
    opened: float
    """From the end of a render until its file was asked for."""
    saved: float
    """From the end of a render until its file was on the disk, synced."""
    requests: Counter[str]
    cpu: float
    """Of the process."""


@asynccontextmanager
async def nginx(folder: Path, upstream: str) -> AsyncIterator[str]:
    """Run nginx in front of `upstream`, if there is one; yield the URL to use."""
    if _NGINX is None:
        yield upstream
        return
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs yet
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, port=port, upstream=upstream), encoding="ascii")
    running = await asyncio.create_subprocess_exec(_NGINX, "-p", str(folder), "-c", str(configuration), stderr=-3)
    while not (folder / "nginx.pid").exists():  # noqa: ASYNC110 - another program makes it
        await asyncio.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        await running.wait()


async def measure(folder: Path, jobs: int, seconds: float, *, hint: str, jobs_api: bool = False) -> Measured:
    """Render a batch; `hint`: `auto` or `off` for the command, `bare` for the bare client."""
    requests: Counter[str] = Counter()

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        requests[f"{request.method} /{request.path.split('/')[1]}"] += 1
        return await handler(request)

    pace = Pace(step=0.0, fixed=seconds, save=0.0, noise=0.0, longest=None)
    simulator = Simulator(folder / "server", pace=pace, ttl=None, renderer=BoxRenderer(SIZE), jobs_api=jobs_api)
    application = simulator.application()
    application.middlewares.insert(0, count)
    async with serve(simulator, application=application) as upstream, nginx(folder / "nginx", upstream) as url:
        name = f"b{jobs}-{hint}"
        path = folder / f"{name}.yaml"
        used = "off" if hint == "off" else "auto"
        path.write_text(_MANIFEST.format(name=name, url=url, hint=used, jobs=jobs), encoding="utf-8")
        if hint == "bare":
            out, cpu = await _run(sys.executable, __file__, "--bare", str(path), url, str(folder))
            saved: dict[str, float] = json.loads(out)
        else:
            command = (sys.executable, "-m", "batchrunner", "run", str(path), "--out", str(folder))
            await _run(sys.executable, "-m", "batchrunner", "plan", str(path))  # so that every module is compiled
            _, whole = await _run(*command)
            saved = _saved(folder / name, name)
            counted = requests.copy()
            # Everything is done: what is left is its start. The least of three, for it is where others disturb.
            start_up = min([(await _run(*command))[1] for _ in range(3)])
            requests, cpu = counted, whole - start_up
    at = {event.prompt_id: event.at for event in simulator.record if event.what is What.SUCCEEDED}
    began = min(event.at for event in simulator.record if event.what is What.STARTED)
    # The record knows which prompt wrote the file that is asked for.
    opened = {event.prompt_id: event.at for event in simulator.record if event.what is What.VIEWED}
    assert at.keys() == saved.keys(), "every job once"
    return Measured(
        max(at.values()) - began,
        _idle(simulator),
        median(opened[prompt] - at[prompt] for prompt in at),
        median(saved[prompt] - at[prompt] for prompt in at),
        requests,
        cpu,
    )


def _idle(simulator: Simulator) -> float:
    """Return how long nothing ran between two renders, in all."""
    ended, idle = None, 0.0
    for event in simulator.record:
        if event.what is What.STARTED and ended is not None:
            idle += event.at - ended
        elif event.what is What.SUCCEEDED:
            ended = event.at
    return idle


async def _run(*command: str) -> tuple[str, float]:
    """Run a command to its end, which must be good; return what it printed and the CPU it used."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1, env=environment)
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out.decode(), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _saved(folder: Path, name: str) -> dict[str, float]:
    """Return when the file of each prompt was on the disk, by the ledger."""
    snapshot = read_state(folder, name)
    assert snapshot is not None
    prompts = {fact.job: fact.prompt for fact in snapshot.facts if isinstance(fact, Accepted)}
    return {prompts[fact.job]: fact.at for fact in snapshot.facts if isinstance(fact, Saved)}


async def bare(path: Path, url: str, folder: Path) -> dict[str, float]:
    """Post every job at once, and save each file when a `status` tells of its end; return when each was on the disk."""
    batch = load(path)
    names = [(prompt_id("bare", job.id, 1), file_prefix("bare", job.id, 1)) for job in batch.jobs]
    saved: dict[str, float] = {}
    async with aiohttp.ClientSession(url) as http, http.ws_connect("/ws?clientId=bare") as listening:
        for job, (prompt, prefix) in zip(batch.jobs, names, strict=True):
            async with http.post("/prompt", data=post_body(batch.graph(job, prefix), prompt, "bare")) as answer:
                assert answer.status == 200
        remaining = 0
        while len(saved) < len(names):
            message = await listening.receive_json()
            if message["type"] != "status":
                continue
            before, remaining = remaining, message["data"]["status"]["exec_info"]["queue_remaining"]
            if remaining < before:
                prompt = names[len(saved)][0]
                await _save(http, prompt, folder)
                saved[prompt] = time.time()
    return saved


async def _save(http: aiohttp.ClientSession, prompt: str, folder: Path) -> None:
    async with http.get(f"/history/{prompt}") as answer:
        entry = (await answer.json())[prompt]
    (file,) = (file for node in entry["outputs"].values() for file in node["images"])
    async with http.get(f"/view?{urlencode(file)}") as answer:
        content = await answer.read()
    part = folder / f"{prompt}.part"
    with part.open("wb") as written:
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
    part.rename(folder / f"{prompt}.mp4")
    number = os.open(folder, os.O_RDONLY)
    os.fsync(number)
    os.close(number)


async def main(hint: str, *, jobs_api: bool) -> None:
    """Measure every case and print ratios."""
    api = "; a jobs API" if jobs_api else ""
    sys.stdout.write(
        f"hint: {hint}{api}; {'behind nginx' if _NGINX else 'without nginx'}; load {os.getloadavg()[0]:.1f}\n"
    )
    for jobs, seconds in CASES:
        with TemporaryDirectory(prefix="hint-") as one, TemporaryDirectory(prefix="bare-") as two:
            ours = await measure(Path(one), jobs, seconds, hint=hint, jobs_api=jobs_api)
            floor = await measure(Path(two), jobs, seconds, hint="bare")
        asked = ", ".join(f"{number / jobs:.2f} {what}" for what, number in sorted(ours.requests.items()))
        sys.stdout.write(
            f"{jobs} jobs of {seconds:g} s:\n"
            f"  makespan {ours.makespan / floor.makespan:.3f} floors ({ours.makespan:.1f} s, {floor.makespan:.1f})\n"
            f"  idle between renders {ours.idle / ours.makespan:.2%} (floor: {floor.idle / floor.makespan:.2%})\n"
            f"  success to GET {1000 * ours.opened:.1f} ms (bare client: {1000 * floor.opened:.1f})\n"
            f"  success to saved {1000 * ours.saved:.1f} ms, {ours.saved / floor.saved:.2f} x the bare client's"
            f" {1000 * floor.saved:.1f}\n"
            f"  requests a job {sum(ours.requests.values()) / jobs:.2f}: {asked}\n"
            f"  CPU a job, without the start {1000 * ours.cpu / jobs:.1f} ms\n"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        json.dump(asyncio.run(bare(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))), sys.stdout)
    else:
        asyncio.run(main("off" if "off" in sys.argv[1:] else "auto", jobs_api="jobs" in sys.argv[1:]))
