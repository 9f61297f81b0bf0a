"""The morning's report: everything that happened, in words, and what to type next."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Dropped, Fact, File, Lost, Rendered, Saved, Why
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import State, Waiting, advance
from batchrunner.show.events import LOSS_REASONS
from batchrunner.show.report import (
    Commands,
    Gap,
    Report,
    RunContext,
    headline,
    next_steps,
    report,
    report_json,
    report_lines,
    report_markdown,
    sections,
    server_use,
)
from batchrunner.text import clock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

GPU, OTHER = "http://gpu:8188", "http://other:8188"
JOBS = [Job(f"j{place}", "", {"seed": place}, f"clips/{place}", 0.0) for place in range(6)]


def _render(job: str, begin: float, seconds: float, attempt: int = 1, server: str = GPU) -> list[Fact]:
    """Return a job's facts from its claim to its saved file."""
    end = begin + seconds
    return [
        Claimed(job, attempt, begin, job, "p", server, ""),
        Accepted(job, attempt, begin, job, "p", server),
        Rendered(job, attempt, end, (File("x.mp4"),), None, seconds),
        Saved(job, attempt, end, "x.mp4", f"{job}.mp4", 1_500_000, ""),
    ]


def _lost(job: str, at: float, why: Why, message: str, *, final: bool = False, attempt: int = 1) -> list[Fact]:
    return [Claimed(job, attempt, at, job, "p", GPU, ""), Lost(job, attempt, at + 9, why, message, final=final)]


def _night() -> list[Fact]:
    return [
        *_render("j0", 0.0, 600.0),
        *_render("j1", 600.0, 900.0),
        *_lost("j2", 1500.0, Why.FORGOTTEN, "in neither queue nor history"),
        *_render("j2", 2700.0, 300.0, 2),
        *_lost("j3", 3000.0, Why.ERROR, "KSampler raised *bad* <b>things</b>\x1b[2J", final=True),
        *_lost("j4", 3100.0, Why.ERROR, "again", final=True),
        Dropped("j5", 0, 3200.0, "no longer wanted"),
    ]


def _told(facts: Sequence[Fact], context: RunContext | None = None, jobs: Sequence[Job] = JOBS) -> Report:
    states: dict[str, State] = {}
    for fact in facts:
        states[fact.job] = advance(states.get(fact.job, Waiting()), fact)
    return report("cats", jobs, states, facts, context)


def test_it_counts_what_happened() -> None:
    """Done, failed by reason, rendered again, time rendered and time idle, slowest first, bytes saved."""
    told = _told(_night())
    assert (told.total, told.done, told.failed, told.left) == (5, 3, 2, 0)
    assert (told.wall, told.rendered, told.size) == (3200.0, 1800.0, 4_500_000)
    assert [(cause.why, cause.jobs) for cause in told.failures] == [
        (Why.ERROR, ("clips/3",)),
        (Why.ERROR, ("clips/4",)),
    ]
    assert [(cause.why, cause.jobs) for cause in told.again] == [(Why.FORGOTTEN, ("clips/2",))]
    assert [job for job, _ in told.slowest] == ["clips/1", "clips/0", "clips/2"]


def test_wasted_render_time_is_told() -> None:
    """What was rendered and never came home counts as rendered, and as lost."""
    expired = _render("j0", 0.0, 500.0)[:3]
    told = _told([*expired, Lost("j0", 1, 700.0, Why.EXPIRED, "404"), *_render("j0", 700.0, 510.0, 2)], jobs=JOBS[:1])
    assert (told.rendered, told.wasted) == (1010.0, 500.0)
    assert [seconds for _, seconds in told.slowest] == [510.0]


def test_a_rewritten_workflow_is_told() -> None:
    """Files whose workflow the server rewrote are counted, if they were kept, in the short form and in `report.md`."""
    first, second = (
        [replace(one, differs=True) if isinstance(one, Rendered) else one for one in _render(job, 0.0, 9.0)]
        for job in ("j0", "j1")
    )
    told = _told([*first, *second[:3], Lost("j1", 1, 9.0, Why.EXPIRED, "404"), *_render("j1", 10.0, 9.0, 2)])
    assert told.differing == ("clips/0",)
    assert any(line.startswith("warning: 1 job kept, e.g. clips/0") for line in report_lines(told))
    assert "## Rewritten on the server\n\n- warning: 1 job kept, e.g. clips/0: the workflow" in report_markdown(told)
    assert not _told(_night()).differing


def test_videos_that_are_not_what_was_asked_for_are_told() -> None:
    """Each is named with how it differs, one of them in the short form."""
    facts = [
        replace(one, warning="no sound") if isinstance(one, Saved) else one
        for one in [*_render("j0", 0.0, 9.0), *_render("j1", 9.0, 9.0)]
    ]
    told = _told(facts)
    assert told.warnings == (("j0.mp4", "no sound"), ("j1.mp4", "no sound"))
    assert "warning: 2 files not as asked for, e.g. j0.mp4: no sound" in report_lines(told)
    assert "## Not as asked for\n\n- j0.mp4: no sound\n- j1.mp4: no sound\n" in report_markdown(told)


def test_gaps_are_found_per_server() -> None:
    """Half a minute without a render of ours between two of them is a gap; a moment between two polls is none."""
    facts = [*_render("a", 0.0, 100.0), *_render("b", 110.0, 100.0), *_render("c", 300.0, 10.0)]
    facts += [*_render("d", 0.0, 5.0, 1, OTHER), *_render("e", 1005.0, 5.0, 1, OTHER)]
    gpu, other = server_use(facts)
    assert (gpu.server, gpu.renders, gpu.gaps) == (GPU, 3, (Gap(210.0, 90.0),))
    assert (other.server, other.idle) == (OTHER, 1000.0)


def test_only_time_in_which_a_runner_ran_counts() -> None:
    """What lies between two runs is neither time that the batch took nor time in which a server was idle."""
    facts = [*_render("j0", 0.0, 100.0), *_render("j1", 10_000.0, 100.0)]
    told = _told(facts, RunContext(runs=((0.0, 150.0), (9_990.0, 10_200.0))))
    assert (told.wall, told.servers[0].gaps) == (260.0, (Gap(100.0, 60.0),))
    assert headline(told) == "2 of 6 done, 4 left, in 4 min 20 s"


def test_every_failed_job_is_named() -> None:
    """However many jobs failed for one reason, `report.md` names them all."""
    jobs = [Job(f"k{place}", "", {}, f"k-{place}", 0.0) for place in range(40)]
    facts = [fact for job in jobs for fact in _lost(job.id, 0.0, Why.ERROR, "no disk", final=True)]
    told = report_markdown(_told(facts, jobs=jobs))
    assert all(f"k-{place}" in told for place in range(40))


def test_the_files_hold_commands_for_anywhere() -> None:
    """Lines at the end of a run are typed where it was typed; `report.md` is read elsewhere."""
    context = RunContext(commands=Commands(retry="retry here"), lasting=Commands(retry="retry anywhere"))
    told = _told(_night(), context)
    assert report_lines(told)[-1] == "next: retry here"
    assert "\n    retry anywhere\n" in report_markdown(told)


def test_the_short_form_ends_with_what_to_type() -> None:
    """A few lines, none of which a terminal would obey, and the most useful command last."""
    told = report_lines(
        _told(
            _night(), RunContext("", "outputs/cats", 3000.0, commands=Commands(retry="batchrunner retry outputs/cats"))
        )
    )
    assert told == [
        "3 of 5 done, 2 failed, in 53 min 20 s",
        "rendered for 30 min, idle for 20 min in between, 50 min expected",
        "failed: clips/3: a node raised an error: KSampler raised *bad* <b>things</b>\\x1b[2J",
        "failed: clips/4: a node raised an error: again",
        "rendered again: 1 x the server does not know it any more (a restart, or a cleared queue)",
        "slowest: clips/1, 15 min",
        "on disk: 4.5 MB in outputs/cats",
        "next: batchrunner retry outputs/cats",
    ]


def test_markdown_is_text() -> None:
    """Nothing that a server or a manifest said is markup in the report."""
    told = report_markdown(_told(_night()))
    assert "KSampler raised \\*bad\\* \\<b\\>things\\</b\\>\\\\x1b\\[2J" in told
    numbered = [Job("j0", "", {}, "1. first", 0.0), Job("j1", "", {}, "- second", 0.0)]
    told_of = report_markdown(_told([*_render("j0", 0.0, 2.0), *_render("j1", 2.0, 1.0)], jobs=numbered))
    assert "- 1\\. first: 2 s\n- \\- second: 1 s" in told_of
    assert told.startswith("# cats\n\n3 of 5 done, 2 failed, in 53 min 20 s\n")
    assert "\n    batchrunner retry MANIFEST\n" in told


def test_the_sections_say_it_all() -> None:
    """Time, failures, second attempts, servers, slowest, disk and next; each only if there is something to say."""
    told = sections(_told(_night(), RunContext(expected=2560.0)))
    assert list(told) == ["Time", "Failed", "Rendered again", "Servers", "Slowest", "Disk", "Next"]
    assert told["Time"][0] == ("wall clock", f"53 min 20 s, from {clock(0.0)} to {clock(3200.0)}")
    assert told["Time"][2] == ("forecast", "42 min 40 s, 20 % too low")
    guessed = sections(_told(_night(), RunContext(expected=2560.0, guessed=True)))
    assert guessed["Time"][2] == ("forecast", "42 min 40 s, a guess")
    assert told["Servers"][0] == (GPU, "3 renders in 30 min, idle for 20 min in 1 gap")
    assert list(sections(_told([]))) == ["Next"]


def test_a_batch_never_run_is_all_left() -> None:
    """Without a single fact there is a headline and the command to begin."""
    told = _told([])
    assert headline(told) == "0 of 6 done, 6 left"
    assert next_steps(told, Commands()) == [("batchrunner run MANIFEST", "go on with what is left")]
    assert report_lines(told) == ["0 of 6 done, 6 left", "next: batchrunner run MANIFEST"]


def test_what_on_saved_has_not_handled_is_next() -> None:
    """With every job done, the command to type next is the one that runs `on_saved` again."""
    told = _told(_render("j0", 0.0, 5.0), RunContext(unhandled=2), jobs=JOBS[:1])
    assert next_steps(told, Commands())[0] == ("batchrunner run MANIFEST", "run on_saved again for 2 files")
    assert report_lines(told)[-1] == "next: batchrunner run MANIFEST"


def test_a_forecast_of_all_is_compared_with_all_only() -> None:
    """How long everything was to take is told once everything is done, not beside the time that one job took."""
    context = RunContext(expected=182.0)
    some = _told(_render("j0", 0.0, 5.0), context, jobs=JOBS[:2])
    assert "expected" not in "".join(report_lines(some))
    assert "forecast" not in dict(sections(some)["Time"])
    every = _told(_render("j0", 0.0, 5.0), context, jobs=JOBS[:1])
    assert "3 min 2 s expected" in "".join(report_lines(every))
    guess = _told(_render("j0", 0.0, 5.0), replace(context, guessed=True), jobs=JOBS[:1])
    assert "3 min 2 s guessed" in "".join(report_lines(guess))


def test_the_page_gets_the_same() -> None:
    """What the page shows are the same sections, as JSON."""
    told = _told(_night())
    found: Any = report_json(told)
    assert found["headline"] == headline(told)
    assert [part["title"] for part in found["sections"]] == list(sections(told))
    assert json.loads(json.dumps(found)) == found


def test_every_reason_has_words() -> None:
    """No way to lose an attempt is mute."""
    assert set(LOSS_REASONS) == set(Why)


def test_two_errors_are_two_lines_and_one_error_names_its_jobs() -> None:
    """Jobs that failed alike stand in one line with their names; another message is another line, the rest counted."""
    same = [fact for job in ("j0", "j1", "j2", "j3") for fact in _lost(job, 0.0, Why.ERROR, "no disk", final=True)]
    told = report_lines(_told([*same, *_lost("j4", 1.0, Why.ERROR, "bad seed", final=True)]))
    assert told[1:3] == [
        "failed: clips/0, clips/1, clips/2 and 1 more: a node raised an error: no disk",
        "failed: clips/4: a node raised an error: bad seed",
    ]
    jobs = [Job(f"k{place}", "", {}, f"k/{place}", 0.0) for place in range(9)]
    each = [fact for job in jobs for fact in _lost(job.id, 0.0, Why.ERROR, f"error {job.id}", final=True)]
    assert report_lines(_told(each, jobs=jobs))[6] == "failed: 4 more causes, in report.md"
    assert len(sections(_told(each, jobs=jobs))["Failed"]) == 9
