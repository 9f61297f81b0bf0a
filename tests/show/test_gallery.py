"""The gallery's content: every cell that should exist, in a table that suits the sweep, every digit kept."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.facts import File, Rendered, Saved, Why
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import (
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
)
from batchrunner.options import RunOptions
from batchrunner.remembered import commands
from batchrunner.show.gallery import PageStatus, gallery_data
from batchrunner.show.gallery.data import ABSENT, axes, constant, first_axes, kind_of, link, value_text, varied

if TYPE_CHECKING:
    from typing import Any

    from batchrunner.core.job import Scalar

PROMPT = Prompt(2, "id", "p-a2", "http://gpu:8188", claimed=True)
SAVED = Saved("j0", 2, 1.0, "x.mp4", "a b/#1?.mp4", 5, "0" * 64)


def _jobs(*rows: dict[str, Scalar]) -> list[Job]:
    return [Job(f"j{place}", "", row, f"clips/{place}", 0.0) for place, row in enumerate(rows)]


def _table(**sweep: list[Scalar]) -> list[Job]:
    return _jobs(*(dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())))


def _with_pictures(jobs: list[Job], **uploads: list[str]) -> list[Job]:
    return [
        replace(job, uploads={name: some[place] for name, some in uploads.items()}) for place, job in enumerate(jobs)
    ]


def _cells(jobs: list[Job], states: dict[str, State], page_status: PageStatus) -> list[Any]:
    content: Any = gallery_data("cats", jobs, states, [], page_status)
    return list(content["cells"])


def test_every_job_has_its_cell() -> None:
    """Waiting, in the queue, rendering, downloading, done and failed are told apart; what is dropped is not shown."""
    states: dict[str, State] = {
        "j1": Sending(AttemptHistory(1), PROMPT),
        "j2": Queued(AttemptHistory(1), PROMPT),
        "j3": Queued(AttemptHistory(1), PROMPT),
        "j4": Fetching(AttemptHistory(2), PROMPT, (Item(File("x.mp4"), saved=SAVED), Item(File("y.mp4"))), None),
        "j5": Done(AttemptHistory(2), PROMPT, (SAVED,)),
        "j6": Failed(AttemptHistory(3), Why.REFUSED, "no"),
        "j7": Unwanted(AttemptHistory(1)),
    }
    cells = _cells(_table(seed=list(range(8))), states, PageStatus(0.0, rendering={"j3"}))
    words = ["waiting", "queued", "queued", "rendering", "fetching", "done", "failed"]
    assert [cell["state"] for cell in cells] == words
    assert [len(cell["files"]) for cell in cells] == [0, 0, 0, 0, 1, 1, 0]
    assert cells[6]["why"] == "refused: no"
    assert cells[5]["attempts"] == 2


def test_what_is_expected_stands_in_the_cells() -> None:
    """An open job says how long it will render and when it will be ready, a finished one how long it took."""
    facts = [Rendered("j1", 1, 0.0, (), None, 99.0), Rendered("j1", 2, 0.0, (), None, 61.5)]
    states: dict[str, State] = {"j1": Done(AttemptHistory(2), PROMPT, (SAVED,))}
    page_status = PageStatus(7.0, seconds={"j0": 60.0}, ready={"j0": 100.0}, left=93.0, until=(90.0, 110.0))
    content: Any = gallery_data("cats", _table(seed=[1, 2]), states, facts, page_status)
    assert [content[name] for name in ("at", "left", "until")] == [7.0, 93.0, [90.0, 110.0]]
    assert [(cell["seconds"], cell["ready"], cell["took"]) for cell in content["cells"]] == [
        (60.0, 100.0, None),
        (None, None, 61.5),
    ]


def test_no_digit_of_a_seed_is_lost() -> None:
    """Every value is a text: 2^64-1 does not fit a browser's numbers."""
    content: Any = gallery_data("cats", _table(seed=[2**64 - 1, 2**64 - 2]), {}, [], PageStatus(0.0))
    assert [cell["seed"] for cell in content["cells"]] == ["18446744073709551615", "18446744073709551614"]
    assert content["params"][0]["values"] == ["18446744073709551615", "18446744073709551614"]
    assert json.loads(json.dumps(content)) == content


def test_links_stay_in_the_folder() -> None:
    """No path becomes a scheme, a query, a fragment or a way out, and every one is written for a URL."""
    assert link("a b/#1?.mp4") == "a%20b/%231%3F.mp4"
    assert link("javascript:alert(1).mp4") == "javascript%3Aalert%281%29.mp4"
    assert link("//host/../x\ud800.mp4") == "host/x%3F.mp4"


@pytest.mark.parametrize(
    ("path", "kind"), [("a.mp4", "video"), ("a.WEBM", "video"), ("a.png", "image"), ("a.flac", "audio")]
)
def test_files_are_shown_for_what_they_are(path: str, kind: str) -> None:
    """Videos, pictures and sounds by their names."""
    assert kind_of(path) == kind


def test_prompt_and_seed_make_the_table() -> None:
    """Prompts are rows and seeds columns where there are both; the rest are filters."""
    assert first_axes(varied(_table(quality=["fast", "high"], prompt=["a", "b"], seed=[1, 2, 3]))) == ("prompt", "seed")


def test_without_seeds_the_longest_axis_makes_the_columns() -> None:
    """Of what is left, the parameter with the most values is seen side by side."""
    assert first_axes(varied(_table(cfg=[4, 5], steps=[20, 30, 40], fps=[24, 25]))) == ("cfg", "steps")


def test_a_single_axis_is_a_grid() -> None:
    """One swept parameter needs no table."""
    assert first_axes(varied(_table(seed=list(range(40))))) == ("", "")
    assert first_axes(varied([])) == ("", "")


def test_too_many_or_scattered_values_make_no_columns() -> None:
    """Forty seeds, or seeds of each prompt's own, flow within their prompt's row."""
    assert first_axes(varied(_table(prompt=["a", "b"], seed=list(range(40))))) == ("prompt", "")
    scattered = _jobs(*({"prompt": f"p{place % 3}", "seed": place} for place in range(9)))
    assert first_axes(varied(scattered)) == ("prompt", "")


def test_parameters_that_change_together_are_one_axis() -> None:
    """A preset speaks for all that it sets; a prompt for its own seed."""
    presets = [{"steps": 20, "cfg": 4.0, "quality": "fast"}, {"steps": 40, "cfg": 6.0, "quality": "high"}]
    jobs = _jobs(*({**preset, "seed": seed} for preset in presets for seed in (1, 2)))
    assert axes(varied(jobs)) == {"quality", "seed"}
    paired = _jobs({"seed": 1, "_x": "u", "prompt": "a"}, {"seed": 2, "_x": "v", "prompt": "b"})
    assert axes(varied(paired)) == {"prompt"}


def test_values_have_an_order_and_a_gap_is_a_gap() -> None:
    """Numbers by size, texts as they come; a job without the parameter has no place, and none is constant."""
    jobs = _jobs({"cfg": 10, "look": "b"}, {"cfg": 9.5, "look": "a"}, {"cfg": 9.5})
    cfg, look = varied(jobs)
    assert (cfg.values, cfg.at) == (("9.5", "10"), (1, 0, 0))
    assert (look.values, look.at) == (("b", "a"), (0, 1, ABSENT))
    assert constant(_jobs({"a": 1, "b": 2}, {"a": 1})) == {"a": "1"}


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (True, "true"), (5.0, "5"), (2.5, "2.5"), ("x", "x"), (2**64 - 1, str(2**64 - 1))]
)
def test_values_are_shown_as_people_write_them(value: Scalar, text: str) -> None:
    """5.0 is 5, true is true, and a seed has all its digits."""
    assert value_text(value) == text


def test_commands_survive_the_shell() -> None:
    """A manifest's name cannot smuggle anything into a command that somebody copies."""
    options = RunOptions(Path("my cats; rm -rf ~.yaml"), out=Path("$(x)"))
    content: Any = gallery_data("cats", [], {}, [], PageStatus(0.0, commands=commands(options, "cats")))
    assert content["commands"] == {
        "resume": "batchrunner run 'my cats; rm -rf ~.yaml' --out '$(x)'",
        "run": "batchrunner run 'my cats; rm -rf ~.yaml' --out '$(x)' --only job=",
        "retry": "batchrunner retry '$(x)/cats' --only job=",
    }


def test_a_cell_has_its_videos_shape() -> None:
    """Width over height, where the job has both and they make sense."""
    jobs = _jobs({"width": 1280, "height": 704}, {"width": 1, "height": 0}, {"width": "wide", "height": 2})
    assert [cell["ratio"] for cell in _cells(jobs, {}, PageStatus(0.0))] == [1.8182, None, None]


def test_a_row_or_column_shows_its_input_picture() -> None:
    """A value has a picture, or a video, if all its jobs have it: its own, or that which a prompt is written for."""
    jobs = _with_pictures(
        _jobs(
            {"image": "a.png", "prompt": "to a", "seed": 1},
            {"image": "a.png", "prompt": "to a", "seed": 2},
            {"image": "b#1.png", "prompt": "to b", "seed": 1},
            {"image": "c.mp4", "prompt": "to c", "seed": 2},
            {"image": "d.wav", "prompt": "to d", "seed": 2},
        ),
        image=["n-a.png", "n-a.png", "n b.png", "n-c.mp4", "n-d.wav"],
    )
    content: Any = gallery_data("cats", jobs, {}, [], PageStatus(1.0))
    shown = ["inputs/n-a.png", "inputs/n%20b.png", "inputs/n-c.mp4", None]
    assert {one["name"]: one["pictures"] for one in content["params"]} == {
        "image": shown,
        "prompt": shown,
        "seed": None,
    }


def test_a_picture_that_all_jobs_have_tells_none_apart() -> None:
    """One start picture for the whole batch is no header; of two inputs the parameter's own comes first."""
    jobs = _table(seed=[1, 2])
    content: Any = gallery_data("cats", _with_pictures(jobs, image=["a.png", "a.png"]), {}, [], PageStatus(1.0))
    assert [one["pictures"] for one in content["params"]] == [None]
    both = _with_pictures(
        _jobs({"first": "a", "last": "x"}, {"first": "b", "last": "y"}),
        first=["a.png", "b.png"],
        last=["x.png", "y.png"],
    )
    content = gallery_data("cats", both, {}, [], PageStatus(1.0))
    assert [one["pictures"][0] for one in content["params"]] == ["inputs/a.png", "inputs/x.png"]
