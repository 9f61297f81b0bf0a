"""Hostile names, planted links, full disks and sudden deaths: nothing outside is touched, nothing half is shown."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from films import PREFIX, film

from batchrunner.core.actions import Cause, Download, Downloaded, Failure, Rejected
from batchrunner.core.facts import File, Opened
from batchrunner.download.folder import Folder
from batchrunner.download.transfer import Downloader
from batchrunner.errors import LocalError
from tests.lab.clock import VirtualLoop, run
from tests.lab.disk import watched
from tests.lab.process import KilledError, Process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

JOB, BOOT, ETAG = "0123456789ab", "boot-1", '"e"'
FILM = film(pixels=bytes(range(256)) * 20)
FETCH = Download(JOB, 1, PREFIX, "s", File("a.mp4"))
PART = f"{PREFIX}-0.part"
ROOT = Path(__file__).parents[2]
HOME = Downloaded("night/cat.mp4", len(FILM), sha256(FILM).hexdigest())
OPENED = Opened(JOB, 1, 0.0, "a.mp4", ETAG, len(FILM), PART, BOOT)


@dataclass
class Body:
    """An opened file that comes in portions."""

    whole: bytes
    start: int = 0
    portion: int = 1_000
    etag: str = ETAG
    content_type: str = "video/mp4"

    def __post_init__(self) -> None:
        """Be the answer to a plain request, or to one for the rest."""
        self.size, self.status, self._at = len(self.whole), 206 if self.start else 200, self.start

    async def read(self) -> bytes:
        """Return the next portion."""
        piece = self.whole[self._at : self._at + self.portion]
        self._at += len(piece)
        return piece


@dataclass
class Shop:
    """Where the one film comes from."""

    whole: bytes = FILM

    @asynccontextmanager
    async def view(self, _file: File, start: int = 0, _etag: str = "") -> AsyncIterator[Body]:
        """Open it."""
        yield Body(self.whole, start)


def ignore(_etag: str, _size: int, _part: str) -> None:
    """Take no note of what was opened."""


def put(path: Path, body: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def names(root: Path) -> set[str]:
    """Return every path below a folder, links and folders included."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


HOSTILE = [
    "../../etc/passwd.mp4",
    "..\\..\\x.mp4",
    "/etc/cron.d/x.mp4",
    "C:\\x.mp4",
    "a/b/c.mp4",
    "nul\0.mp4",
    "line\nbreak.mp4",
    "%2e%2e%2fx.mp4",
    "x" * 5_000 + ".mp4",
    "e\u0301.mp4",
    "\u202egpj.mp4",
    "dot. .mp4",
    "ads:stream.mp4",
    "-rf.mp4",
    "\ud800.mp4",
    "con.mp4",
    "~.mp4",
    "$(reboot).mp4",
    ".hidden.mp4",
    "\x1b[2J.mp4",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_servers_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    """Whatever a server calls its file or folder, ours has our name in our folder."""
    put(tmp_path / "out" / "keep", b"")
    action = replace(FETCH, file=File(name, name))
    end = await Downloader(tmp_path / "out", BOOT).fetch(action, Shop(), "night/cat", ignore)
    assert isinstance(end, Downloaded)
    assert names(tmp_path) == {"out", "out/keep", "out/night", "out/night/cat.mp4"}


@pytest.mark.parametrize("stem", ["/abs", "../up", "a/../../b", "a//b", "nul\0", "./x"])
async def test_a_name_of_ours_that_leaves_the_folder_is_no_name(tmp_path: Path, stem: str) -> None:
    """A local name is confined too: nothing is written, and the trouble is ours, not the server's."""
    put(tmp_path / "out" / "keep", b"")
    end = await Downloader(tmp_path / "out", BOOT).fetch(FETCH, Shop(), stem, ignore)
    assert isinstance(end, Failure)
    assert end.cause is Cause.LOCAL
    assert {name for name in names(tmp_path) if "." in name or not name.startswith("out")} == set()


async def test_planted_links_are_not_written_through(tmp_path: Path) -> None:
    """Links at the unfinished file and at the final name point at somebody's file, which stays as it is."""
    root, victim = tmp_path / "out", tmp_path / "victim"
    put(victim, b"precious")
    root.mkdir()
    (root / PART).symlink_to(victim)
    (root / "cat.mp4").symlink_to(victim)
    for action in (FETCH, replace(FETCH, opened=replace(OPENED, size=9_999))):
        end = await Downloader(root, BOOT).fetch(action, Shop(), "cat", ignore)
        assert end == Downloaded(f"cat-{JOB}.mp4", len(FILM), sha256(FILM).hexdigest())
    assert victim.read_bytes() == b"precious"
    assert (root / "cat.mp4").is_symlink()


async def test_a_planted_folder_link_stops_us(tmp_path: Path) -> None:
    """A link in place of a folder is this machine's trouble: we don't write where it points."""
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "night").symlink_to(elsewhere)
    end = await Downloader(root, BOOT).fetch(FETCH, Shop(), "night/cat", ignore)
    assert isinstance(end, Failure)
    assert end.cause is Cause.LOCAL
    assert "link" in end.message
    assert names(elsewhere) == set()


@pytest.mark.parametrize("kind", ["folder", "pipe"])
async def test_odd_things_in_our_way_do_not_hold_us_up(tmp_path: Path, kind: str) -> None:
    """A folder or a pipe under our names is neither read nor waited for nor removed with what is in it."""
    for name in (PART, "cat.mp4"):
        if kind == "folder":
            put(tmp_path / name / "inside", b"x")
        else:
            os.mkfifo(tmp_path / name)
    end = await Downloader(tmp_path, BOOT).fetch(FETCH, Shop(), "cat", ignore)
    if kind == "pipe":
        assert isinstance(end, Downloaded)
        assert end.path == f"cat-{JOB}.mp4"
    else:
        assert isinstance(end, Failure)
        assert end.cause is Cause.LOCAL
        assert (tmp_path / "cat.mp4" / "inside").exists()


async def test_a_vanished_folder_is_this_machines_trouble(tmp_path: Path) -> None:
    """Without its folder a download ends as local trouble, and makes no folder of that name."""
    downloads = Downloader(tmp_path / "out", BOOT)
    end = await downloads.fetch(FETCH, Shop(), "cat", ignore)
    assert end == Failure(Cause.LOCAL, "the output folder can't be written: the folder is gone")
    assert names(tmp_path) == set()


async def test_two_files_that_want_one_name_both_come_home(tmp_path: Path) -> None:
    """Of two jobs with the same local name one gets it, the other its own id, whoever is first."""
    other, prefix = "f" * 12, f"cats-{'f' * 12}-a1"
    downloads = Downloader(tmp_path, BOOT)
    ends = await asyncio.gather(
        downloads.fetch(FETCH, Shop(), "cat", ignore),
        downloads.fetch(replace(FETCH, job=other, prefix=prefix), Shop(film(prefix)), "cat", ignore),
    )
    assert all(isinstance(end, Downloaded) for end in ends)
    assert names(tmp_path) in ({"cat.mp4", f"cat-{other}.mp4"}, {"cat.mp4", f"cat-{JOB}.mp4"})


LIMITED = """
import asyncio, resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_fetch_hostile import BOOT, FETCH, Shop, ignore, names
from batchrunner.download.transfer import Downloader

async def main(root):
    kind, limit = getattr(resource, sys.argv[3]), int(sys.argv[4])
    await asyncio.to_thread(len, "")
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    end = await Downloader(root, BOOT).fetch(FETCH, Shop(), "night/cat", ignore)
    resource.setrlimit(kind, (soft, hard))
    left = sorted(name for name in names(root) if "." in name)
    print(*(getattr(end, name) for name in ("cause", "handles", "message") if hasattr(end, name)), *left)

asyncio.run(main(Path(sys.argv[2])))
"""


def limited(root: Path, kind: str, limit: int) -> str:
    """Make an attempt in a program that may use so much of a resource, and return what it says.

    With `-B`: a compiled module that the limit cuts short would be left to every later process.
    """
    here = str(Path(__file__).parent)
    command = [sys.executable, "-B", "-W", "error", "-c", LIMITED, here, str(root), kind, str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("limit", [0, 999, 4_000, len(FILM) - 1])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, limit: int) -> None:
    """Where the disk takes no more, also if it says so only when the file is closed, the unfinished file is removed."""
    said = "local False the output folder can't be written: the file is larger than this system allows\n"
    assert limited(tmp_path, "RLIMIT_FSIZE", limit) == said


def test_a_disk_with_just_enough_room_is_enough(tmp_path: Path) -> None:
    """The last byte that fits is no trouble."""
    assert limited(tmp_path, "RLIMIT_FSIZE", len(FILM)) == "night/cat.mp4\n"


def test_no_file_handles_left_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """Out of file handles, a download is this machine's trouble, not its disk's, and leaves nothing."""
    assert limited(tmp_path, "RLIMIT_NOFILE", 5) == "local True this machine has too many open files\n"


async def attempt(root: Path, action: Download, ends: list[object], opened: list[Opened]) -> None:
    """Make one attempt, and note how it opened and ended."""

    def note(etag: str, size: int, part: str) -> None:
        opened.append(Opened(JOB, 1, 0.0, "a.mp4", etag, size, part, BOOT))

    ends.append(await Downloader(root, BOOT).fetch(action, Shop(), "night/cat", note))


def killed(root: Path, number: int, opened: list[Opened]) -> tuple[bool, str]:
    """Kill an attempt at its `number`-th step on the disk; tell whether it got that far, and which step it was."""
    root.mkdir()
    steps: list[str] = []

    async def main(loop: VirtualLoop) -> None:
        process = loop.spawn("runner")

        def kill(who: Process, point: str) -> None:
            steps.append(point)
            if len(steps) == number:
                who.kill()

        loop.on_point = kill
        with watched(loop):
            try:
                await process.start(attempt(root, FETCH, [], opened))
            except KilledError:
                return

    run(main, seed=1)
    return len(steps) >= number, steps[-1]


def test_death_at_any_step_costs_nothing(tmp_path: Path) -> None:
    """Killed at each of its steps, a download never shows a partial film, and the next attempt brings it home."""
    visited = set[str]()
    for number in range(1, 1_000):
        root, opened = tmp_path / str(number), list[Opened]()
        reached, step = killed(root, number, opened)
        if not reached:
            break
        visited.add(step)
        final = root / "night" / "cat.mp4"
        assert not final.exists() or final.read_bytes() == FILM
        ends: list[object] = []
        again = replace(FETCH, opened=opened[-1] if opened else None)
        asyncio.run(attempt(root, again, ends, []))
        assert ends == [HOME]
        assert names(root) == {"night", "night/cat.mp4"}
    assert visited >= {"disk mkdir", "disk open", "disk link", "disk unlink", "disk fsync", "call write"}


def failing(root: Path, number: int, code: int) -> tuple[list[str], object]:
    """Let the `number`-th step on the disk fail with `code`; return the steps and how the attempt ended."""
    root.mkdir()
    steps: list[str] = []
    ends: list[object] = []

    async def main(loop: VirtualLoop) -> None:
        def fail(_who: Process, point: str) -> None:
            if point.startswith(("call ", "disk ")) and point != "call close":
                steps.append(point)
                if len(steps) == number:
                    raise OSError(code, os.strerror(code))

        loop.on_point = fail
        with watched(loop):
            await attempt(root, FETCH, ends, [])

    run(main, seed=1)
    return steps, ends[0]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EDQUOT])
def test_whatever_step_the_disk_refuses_it_is_this_machines_trouble(tmp_path: Path, code: int) -> None:
    """Each step fails in turn: never a partial film, never the server's fault, and the next attempt brings it home."""
    for number in range(1, 1_000):
        root = tmp_path / str(number)
        steps, end = failing(root, number, code)
        final = root / "night" / "cat.mp4"
        assert not final.exists() or final.read_bytes() == FILM
        if len(steps) < number:
            break
        assert isinstance(end, Failure), steps[-1]
        assert (end.cause, end.handles) == (Cause.LOCAL, code in (errno.EMFILE, errno.ENFILE))
        ends: list[object] = []
        asyncio.run(attempt(root, FETCH, ends, []))
        assert ends == [HOME]
        assert names(root) == {"night", "night/cat.mp4"}
    else:
        pytest.fail("an attempt that never ends")


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_without_hard_links_is_no_obstacle(tmp_path: Path, code: int) -> None:
    """Where a file can't have two names it is renamed; a name that is taken is still not overwritten."""
    steps, _ = failing(tmp_path / "count", 1_000, code)
    at = steps.index("disk link") + 1
    assert failing(tmp_path / "free", at, code)[1] == HOME
    folder = Folder(tmp_path / "free")
    os.close(folder.create("night/new.part"))
    _refuse_links(folder, code)
    assert (tmp_path / "free" / "night" / "cat.mp4").read_bytes() == FILM


def _refuse_links(folder: Folder, code: int) -> None:
    """Try to publish over a name that is taken, on a disk without hard links."""

    async def main(loop: VirtualLoop) -> None:
        def fail(_who: Process, point: str) -> None:
            if point == "disk link":
                raise OSError(code, os.strerror(code))

        loop.on_point = fail
        with watched(loop):
            assert not folder.publish("night/new.part", "night/cat.mp4")

    run(main, seed=1)


@contextmanager
def handles(spare: int) -> Iterator[None]:
    """Leave this program so many files to open, as far as that can be said."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        last = os.dup(0)
        held.callback(os.close, last)
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + spare, hard))
        yield


@pytest.mark.parametrize("spare", [0, 1])
def test_a_search_that_the_system_refuses_finds_nothing_missing(tmp_path: Path, spare: int) -> None:
    """Out of file handles, the videos on this disk are not found, and that is told instead of rendering them again."""
    put(tmp_path / "night" / "cat.mp4", FILM)
    downloads = Downloader(tmp_path, BOOT)
    with handles(spare), pytest.raises(LocalError, match="can't be searched: "):
        downloads.scan("cats")
    assert [home.path for home in downloads.scan("cats")] == ["night/cat.mp4"]


@pytest.mark.parametrize("body", [b"", b"x", FILM[:8], FILM[8:], b"\x89PNG\r\n\x1a\n" * 9])
async def test_what_is_unfit_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    """Whatever came instead of a film, not a byte of it stays."""
    end = await Downloader(tmp_path, BOOT).fetch(FETCH, Shop(body), "cat", ignore)
    assert isinstance(end, Rejected)
    assert names(tmp_path) == set()
