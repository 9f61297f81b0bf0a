"""What is left of files after the power went."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from defects import DEFECTS, put_in
from test_crash_points import SPEED, Reaper

from tests.lab.fake_disk import FakeDisk
from tests.lab.faults import Fault, parse
from tests.lab.nights.night import pass_night
from tests.lab.nights.plan import Host, Plan

if TYPE_CHECKING:
    from pathlib import Path

CUTS = parse("[" + ", ".join(f"{{at: {at}, do: power-cut, for: 5}}" for at in (100, 310.5, 600, 900)) + "]", "cuts")


def test_what_was_synced_stays(tmp_path: Path) -> None:
    """Bytes that were synced survive, later ones read as zeros, and so does all of a file that never was."""
    safe, never = tmp_path / "safe", tmp_path / "never"
    fake_disk, plain = FakeDisk(), os.fsync
    with fake_disk.installed(), safe.open("wb", buffering=0) as file:
        file.write(b"synced")
        os.fsync(file.fileno())
        file.write(b" and not")
    never.write_bytes(b"never")
    fake_disk.cut([safe, never])
    assert safe.read_bytes() == b"synced" + bytes(8)
    assert never.read_bytes() == bytes(5)
    assert os.fsync is plain


def test_a_name_outlives_a_link(tmp_path: Path) -> None:
    """What was synced under one name is safe under every other."""
    part, final = tmp_path / "film.part", tmp_path / "film.mp4"
    fake_disk = FakeDisk()
    with fake_disk.installed(), part.open("wb", buffering=0) as file:
        file.write(b"film")
        os.fsync(file.fileno())
    final.hardlink_to(part)
    part.unlink()
    fake_disk.cut([final])
    assert final.read_bytes() == b"film"


def test_a_night_of_power_cuts(tmp_path: Path) -> None:
    """Four power cuts cost no video that was called saved, and leave none that is torn."""
    outcome = pass_night(tmp_path, Plan(1, 4, CUTS))
    assert outcome.broken == ()
    assert outcome.done == 4
    assert outcome.faults["power-cut"] == 4


def test_the_power_may_go_between_the_end_of_a_render_and_saved(tmp_path: Path) -> None:
    """What was rendered is learned again, or found, and never rendered twice: whatever the server forgot meanwhile."""
    calm = Reaper()
    (tmp_path / "calm").mkdir()
    assert pass_night(tmp_path / "calm", Plan(1, 1, crash=calm, hosts=(Host(speed=SPEED),))).broken == ()
    commits = [number for number, point in enumerate(calm.points, 1) if point == "committed"]
    first, last = commits[-3], commits[-1]  # Rendered, Opened, Saved
    for number in range(first, last + 1, 3):
        (folder := tmp_path / str(number)).mkdir()
        script = (Fault("restart", lasts=5.0),) if number % 2 else ()
        plan = Plan(1, 1, crash=Reaper(number), power=True, aftermath=script, again=20.0, hosts=(Host(speed=SPEED),))
        outcome = pass_night(folder, plan)
        assert (outcome.broken, outcome.done, outcome.failed) == ((), 1, 0), calm.points[number - 1]


def test_a_power_cut_shows_what_was_not_synced(tmp_path: Path) -> None:
    """The same night shows a film that got its final name before its bytes were safe."""
    with put_in(DEFECTS["a final name before the fsync"].changes()):
        outcome = pass_night(tmp_path, Plan(1, 4, CUTS))
    assert any(" P6 " in f" {line} " or " P11 " in f" {line} " for line in outcome.broken)
