"""Where to render and by which rules."""

from __future__ import annotations

import pytest
from manifests import batch, diagnostics

from batchrunner.core.settings import Rules
from batchrunner.manifest import Options

SWEEP = "\nsweep: {prompt: a}\n"


@pytest.mark.parametrize(
    ("server", "servers"),
    [
        ("sim", ["sim"]),
        ("HTTP://GPU-Box:8188/", ["http://gpu-box:8188"]),
        ("https://gpu-box:443/comfy/", ["https://gpu-box/comfy"]),
        ("http://[::1]:8188", ["http://[::1]:8188"]),
        ("[http://a, http://b, HTTP://A:80]", ["http://a", "http://b"]),
    ],
)
def test_servers(server: str, servers: list[str]) -> None:
    """One server has one name, however it is written."""
    assert list(batch(SWEEP, head=f"name: t\nserver: {server}\nworkflow: ltx2").servers) == servers


def test_servers_of_the_command_line() -> None:
    """`--server` stands instead of the manifest's, which then needs none."""
    options = Options(servers=("http://B/", "sim"))
    assert batch(SWEEP, options=options, head="name: t\nworkflow: ltx2").servers == ("http://b", "sim")


def test_rules() -> None:
    """Every rule can be said, in words that name their unit."""
    said = (
        "ttl: none\nattempts: 5\ndepth: 1\npatience: 90m\nsettle: 1.5s\ngrace: 250ms\npoll: 5 s\nhint: off\nstuck: 4.5"
    )
    said += SWEEP
    times = {"patience": 5400, "settle": 1.5, "grace": 0.25, "poll": 5}
    expected = Rules(attempts=5, depth=1, max_depth=1, ttl=None, hint=False, stuck=4.5, **times)
    assert batch(said, head="name: t\nserver: http://a\nworkflow: ltx2\n").rules == expected


def test_rules_unsaid() -> None:
    """Unsaid, the rules are those of a real night; on the simulator nobody waits a minute for what cannot happen."""
    assert batch(SWEEP, head="name: t\nserver: http://a\nworkflow: ltx2").rules == Rules()
    assert batch(SWEEP).rules == Rules(settle=1.0, grace=1.0)
    assert batch("settle: 70s\npoll: adaptive\nttl: 50ms" + SWEEP).rules == Rules(settle=70.0, grace=1.0, ttl=0.05)


@pytest.mark.parametrize(("written", "times"), [("off", None), ("3", 3.0), ("1", 1.0), ("1000", 1000.0), ("2.5", 2.5)])
def test_when_a_render_is_stuck(written: str, times: float | None) -> None:
    """`stuck` is a number of times its forecast, or `off`; three times where nothing is said."""
    assert batch(f"stuck: {written}{SWEEP}").rules.stuck == times
    assert batch(SWEEP).rules.stuck == 3.0


def test_no_password_is_repeated() -> None:
    """A URL with a password is refused without showing it."""
    said = diagnostics(SWEEP, head="name: t\nserver: http://me:hunter2@gpu-box\nworkflow: ltx2")
    assert said.startswith("m.yaml:2:9: server: must hold no user name")
    assert "hunter2" not in said


def test_axes_and_count() -> None:
    """A plan can say what was multiplied."""
    found = batch("sweep: {prompt: [a, b], steps: 8, seed: {count: 3}}")
    assert (found.axes, found.counted) == ((("prompt", 2), ("seed", 3)), 6)
    found = batch("sweep: [{prompt: [a, b]}, {prompt: c, zip: {width: [64, 96], height: [64, 96]}}]")
    assert found.axes == (("sweep[0].prompt", 2), ("sweep[1].width+height", 2))
