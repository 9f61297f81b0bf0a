"""A folder that nothing leaves."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchrunner.download.folder import Folder, os_error_text
from tests.lab.fake_disk import FakeDisk


def _write(folder: Folder, path: str, body: bytes = b"new") -> None:
    with os.fdopen(folder.create(path), "wb") as file:
        file.write(body)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Yield somebody's file outside of the folder."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    return victim


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Yield an empty folder."""
    (tmp_path / "out").mkdir()
    return Folder(tmp_path / "out")


@pytest.mark.parametrize("path", ["", "/", "/etc/x", "../x", "a/../../x", "a//b", "a/", ".", "./a", "a\0b", "a/."])
def test_a_path_outside_is_no_path(folder: Folder, path: str) -> None:
    """Absolute paths, dots, empty parts and NUL are refused by every operation."""
    for act in (folder.create, folder.extend, folder.size, folder.remove, lambda each: folder.publish("p", each)):
        with pytest.raises(OSError, match=r"inside|No such"):
            act(path)
    assert list(folder.root.parent.iterdir()) == [folder.root]


def test_a_file_is_created_once(folder: Folder) -> None:
    """Folders appear as needed; whatever is there already is never opened for writing."""
    _write(folder, "a/b/c")
    with pytest.raises(FileExistsError):
        folder.create("a/b/c")
    assert folder.size("a/b/c") == 3
    folder.remove("a/b/c")
    folder.remove("a/b/c")
    folder.remove("no/such/folder")
    assert folder.size("a/b/c") is None


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_film_is_as_readable_as_its_person_wants(folder: Folder, umask: int) -> None:
    """A new file may be read and written by whom the umask lets, and run by nobody."""
    before = os.umask(umask)
    try:
        _write(folder, "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder.root / "a").stat().st_mode) == 0o666 & ~umask


def test_no_link_is_followed(folder: Folder, outside: Path) -> None:
    """A link in place of a file or a folder is never written, read or removed through."""
    (folder.root / "link").symlink_to(outside)
    (folder.root / "dangling").symlink_to(outside.parent / "new")
    (folder.root / "dir").symlink_to(outside.parent)
    _write(folder, "part")
    for path in ("link", "dangling", "dir/victim", "dir/new"):
        assert folder.read(path) is None
        with pytest.raises(OSError, match=r"."):
            folder.create(path)
        with pytest.raises(OSError, match=r"."):
            folder.extend(path)
    assert not folder.publish("part", "link")
    assert not folder.publish("part", "dangling")
    with pytest.raises(OSError, match=r"."):
        folder.publish("part", "dir/new")
    folder.remove("dir/victim")
    folder.remove("link")
    assert outside.read_bytes() == b"precious"
    assert not (outside.parent / "new").exists()
    assert list(folder.files()) == ["part"]


def test_only_regular_files_count(folder: Folder) -> None:
    """A pipe, a folder or a device is no file, and nobody waits for it."""
    os.mkfifo(folder.root / "pipe")
    (folder.root / "folder").mkdir()
    for path in ("pipe", "folder"):
        assert folder.read(path) is None
        with pytest.raises(OSError, match=r"."):
            folder.extend(path)
    assert list(folder.files()) == []


def test_nothing_is_left_open(folder: Folder) -> None:
    """However an operation ends, it leaves no file and no folder open: a night has thousands of them."""
    os.mkfifo(folder.root / "pipe")
    before = len(list(Path("/dev/fd").iterdir()))
    for path in ("a/b/p.part", "q.part"):
        _write(folder, path)
        os.close(folder.extend(path))
        assert folder.size(path) == 3
    assert folder.publish("a/b/p.part", "c/d/x.mp4")
    assert not folder.publish("q.part", "c/d/x.mp4")
    for path in ("pipe", "no/such/file", "q.part/x", "c/d/x.mp4/y"):
        assert folder.read(path) is None
        folder.remove(path)
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_pipe_in_place_of_a_folder_holds_nobody_up(folder: Folder) -> None:
    """Where a folder should be, a pipe is no folder: nobody waits for somebody to write to it."""
    os.mkfifo(folder.root / "pipe")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(folder.read, "pipe/film.mp4")
        try:
            assert asked.result(timeout=10) is None
        finally:
            os.close(os.open(folder.root / "pipe", os.O_RDWR))  # whoever waits is let go


def test_publishing_never_overwrites(folder: Folder) -> None:
    """A final name that is taken stays what it is, and the unfinished file stays too."""
    _write(folder, "a/p.part", b"whole")
    _write(folder, "a/x.mp4", b"theirs")
    (folder.root / "a" / "y.mp4").mkdir()
    assert not folder.publish("a/p.part", "a/x.mp4")
    assert not folder.publish("a/p.part", "a/y.mp4")
    assert (folder.root / "a/x.mp4").read_bytes() == b"theirs"
    assert folder.publish("a/p.part", "b/z.mp4")
    assert (folder.root / "b/z.mp4").read_bytes() == b"whole"
    assert sorted(folder.files()) == ["a/x.mp4", "b/z.mp4"]


def test_what_is_published_outlives_a_power_cut(folder: Folder) -> None:
    """A whole file and the folders above it are on the disk when publishing it has ended, its name after `sync`."""
    _write(folder, "a/p.part", b"whole")
    fake_disk = FakeDisk()
    with fake_disk.installed():
        assert folder.publish("a/p.part", "b/c/z.mp4")
        folder.sync("b/c/z.mp4")
    assert all(fake_disk.has(folder.root / path) for path in ("", "b", "b/c", "b/c/z.mp4"))


def test_the_root_may_be_reached_by_a_link(tmp_path: Path) -> None:
    """The folder a person names may be a link; it is resolved once, and moving the link changes nothing."""
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "named").symlink_to("real")
    folder = Folder(tmp_path / "named")
    (tmp_path / "named").unlink()
    (tmp_path / "named").symlink_to("other")
    _write(folder, "a")
    assert (tmp_path / "real" / "a").exists()


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_refusal_of_the_disk_has_words(number: int) -> None:
    """Whatever the system answers, a person reads a sentence without a path in it."""
    said = os_error_text(OSError(number, os.strerror(number), "/secret/path"))
    assert said
    assert "/secret" not in said
