"""One resumable, verified attempt to download one file.

Our own disk first, then one GET (two where an unfinished file turns out to be of another file), then length, boxes
and prefix, then the final name. A final name is a whole file at every instant; everything before that is in a `.part`
named after the attempt, which a later attempt continues only with `If-Match`, in the same boot, and with the Opened
fact that says what it is. What blocks is done in as few calls of a thread as there can be: each costs what a small
write does.
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, BinaryIO, Protocol

from aiofiles.threadpool import wrap
from anyio import CancelScope, current_time

from batchrunner.core.actions import Cause, Downloaded, Failure, LocalFile, NotFound, Rejected
from batchrunner.core.link import Transfers
from batchrunner.core.sizes import KEPT_FREE
from batchrunner.core.suffixes import suffix
from batchrunner.core.video import UNKNOWN, Video, differences
from batchrunner.download import verify as media
from batchrunner.download.folder import Folder, digest, os_error_text, to_thread
from batchrunner.download.pace import TransferSpeed
from batchrunner.download.scan import files_of, sidecar_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from aiofiles.threadpool.binary import AsyncBufferedIOBase

    from batchrunner.core.actions import Download, DownloadEnd
    from batchrunner.core.facts import File

_PAGES = frozenset({"text/html", "application/xhtml+xml"})
"""No file of ComfyUI's comes as one of these: it sends an HTML file as plain data."""
LARGEST = 64 * 2**30
"""Bytes of the largest file taken."""
_CHECKED = 16 * 2**20
"""Bytes after which the free space is checked again."""
_PORTION = 2**19
"""Bytes that are written together: a thread costs as much as writing them does."""
_NAMES = 1_000
_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_PART = re.compile(r"(?:.*/)?[A-Za-z0-9._-]+-[0-9a-f]{12}-a[1-9][0-9]*-[0-9]+\.part")


def final_stem(stem: str, number: int, label: str = "") -> str:
    """Return the local path, without suffix, of a job's file: `number` from 0, `label` of the node that saved it."""
    return "-".join(filter(None, (stem, label, str(number + 1) if number else "")))


def room(folder: Path) -> float:
    """Return how many bytes may be downloaded into a folder, which need not be there yet; inf if nobody can tell."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return Folder(there).free() - KEPT_FREE
    except OSError:
        return inf


class Stream(Protocol):
    """An opened file; `comfy.client.View` is one."""

    @property
    def status(self) -> int:
        """200, 206, 400, 404, 412 or 416; everything else is a Failure."""

    @property
    def etag(self) -> str:
        """The ETag with its quotes, empty if there is none."""

    @property
    def size(self) -> int:
        """Bytes of the whole file, -1 if the server does not say."""

    @property
    def start(self) -> int:
        """Where in the file the body starts, -1 if a 206 does not say."""

    @property
    def date(self) -> float | None:
        """The server's clock, seconds since the epoch; None if it does not say."""

    @property
    def content_type(self) -> str:
        """Lower case, without parameters."""

    async def read(self) -> bytes | Failure:
        """Return the next piece, nothing at the end of the body."""


class Source(Protocol):
    """Where files come from; `comfy.client.Client` is one."""

    def view(self, file: File, start: int = 0, etag: str = "") -> AbstractAsyncContextManager[Stream | Failure]:
        """Open a file, from byte `start` of the one with `etag`."""


class Downloader:
    """The downloads of one batch into `folder`; `boot` is the boot id of this machine, `warn` tells a person.

    No file of more than `largest` bytes is taken, and `kept_free` bytes of the disk are left alone.
    """

    def __init__(
        self,
        folder: Path,
        boot: str,
        *,
        largest: int = LARGEST,
        kept_free: int = KEPT_FREE,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._folder = Folder(folder)
        self._boot = boot
        self._limits = _Limits(largest, kept_free, warn or (lambda _: None))
        self.asked: Callable[[Download], Video] = lambda _: UNKNOWN
        """What is asked of the video that an action downloads; one that differs is kept, with a warning."""
        self.renders: Callable[[Download], str] = lambda _: ""
        """The `render_digest` of an action's job, empty if it is not known: what was only found, on our own disk or
        under a guessed name, must carry such a workflow. Called in a thread, as `asked` is."""
        self.transfers: dict[tuple[str, str], tuple[str, int, int]] = {}
        """What is under way, by job and `File.key`: local path without suffix, bytes so far and in all (or -1)."""
        self._received: Counter[str] = Counter()

    async def fetch(
        self,
        action: Download,
        source: Source,
        stem: str,
        opened: Callable[[str, int, str], None],
        named: Callable[[Downloaded], None] = lambda _: None,
    ) -> DownloadEnd:
        """Download one file, or say why not. `stem` is its local path without suffix, `/` between folders.

        `opened(etag, size, part)` is called once the headers are in, before the first byte is written. A cancelled
        fetch leaves a `.part` that the next one continues. `named` is called in a thread when the file has its name,
        to write what stands beside it before the folder is synced.
        """
        parts = (self._folder, self._boot, self._limits, action, stem, suffix(action.file.name))
        one = _Download(*parts, self.renders, named, self.asked, self.transfers, self._received)
        try:
            return await one.fetch(source, opened)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return Failure(Cause.LOCAL, f"this machine has {os_error_text(error)}", handles=True)
            return Failure(Cause.LOCAL, f"the output folder can't be written: {os_error_text(error)}")
        finally:
            self.transfers.pop((action.job, action.file.key), None)

    def seen(self) -> Transfers:
        """Return what has come so far, and what is here of the files under way."""
        return Transfers(self._received, {file: got for file, (_, got, _) in self.transfers.items()})

    def scan(self, batch: str, stems: Collection[str] | None = None) -> tuple[LocalFile, ...]:
        """Return every whole file of `batch` in the folder, or with these `stems`; see `scan.files_of`. Blocks."""
        return files_of(batch, self._folder, stems)

    def sweep(self) -> None:
        """Remove the unfinished files of attempts, ours by their names. Blocks; may raise OSError."""
        for path in [path for path in self._folder.files() if _PART.fullmatch(path)]:
            self._folder.remove(path)


@dataclass(frozen=True, slots=True)
class _Limits:
    """See `Downloader`."""

    largest: int
    kept_free: int
    warn: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Download:
    """One file of one attempt, and the names it may have here."""

    folder: Folder
    boot: str
    limits: _Limits
    action: Download
    stem: str
    suffix: str
    renders: Callable[[Download], str]
    named: Callable[[Downloaded], None]
    asked: Callable[[Download], Video]
    transfers: dict[tuple[str, str], tuple[str, int, int]]
    received: Counter[str]

    async def fetch(self, source: Source, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        start = await to_thread(self._begin) if self._is_begun() else 0
        if isinstance(start, Downloaded):
            return start
        end = await self._get(source, opened, start)
        if end is None and start:
            await to_thread(self.folder.remove, self.part)
            end = await self._get(source, opened, 0)
        return end or Failure(Cause.UNAVAILABLE, "the server answers a plain request as if we had asked for a part")

    def _is_begun(self) -> bool:
        """Whether there is anything to look at. Asked in the loop: for a new file a thread would only delay its GET."""
        paths = (self.part, *islice(self._names_in_order(), 3))
        return any(os.path.lexists(self.folder.root / path) for path in paths)

    def _begin(self) -> Downloaded | int:
        """Return what our own disk has: the file, or how many bytes of a `.part` may be kept."""
        return self.local() or self.resumable()

    def local(self) -> Downloaded | None:
        """Search our own disk: a final file that is ours, or a complete `.part`, which is then published."""
        for number, name in enumerate(self._names_in_order()):
            file = self.folder.read(name)
            if file is not None:
                with file:
                    if self._is_ours(file, name):
                        self.folder.remove(self.part)
                        return self._home(name, file, media.inspect_as(file, self.suffix))
            elif number > 1:
                break
        return self._complete()

    def _complete(self) -> Downloaded | None:
        """Publish a complete `.part`, unless it may hold the zeros of a power cut."""
        was, file = self.action.opened, self.folder.read(self.part)
        if file is None:
            return None
        with file:
            if (was is not None and was.boot != self.boot) or not self._is_ours(file, self.part):
                return None
            return self._publish(file, media.inspect_as(file, self.suffix))

    def _is_ours(self, file: BinaryIO, path: str) -> bool:
        """Tell by the workflow in a file, else by its sidecar, else by its length if we saw the same on the server.

        The length is asked too where the prefix is ours and the workflow is not: the server may have rewritten it.
        """
        seen, was = media.inspect_as(file, self.suffix), self.action.opened
        if not seen.whole:
            return False
        if seen.prefixes is not None:
            if self.action.prefix not in seen.prefixes or not self._differs(seen):
                return self.action.prefix in seen.prefixes
        elif (told := sidecar_of(self.folder, path)) is not None:
            return told == (self.action.prefix, digest(file)[1])
        return was is not None and was.size == file.seek(0, os.SEEK_END) and not self.action.probe

    def _differs(self, seen: media.Inspection) -> bool:
        """Whether a file is known to carry another workflow than the job's."""
        return bool(seen.digest) and self.renders(self.action) not in ("", seen.digest)

    def resumable(self) -> int:
        """Return how many bytes of a `.part` may be kept; one that may not is removed."""
        was, size = self.action.opened, self.folder.size(self.part) or 0
        if was is not None and (was.part, was.boot, was.file) == (self.part, self.boot, self.action.file.key):
            return size if 0 < size < was.size and _strong(was.etag) else 0
        return 0

    async def _get(self, source: Source, opened: Callable[[str, int, str], None], start: int) -> DownloadEnd | None:
        """Make one GET; None if the file there is not the one we began."""
        etag = self.action.opened.etag if self.action.opened and start else ""
        async with source.view(self.action.file, start, etag) as stream:
            if isinstance(stream, Failure):
                return stream
            match stream.status:
                case 400:
                    never = Rejected("the server will never hand it out: its name is refused (400)", never=True)
                    return _page(stream) or never
                case 404:
                    return await to_thread(self._gone)
                case 200:
                    return await self._take(stream, opened, 0)
                case 206 if start and self._continues(stream, start):
                    return await self._take(stream, opened, start)
            return None

    def _gone(self) -> Downloaded | NotFound:
        """Search our own disk once more: an earlier run may have been killed between the last byte and its record.

        What a 404 means is decided in `core.download_results`.
        """
        local = self.local()
        if local is None:
            self.folder.remove(self.part)
        return local or NotFound()

    def _continues(self, stream: Stream, start: int) -> bool:
        was = self.action.opened
        return was is not None and (stream.start, stream.size, stream.etag) == (start, was.size, was.etag)

    async def _take(self, stream: Stream, opened: Callable[[str, int, str], None], start: int) -> DownloadEnd:
        if page := _page(stream):
            return page
        if stream.size > self.limits.largest:
            return self._too_large()
        try:
            end = await self._write(stream, opened, start)
        except OSError:
            await to_thread(self.folder.remove, self.part)
            raise
        if isinstance(end, Rejected):
            await to_thread(self.folder.remove, self.part)
        return end

    def _too_large(self) -> Rejected:
        why = f"it is larger than {self.limits.largest} bytes"
        return Rejected(why, etag=why)

    async def _write(self, stream: Stream, opened: Callable[[str, int, str], None], start: int) -> DownloadEnd:
        """Write the body behind the first `start` bytes, and finish. Closed whatever happens."""
        with CancelScope(shield=True):
            part = await to_thread(self._open, start, stream.size)
        if isinstance(part, Failure):
            return part
        file = wrap(part)
        try:
            opened(stream.etag, stream.size, self.part)
            end = await self._copy(stream, file, start)
            if isinstance(end, Failure | Rejected):
                return end
            if 0 <= end < stream.size:
                return Failure(Cause.UNAVAILABLE, f"the file broke off after {end} of {stream.size} bytes")
            return await to_thread(self._finish, part, _strong(stream.etag) if stream.size >= 0 else "")
        finally:
            if not part.closed:
                with CancelScope(shield=True):
                    await file.close()

    def _open(self, start: int, size: int) -> BinaryIO | Failure:
        """Open the `.part` behind its first `start` bytes, of `size` in all, or begin a new one."""
        if full := self._no_room(max(size - start, 0)):
            return full
        if start:
            return os.fdopen(self.folder.extend(self.part), "ab")
        self.folder.remove(self.part)
        return os.fdopen(self.folder.create(self.part), "wb")

    async def _copy(self, stream: Stream, file: AsyncBufferedIOBase, got: int) -> int | Rejected | Failure:
        """Write what comes behind the first `got` bytes; return how many there are in the end."""
        pace, ends, checked, waiting = TransferSpeed(current_time(), got), self._ends(stream), got, bytearray()
        try:
            while piece := await stream.read():
                if isinstance(piece, Failure):
                    return piece
                got += len(piece)
                if problem := self._excess(got, stream.size):
                    return problem
                if got - checked >= _CHECKED:
                    checked = got
                    if full := await to_thread(self._no_room, max(stream.size - got, 0) + len(piece)):
                        return full
                waiting += piece
                if len(waiting) >= _PORTION:
                    writing, waiting = waiting, bytearray()
                    await file.write(writing)
                self.transfers[self.action.job, self.action.file.key] = self.stem, got, stream.size
                self.received[self.action.server] += len(piece)
                now = current_time()
                pace.take(now, got)
                if pace.is_too_slow(now, got):
                    return Failure(Cause.UNAVAILABLE, "the file came at less than 1 kB/s for ten minutes")
                if ends is not None and pace.late(now, got, stream.size, ends):
                    late = "at this speed the server may delete it before the download is complete"
                    self.limits.warn(f"{self.stem}: {late}")
        finally:
            if waiting:
                with CancelScope(shield=True):
                    await file.write(waiting)
        return got

    def _excess(self, got: int, size: int) -> Rejected | Failure | None:
        """Return that a file is larger than may be, or than the server said."""
        if got > self.limits.largest:
            return self._too_large()
        if 0 <= size < got:
            return Failure(Cause.UNAVAILABLE, f"the server sends more than the {size} bytes it announced")
        return None

    def _ends(self, stream: Stream) -> float | None:
        """Return when clean-up may delete the file, on the loop's clock; None if nobody can tell."""
        if self.action.deadline is None or stream.date is None:
            return None
        return current_time() + self.action.deadline - stream.date

    def _no_room(self, wanted: int) -> Failure | None:
        """Return that what is still to come would leave less of the disk free than must be."""
        free, kept = self.folder.free(), self.limits.kept_free
        if free >= wanted + kept:
            return None
        return Failure(
            Cause.LOCAL,
            f"the disk of the output folder has {free // 2**20} MiB left; the file needs {wanted // 2**20} MiB, "
            f"and {kept // 2**20} MiB are kept free",
        )

    def _finish(self, part: BinaryIO, etag: str) -> DownloadEnd:
        """Check a `.part` that has all its bytes: publish it, or say what is wrong. A full disk may only show here.

        What is wrong twice under one `etag` is proven bad. Where the server names none, or where the end of the
        connection passed for the end of the file, the bytes stand for it: only the same bytes again are proof.
        """
        part.close()
        file = self.folder.read(self.part)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "the unfinished file vanished")
        with file:
            seen = media.inspect_as(file, self.suffix)
            if problem := self._problem(seen, etag or f"sha256 {digest(file)[1]}"):
                return problem
            return self._publish(file, seen)

    def _problem(self, seen: media.Inspection, etag: str) -> Rejected | None:
        if not seen.whole:
            return Rejected(seen.message, etag)
        if seen.prefixes is not None and self.action.prefix not in seen.prefixes:
            return Rejected("it carries the workflow of another attempt", etag, foreign=True)
        if self.action.probe and self._differs(seen):
            return Rejected("it carries our prefix and another workflow", etag, foreign=True)
        if seen.prefixes is None and self.action.probe:
            return Rejected("it carries no workflow, so its name alone proves nothing", etag)
        return None

    def _publish(self, file: BinaryIO, seen: media.Inspection) -> Downloaded:
        """Give the `.part` the first name that is free; what stands under the others is not ours to overwrite."""
        for name in self._names_in_order():
            if self.folder.publish(self.part, name):
                return self._home(name, file, seen)
        raise FileExistsError(errno.EEXIST, "every name for it is taken")

    def _home(self, name: str, file: BinaryIO, seen: media.Inspection) -> Downloaded:
        """Have written what stands beside a file that has its final name, and make both names durable."""
        end = Downloaded(name, *digest(file), differences(self.asked(self.action), seen.video))
        self.named(end)
        self.folder.sync(name)
        return end

    @property
    def part(self) -> str:
        """Where it grows: beside its final name, named after the attempt."""
        above = self.stem.rpartition("/")
        return f"{above[0]}{above[1]}{self.action.prefix}-{self.action.index}.part"

    def _names_in_order(self) -> Iterator[str]:
        """Yield the names it may get, in order: the manifest's, with the job's id if it lacks that, with numbers."""
        yield self.stem + self.suffix
        own = self.stem
        if self.action.job not in self.stem:
            own = f"{self.stem}-{self.action.job}"
            yield own + self.suffix
        for number in range(2, _NAMES):
            yield f"{own}-{number}{self.suffix}"


def _page(stream: Stream) -> Failure | None:
    """Return that a page came, which says nothing of the file: a proxy's must not cost a render, however often."""
    if stream.content_type not in _PAGES:
        return None
    message = f"the server answered with a page ({stream.status}) instead of the file: does it want a login?"
    return Failure(Cause.UNAVAILABLE, message, page=True)


def _strong(etag: str) -> str:
    """Return an ETag that stands for the very bytes of a file; empty for a weak or an empty one."""
    return etag if _STRONG.fullmatch(etag) else ""
