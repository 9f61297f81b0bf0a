"""A night of image-to-video: twelve pictures, two seeds, nginx, and all that can go wrong with pictures."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias
from urllib.request import Request, urlopen

import pytest
from batches import Batch
from comfyui import Server
from evidence import embedded
from nginx import NGINX, TOKEN, Nginx
from processes import Running, chances, until

from batchrunner.core.job import upload_name

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

_NIGHTS = os.environ.get("BATCHRUNNER_PICTURE_SEEDS", "")
"""More seeds, each with ten kills, and not one command for several troubles:
`BATCHRUNNER_PICTURE_SEEDS=0:20 pytest tests/acceptance/test_pictures.py`."""
_SEEDS = range(*map(int, (_NIGHTS or "0:1").split(":")))
_MANIFEST = """
name: night
server: {url}
ttl: none
settle: 1s
grace: 1s
poll: 50ms
depth: 2
attempts: 1
workflow: own.json
params: {{seed: 10.seed, length: [4.length, 5.frames_number], image: picture.image}}
defaults: {{length: 25}}
sweep: {{image: {{files: "pictures/*/*.png"}}, seed: [7, 8]}}
files: "{{image}}-s{{seed}}"
"""
Trouble: TypeAlias = Callable[[Running], None]
_PNG = b"\x89PNG\r\n\x1a\n"
_SIZES = {"a/00": 24_000_000, "a/01": 1_200_000, "b/05": 1_500_000}
"""Pictures over nginx's own limit of 1 MB; the first is so large that its upload can be cut in the middle."""
_NAMES = (*(f"a/{number:02}" for number in range(6)), *(f"b/{number:02}" for number in range(5, 11)))
"""One file name twice: 05, in two folders."""

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx on this machine")


@dataclass
class Night(Batch):
    """A batch of pictures, its server, the proxy between them, and what goes wrong there."""

    server: Server = field(kw_only=True)
    proxy: Nginx = field(kw_only=True)
    chance: Random = field(kw_only=True)
    pictures: dict[str, str] = field(default_factory=dict)
    """The sha256 of each, by the name under which it is uploaded."""
    before: int = 0
    """How many events the record had when the server was started last: it has forgotten them."""

    def write(self) -> None:
        """Write pictures, workflow and manifest."""
        for name in _NAMES:
            path = self.folder / "pictures" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_PNG + self.chance.randbytes(_SIZES.get(name, 9_000)))
            digest = sha256(path.read_bytes()).hexdigest()
            self.pictures[upload_name(digest, ".png")] = digest
        graph = json.loads(files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8"))
        graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
        graph["pixels"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["picture", 0], "vae": ["1", 2]}}
        graph["10"]["inputs"]["latent_image"] = ["pixels", 0]
        (self.folder / "own.json").write_text(json.dumps(graph), encoding="utf-8")
        (self.folder / "night.yaml").write_text(_MANIFEST.format(url=self.proxy.url), encoding="utf-8")

    @property
    def inputs(self) -> Path:
        """The server's input folder."""
        return self.folder / "server" / "files" / "input"

    def run_and_kill(self, *troubles: Trouble) -> None:
        """Start the command, have these troubles come, and kill the command at a random moment after them."""
        self.server.process.signal(signal.SIGSTOP)  # however slow this machine starts a command, nothing is rendered
        with self.start() as running:
            until(partial(self.is_held, running.pid), "the batch is not held")
            self.server.process.signal(signal.SIGCONT)
            for trouble in troubles:
                running.hear("is up")
                trouble(running)
            running.lasts(self.chance.uniform(0.0, 0.3))
            assert running.kill().code == -signal.SIGKILL, "the batch was over before it was killed"

    def sessions(self, troubles: list[Trouble], *, more: int) -> list[list[Trouble]]:
        """Return the troubles of each run to be killed: all in one; in a longer night each in its own, and `more`."""
        if not _NIGHTS:
            return [troubles]
        return [*([trouble] for trouble in reversed(troubles)), *([] for _ in range(more))]

    # -- what goes wrong

    def stranger(self) -> None:
        """Upload other files, as long as ours, under the names of the first pictures that nginx lets through."""
        for path in sorted(self.folder.glob("pictures/a/*.png"))[2:5]:
            name = upload_name(_digest(path), ".png")
            head = f'--b\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
            content = path.read_bytes()
            body = head + _PNG + content[: len(_PNG) - 1 : -1] + b"\r\n--b--\r\n"
            form = {"Content-Type": "multipart/form-data; boundary=b"}
            request = Request(f"{self.server.url}/upload/image", body, form)  # noqa: S310 - loopback
            with urlopen(request) as answer:  # noqa: S310 - the same
                assert json.load(answer)["name"] == name

    def cleaned_up(self, _running: Running) -> None:
        """Delete every input file while a prompt of ours waits, and see it fail."""
        failed = len(self.server.events("failed"))
        self._stop_server({"posted"}, set())
        self._empty_inputs()
        self.server.process.signal(signal.SIGCONT)
        self.server.until("failed", failed + 1)

    def restarted(self, _running: Running) -> None:
        """Kill the server while it renders, and start it again with an empty input folder.

        Never between a render and its file: that one would rightly be rendered again.
        """
        self._stop_server({"started", "loaded", "encoded"}, {"rendered", "saved"})
        self.server.kill()
        self._empty_inputs()
        self.before = len(self.server.events())
        self.server.start()

    def upload_cut_by_kill(self, running: Running) -> None:
        """Kill the runner in the middle of the large picture's upload."""
        self._cut_upload(running.kill)

    def upload_cut_by_proxy(self, _running: Running) -> None:
        """Stop the proxy in the middle of the large picture's upload."""
        self._cut_upload(self.proxy.stop)
        self.proxy.start()

    def _cut_upload(self, cut: Callable[[], object]) -> None:
        """Cut the large picture's upload, with the server frozen so that it can't get all of it meanwhile."""
        until(lambda: self.proxy.largest_body() > 2_000_000, "the large picture is not uploaded")
        self.server.process.signal(signal.SIGSTOP)
        cut()
        self.server.process.signal(signal.SIGCONT)
        large = sha256((self.folder / "pictures/a/00.png").read_bytes()).hexdigest()
        assert upload_name(large, ".png") not in {event["note"] for event in self.server.events("uploaded")}

    def _stop_server(self, some: set[str], none: set[str]) -> None:
        """Freeze the server after a first video, when a prompt's last event is of `some`, and none's of `none`."""

        def frozen() -> bool:
            self.server.process.signal(signal.SIGSTOP)
            events = self.server.events()[self.before :]
            last = set({event["prompt_id"]: event["what"] for event in events if event["prefix"]}.values())
            if "viewed" in last and some & last and not none & last:
                return True
            self.server.process.signal(signal.SIGCONT)
            return False

        until(frozen, f"no prompt is {some}")

    def _empty_inputs(self) -> None:
        for path in self.inputs.iterdir():
            path.unlink()


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_night_of_pictures(tmp_path: Path, seed: int) -> None:
    """Over nginx's limit only their jobs fail, naming it; in the end each video is of its picture and rendered once."""
    with (
        Server(tmp_path / "server", seconds=0.8 if _NIGHTS else 0.4) as server,
        Nginx(tmp_path / "nginx", server.url) as proxy,
    ):
        night = Night(tmp_path, (proxy.url,), token=TOKEN, server=server, proxy=proxy, chance=chances(seed))
        night.stranger()
        early = night.chance.sample([night.cleaned_up, night.restarted], k=2)
        for troubles in night.sessions(early, more=4):
            night.run_and_kill(*troubles)
        limited = night.run()
        assert limited.code == 1, limited.err
        assert "takes no file of 1.2 MB" in limited.err
        assert "the proxy before 127.0.0.1:" in limited.err
        assert "client_max_body_size" in limited.err
        assert len(list(night.home.glob("*.mp4"))) == 18
        assert any(" (1)" in event["note"] for event in server.events("uploaded"))
        proxy.stop()
        proxy.limit = "64m"
        proxy.start()
        night.ask("retry")
        late = [night.upload_cut_by_proxy, night.upload_cut_by_kill]
        for troubles in night.sessions(late, more=2):
            night.run_and_kill(*troubles)
        last = night.run()
        assert last.code == 0, last.err
        assert_right_videos(night)


def assert_right_videos(night: Night) -> None:
    """Fail unless each picture and seed has one video, rendered once, of the bytes of that picture."""
    films = sorted(night.home.rglob("*.mp4"))
    assert len(films) == 24
    seen, jobs = set(), {}
    for film in films:
        workflow, sidecar = embedded(film.read_bytes()), json.loads(film.with_suffix(".json").read_text("utf-8"))
        name, number = workflow["picture"]["inputs"]["image"].replace(" (1)", ""), workflow["10"]["inputs"]["seed"]
        own = night.folder / sidecar["inputs"][0]["path"]
        assert night.pictures[name] == _digest(own)
        assert film.name.startswith(f"{own.stem}-s{number}")
        jobs[_job(workflow["15"]["inputs"]["filename_prefix"])] = name
        seen.add((name, number))
    assert seen == {(name, number) for name in night.pictures for number in (7, 8)}
    assert Counter(_job(event["prefix"]) for event in night.server.events("rendered")) == dict.fromkeys(jobs, 1)
    loaded = night.server.events("loaded")  # once a picture, where its second seed finds it in the server's cache
    assert all(event["note"] == night.pictures[jobs[_job(event["prefix"])]] for event in loaded)
    assert {event["note"] for event in loaded} == set(night.pictures.values())


def _job(prefix: str) -> str:
    return prefix.split("-")[1]
