"""Nights with the added kinds of faults: servers that are gone, move, hang, bring nothing, or hide behind a proxy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchrunner.sim.record import What
from tests.lab.faults import KINDS, Fault, parse, usual
from tests.lab.nights.night import pass_night
from tests.lab.nights.plan import Axes, Host, Plan
from tests.lab.nights.shape import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.nights.world import World

GONE = Host(parse("[{at: 60, do: gone-for-good}]", "the second server"))


def plan_of(script: str, jobs: int = 4, hosts: tuple[Host, ...] = (Host(),), axes: Axes | None = None) -> Plan:
    """Return the plan of a night with this script."""
    return Plan(1, jobs, parse(script, "script"), hosts=hosts, axes=axes or Axes())


def test_every_new_kind_is_drawn_and_one_server_stays() -> None:
    """Of five hundred seeds each kind is drawn, and in every night at least one server is not gone for good."""
    plans = [drawn(seed, 12) for seed in range(500)]
    scripts = [[{fault.do for fault in host.script} for host in plan.hosts] for plan in plans]
    assert {do for kinds in scripts for one in kinds for do in one} >= {do for do, kind in KINDS.items() if kind.added}
    assert all(any("gone-for-good" not in kinds for kinds in night) for night in scripts)
    assert 20 < sum(any("moves" in kinds for kinds in night) for night in scripts) < 80


@pytest.mark.parametrize("only", ["", "view", "post", "history"])
@pytest.mark.parametrize("do", ["page-404", "page-403", "page-5xx"])
@pytest.mark.parametrize("at", [1.0, 300.0])
def test_a_proxys_pages_cost_no_video(tmp_path: Path, do: str, only: str, at: float) -> None:
    """A proxy that answers with pages for a while, to all or some, costs no render, but for files it forbids."""
    script = (replace(usual(do, at), only=only, lasts=45.0), replace(usual(do, at + 320), only=only, lasts=45.0))
    outcome = pass_night(tmp_path, Plan(1, 3, script))
    assert (outcome.broken, outcome.done) == ((), 3)
    assert outcome.renders <= (5 if (do, only) == ("page-403", "view") else 3)


@pytest.mark.parametrize("how", ["lost", "taken"])
def test_a_flaky_proxy_costs_no_video(tmp_path: Path, how: str) -> None:
    """A proxy that fails every third request all night costs no render."""
    outcome = pass_night(tmp_path, plan_of(f"[{{do: flaky, for: 9000, how: {how}}}]"))
    assert (outcome.broken, outcome.done, outcome.renders) == ((), 4, 4)


def test_a_firewall_fails_the_one_job_it_dislikes(tmp_path: Path) -> None:
    """The job whose text is refused fails with the title of the page, the others are rendered."""
    script = '[{do: firewall, text: "A dog on the moon"}]'
    outcome = pass_night(tmp_path, plan_of(script, 2, axes=Axes(prompts=2)))
    assert (outcome.broken, outcome.done, outcome.failed, outcome.exits) == ((), 1, 1, (1,))


def test_heavy_neighbours_hide_nothing(tmp_path: Path) -> None:
    """Thirty prompts of others with 90 to 200 kB each, and a lost ledger: each job is rendered once."""
    script = "[{do: heavy-neighbours, times: 30}, {at: 400, do: lose-state, for: 5}]"
    outcome = pass_night(tmp_path, plan_of(script, 2))
    assert (outcome.broken, outcome.done, outcome.renders) == ((), 2, 2 + 10)


@pytest.mark.parametrize("how", ["refused", "page"])
def test_a_server_that_is_gone_for_good_costs_no_job(tmp_path: Path, how: str) -> None:
    """What it held is rendered elsewhere, within a quarter of an hour after the other server has run dry."""
    gone = Host((replace(usual("gone-for-good", 60.0), how=how),))
    outcome = pass_night(tmp_path, plan_of("[]", hosts=(Host(), gone)))
    assert (outcome.broken, outcome.done, outcome.exits) == ((), 4, (0,))
    assert outcome.given_up_doubles > 0
    assert outcome.hours < 1


@pytest.mark.parametrize("hosts", [(Host(),), (Host(), Host())])
def test_a_server_that_moves_costs_no_video(tmp_path: Path, hosts: tuple[Host, ...]) -> None:
    """It comes back at another address without a memory; the runner, told of it, renders what was lost."""
    outcome = pass_night(tmp_path, plan_of("[{at: 200, do: moves, for: 60}]", 5, hosts))
    assert (outcome.broken, outcome.done, outcome.exits[-1]) == ((), 5, 0)
    assert outcome.exits[0] == 130


def test_an_unasked_server_may_cost_a_double_render(tmp_path: Path) -> None:
    """A ledger is lost while its server is away: after a minute another one renders, and that is counted."""
    second = Host(parse("[{at: 40, do: refuse, for: 900}]", "the second server"))
    outcome = pass_night(tmp_path, plan_of("[{at: 50, do: lose-state, for: 5}]", hosts=(Host(), second)))
    assert (outcome.broken, outcome.done) == ((), 4)
    assert outcome.unasked_doubles > 0


@pytest.mark.parametrize("how", ["empty", "temp", "forbidden"])
def test_renders_without_a_file_stop_the_run_and_the_next_one_goes_on(tmp_path: Path, how: str) -> None:
    """Three different jobs alike end the run with 3; once the server is well again every job comes home."""
    outcome = pass_night(tmp_path, replace(plan_of(f"[{{do: no-output, for: 1100, how: {how}}}]", 6), again=600.0))
    assert (outcome.broken, outcome.done, outcome.exits) == ((), 6, (3, 0))


@pytest.mark.parametrize("how", ["hears", "deaf"])
def test_a_prompt_that_hangs_costs_no_job(tmp_path: Path, how: str) -> None:
    """It is interrupted by its id after three quarters of an hour; a server that hears nothing is restarted later."""
    worlds: list[World] = []
    script = f"[{{at: 1200, do: hang, for: 6000, how: {how}}}]"
    outcome = pass_night(tmp_path, plan_of(script, 6), worlds.append)
    assert (outcome.broken, outcome.done) == ((), 6)
    interrupted = worlds[0].places[0].sim.record.of(What.INTERRUPTED)
    assert len(interrupted) == (1 if how == "hears" else 0)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_for_a_moment_costs_nothing(tmp_path: Path, status: int) -> None:
    """Once something is out, a refusal that lasts for less than `grace` ends nothing."""
    script = (Fault("refuse-token", 100.0, lasts=40.0, status=status),)
    outcome = pass_night(tmp_path, Plan(1, 3, script))
    assert (outcome.broken, outcome.done, outcome.exits) == ((), 3, (0,))
