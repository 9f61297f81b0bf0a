"""The contract of `plan --json` and `status --json`, and the same for people."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from batchrunner.core.board import Board
from batchrunner.core.facts import File, Saved, Why
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import (
    STATE_NAMES,
    AttemptHistory,
    Done,
    Failed,
    Fetching,
    Item,
    Prompt,
    Queued,
    Sending,
    State,
    Unwanted,
    Waiting,
)
from batchrunner.core.settings import Rules
from batchrunner.show.runner import ServerState
from batchrunner.show.status import (
    Plan,
    Standing,
    axes,
    plan_json,
    plan_view,
    print_lines,
    state_name,
    status_json,
    status_view,
    telling,
)
from batchrunner.text import json_text, moment, stamp

PROMPT = Prompt(2, "id", "p-a2", "http://gpu:8188", claimed=True)
SAVED = Saved("j4", 2, 1.0, "x.mp4", "cats/j4.mp4", 5, "0" * 64)
STATES: dict[str, State] = {
    "j0": Waiting(),
    "j1": Sending(AttemptHistory(1), PROMPT),
    "j2": Queued(AttemptHistory(1), PROMPT),
    "j3": Fetching(AttemptHistory(2), PROMPT, (Item(File("x.mp4"), saved=SAVED), Item(File("y.mp4"))), None),
    "j4": Done(AttemptHistory(2), PROMPT, (SAVED,)),
    "j5": Failed(AttemptHistory(3), Why.REFUSED, "KSampler #3: steps is \x1b[2J[red]wrong[/red]"),
    "j6": Unwanted(AttemptHistory(1)),
}
JOBS = [Job(f"j{n}", "", {"seed": 2**64 - 1 - n, "steps": 20, "_style": "a[b]"}, f"cats/j{n}", 0.0) for n in range(8)]


def _printed(view: list[Text], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, height=24, color_system=None, markup=False)
    print_lines(console, view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_status_says_how_every_job_stands() -> None:
    """Counts of the six states, and per job its state, attempts, parameters, files and failure."""
    told = status_json("cats", JOBS, STATES, Standing())
    assert told["total"] == 7
    assert told["counts"] == {"waiting": 2, "sending": 1, "queued": 1, "fetching": 1, "done": 1, "failed": 1}
    file = {"path": "cats/j4.mp4", "bytes": 5, "sha256": "0" * 64}
    assert told["jobs"] == [
        {"id": f"j{n}", "state": state, "attempts": attempts, "params": JOBS[n].params, "files": files, "why": why}
        for n, state, attempts, files, why in [
            (0, "waiting", 0, [], None),
            (1, "sending", 1, [], None),
            (2, "queued", 1, [], None),
            (3, "fetching", 2, [file], None),
            (4, "done", 2, [file], None),
            (5, "failed", 3, [], "refused: KSampler #3: steps is \x1b[2J[red]wrong[/red]"),
            (7, "waiting", 0, [], None),
        ]
    ]


def test_plan_says_what_is_new() -> None:
    """A job nobody has seen is new, one that was taken out waits again, all others keep their state."""
    told = plan_json(Plan("cats", JOBS, STATES, warnings=["width is no multiple of 32"], seconds=60.0))
    assert {key: told[key] for key in ("batch", "total", "warnings", "seconds")} == {
        "batch": "cats",
        "total": 8,
        "warnings": ["width is no multiple of 32"],
        "seconds": 60.0,
    }
    assert told["jobs"] == [
        {"id": job.id, "params": job.params, "file": job.file, "state": state}
        for job, state in zip(
            JOBS, ["waiting", "sending", "queued", "fetching", "done", "failed", "waiting", "new"], strict=True
        )
    ]


def test_the_same_batch_prints_the_same_bytes() -> None:
    """Order of keys and content depend on nothing but jobs and states."""
    assert json_text(plan_json(Plan("cats", JOBS, STATES))) == json_text(
        plan_json(Plan("cats", list(JOBS), {**STATES}))
    )
    assert list(plan_json(Plan("cats", []))) == ["version", "batch", "total", "jobs", "warnings", "seconds"]
    top = ["version", "batch", "total", "counts", "runner", "ends_at", "servers", "missing", "jobs"]
    assert list(status_json("cats", [], {}, Standing())) == top


def test_status_for_people_names_what_failed_and_why() -> None:
    """The table shows counts, what is on its way and the failure in harmless words."""
    shown = _printed(status_view("cats", JOBS[:6], STATES, Standing()))
    assert shown.splitlines()[0] == "cats  1 done, 1 failed, 4 left of 6"
    assert "\\x1b[2J[red]wrong[/red]" in shown
    assert "cats/j3" in shown
    assert "…" not in shown
    assert "fetching  http://gpu:8188" in shown


def test_plan_for_people_stays_short() -> None:
    """A batch of thousands fits one screen: counts, axes and the first jobs."""
    jobs = [Job(f"{n}", "", {"seed": n, "steps": 20, "prompt": "A [b]cat[/b]\n"}, f"f{n}", 0.0) for n in range(5000)]
    shown = _printed(plan_view(Plan("cats", jobs, warnings=["mind \x1b[0m"], gone=jobs[:1], seconds=7200.0)))
    lines = shown.splitlines()
    assert len(lines) < 24
    assert lines[:3] == [
        "cats  5000 jobs: 5000 new, about 2 h to go",
        "1 earlier job is not in this manifest any more (saved files are kept)",
        "warning: mind \\x1b[0m",
    ]
    assert "0, 1, 2, 3, 4, 5, … (5000 in all)" in shown
    assert lines[-1] == "  … and 4988 more"
    assert "steps" not in shown


def test_an_empty_plan_is_no_mistake() -> None:
    """A batch without jobs shows as such."""
    assert _printed(plan_view(Plan("cats", []))) == "cats  0 jobs: none\n"


def test_a_plan_says_when_it_ends_and_by_when_it_must() -> None:
    """How long it takes stands in the first line, by when all must be home in the second."""
    plan = Plan(
        "cats", JOBS[:1], seconds=7200.0, ends="Sun 29 Nov 01:18", until="until Sun 29 Nov 07:30 (in 8 h 12 min)"
    )
    assert _printed(plan_view(plan)).splitlines()[:2] == [
        "cats  1 job: 1 new, about 2 h to go, until Sun 29 Nov 01:18 if it starts now",
        "until Sun 29 Nov 07:30 (in 8 h 12 min)",
    ]


def test_axes_are_what_differs() -> None:
    """Only parameters with more than one value are axes, in order of appearance."""
    assert axes(JOBS[:2]) == {"seed": [2**64 - 1, 2**64 - 2]}


def test_a_plan_of_many_servers_is_short() -> None:
    """What grouping saves is told of the first servers, and of how many more it could be."""
    plan = Plan("cats", [], grouping=[f"order: on gpu-{number}" for number in range(1000)])
    assert _printed(plan_view(plan)).splitlines()[-2:] == ["order: on gpu-11", "order: 988 servers more"]


def test_a_plan_without_anything_to_do_says_so() -> None:
    """Where all is done there is no time to name."""
    shown = _printed(plan_view(Plan("cats", JOBS[4:5], STATES, seconds=0.0)))
    assert shown.splitlines()[0] == "cats  1 job: 1 done; nothing to do"


def test_jobs_out_of_the_batch_are_counted_apart() -> None:
    """A batch whose jobs were all cancelled does not read as nothing done of nothing."""
    assert _printed(status_view("cats", JOBS[6:7], STATES, Standing())).splitlines() == [
        "cats  no jobs left",
        "not running",
        "cancelled, or not in the manifest any more: 1 job",
    ]


def test_every_state_has_one_name() -> None:
    """The six states are named alike everywhere; a job out of the batch would wait, an unknown one is new."""
    board = Board("cats", Rules(), ["http://gpu:8188"], 0.0)
    names = list(STATE_NAMES.values())
    assert list(board.tally()) == names
    assert [state_name(STATES[f"j{n}"]) for n in range(7)] == [*names, "waiting"]
    assert state_name(None) == "new"


_NOW = 1_795_860_000.0


def test_a_living_runner_and_its_servers_are_told() -> None:
    """While a runner lives status says since when, when all will be done with its date, and which servers fail it."""
    servers = (
        ServerState("http://gpu-1:8188", "up", None, ""),
        ServerState("http://gpu-2:8188", "away", _NOW - 60, "connection refused\x1b[2J"),
        ServerState("http://gpu-3:8188", "pausing", None, "out of memory on job after job"),
    )
    standing = Standing(_NOW, 7, _NOW - 3600, _NOW + 86_400, servers, guessed=True, missing=("a.mp4", "b.mp4"))
    lines = _printed(status_view("cats", JOBS, STATES, standing), 200).splitlines()
    began, since, ends = (moment(_NOW + off, _NOW) for off in (-3600, -60, 86_400))
    assert lines[1:5] == [
        f"running since {began} (process 7); done about {ends} (a guess)",
        f"http://gpu-2:8188: unavailable since {since}: connection refused\\x1b[2J",
        "http://gpu-3:8188: pausing: out of memory on job after job",
        "missing or changed on disk: 2 files: a.mp4, b.mp4",
    ]
    told = status_json("cats", JOBS, STATES, standing)
    assert (told["runner"], told["ends_at"]) == ({"pid": 7, "since": stamp(_NOW - 3600)}, stamp(_NOW + 86_400))
    assert told["servers"] == [
        {"name": one.name, "state": one.state, "since": one.since and stamp(one.since), "message": one.message}
        for one in servers
    ]
    assert told["missing"] == ["a.mp4", "b.mp4"]


def test_without_a_runner_nothing_looks_alive() -> None:
    """Where no runner lives status says since when not, promises no end, and says what to type."""
    standing = Standing(_NOW, since=_NOW - 60, command="batchrunner run night.yaml")
    lines = _printed(status_view("cats", JOBS[:1], STATES, standing)).splitlines()
    assert lines == ["cats  0 done, 1 left of 1", f"not running since {moment(_NOW - 60, _NOW)}", "", lines[-1]]
    assert lines[-1] == "next: batchrunner run night.yaml"
    told = status_json("cats", JOBS, STATES, standing)
    assert (told["runner"], told["ends_at"], told["servers"]) == (None, None, [])
    held = _printed(status_view("cats", JOBS[:1], STATES, Standing(held="another command is using it")))
    assert held.splitlines()[1] == "another command is using it"


def test_a_plan_shows_new_jobs_first_and_their_prompts() -> None:
    """New jobs stand first, done ones last, each by its prompt and what else tells it apart."""
    rows = [("a red fox", "fast", 20, 7), ("two cats", "high", 40, 8)]
    jobs = [
        Job(
            f"p{place}",
            "",
            {"prompt": prompt, "_mood": "x", "steps": steps, "quality": quality, "seed": seed},
            "f",
            0.0,
        )
        for place, (prompt, quality, steps, seed) in enumerate(rows)
    ]
    assert telling(jobs) == ["prompt"]
    jobs += [
        replace(job, id=f"{job.id}-{seed}", params={**job.params, "seed": seed}) for job in jobs for seed in (1, 2)
    ]
    shown = _printed(
        plan_view(Plan("cats", jobs, {"p0": STATES["j4"], "p0-1": STATES["j0"]}, late=jobs[1:2])), 120
    ).splitlines()
    first = shown.index("job") + 1
    assert shown[first] == "  new       p1  two cats, seed 8".replace("p1  ", "p1    ")
    assert shown[-1] == "  done      p0    a red fox, seed 7"
    assert shown[-2] == "  waiting   p0-1  a red fox, seed 1"
    assert "will not be finished in time: 1 job: f" in shown


def test_words_stay_whole_on_a_narrow_terminal() -> None:
    """A long line goes on below between two words, indented; a command to copy is never broken."""
    line, command = Text("  job  a red fox in the snow, quality high, seed 12345678901"), "next: run " + "a" * 70
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=40)
    print_lines(console, [line, Text(command), Text("x" * 50), Text()])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "  job  a red fox in the snow, quality",
        "    high, seed 12345678901",
        command,
        "x" * 50,
        "",
    ]
