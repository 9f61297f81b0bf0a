"""Properties that hold for every sweep: determinism, fairness, and that nothing moves when something is added."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import given, settings, strategies as st
from manifests import batch, jobs

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="$\ufeff"), min_size=1, max_size=30)
PROMPTS = st.lists(WORDS, min_size=1, max_size=4, unique=True)
AXES = st.fixed_dictionaries(
    {"prompt": PROMPTS},
    optional={
        "seed": st.one_of(
            st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3, unique=True),
            st.builds(lambda count: {"count": count}, st.integers(1, 3)),
            st.builds(lambda count: {"count": count, "per": "prompt"}, st.integers(1, 3)),
        ),
        "cfg": st.builds(lambda count: {"from": 3, "to": 5, "count": count}, st.integers(2, 3)),
        "quality": st.lists(st.sampled_from(["fast", "balanced"]), min_size=1, max_size=2, unique=True),
        "_take": st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True),
    },
).filter(lambda axes: not ("cfg" in axes and "quality" in axes))
ORDERS = st.sampled_from(["listed", "auto", "breadth", "grouped", "shuffle", "cheap"])


def written(sweep: Any, **rest: Any) -> str:
    """Return YAML that says exactly this."""
    return yaml.safe_dump({"sweep": sweep, **rest}, allow_unicode=False, sort_keys=False)


def known(axes: dict[str, Any], **rest: Any) -> dict[str, tuple[str, Any]]:
    """Return what every job is: id -> its name and its seed."""
    found = batch(written(axes, files="{prompt}-{job}", **rest))
    return {job.id: (job.file, job.params["seed"]) for job in found.jobs}


@settings(deadline=None, max_examples=60)
@given(AXES, ORDERS)
def test_count_is_what_is_built(axes: dict[str, Any], order: str) -> None:
    """The jobs counted before anything is built are the jobs built, less those that would render the same."""
    found = batch(written(axes, order=order))
    twins = sum(int(warning.split()[0]) for warning in found.warnings if warning.endswith("they are joined"))
    assert found.counted == len(found.jobs) + twins
    assert len({job.digest for job in found.jobs}) == len({job.file for job in found.jobs}) == len(found.jobs)


@settings(deadline=None, max_examples=60)
@given(AXES, WORDS, st.integers(0, 4), ORDERS)
def test_adding_a_prompt_moves_nothing(axes: dict[str, Any], added: str, at: int, order: str) -> None:
    """Adding a prompt anywhere changes no existing job's id, seed or name."""
    more = [*axes["prompt"][:at], added, *axes["prompt"][at:]]
    before, after = known(axes, order=order), known({**axes, "prompt": more}, order=order)
    assert before.items() <= after.items()


@settings(deadline=None, max_examples=60)
@given(PROMPTS, WORDS, st.integers(0, 4))
def test_adding_a_row_moves_nothing(prompts: list[str], added: str, at: int) -> None:
    """Adding a row anywhere changes no existing job's id, seed or name."""
    rows = [{"prompt": prompt} for prompt in prompts]
    more = [*rows[:at], {"prompt": added}, *rows[at:]]
    for seeds in ({"count": 2}, {"count": 2, "per": "prompt"}):
        before = known({"rows": rows, "seed": seeds})
        assert before.items() <= known({"rows": more, "seed": seeds}).items()


@settings(deadline=None, max_examples=60)
@given(AXES, ORDERS, st.integers(1, 30), st.integers(0, 5))
def test_leaving_out_invents_nothing(axes: dict[str, Any], order: str, count: int, seed: int) -> None:
    """What `sample` and `exclude` leave are jobs of the whole, in the whole's order."""
    rest: dict[str, Any] = {"order": "listed"}
    whole = [job.id for job in batch(written(axes, **rest)).jobs]
    drawn = [job.id for job in batch(written(axes, sample={"count": count, "seed": seed}, **rest)).jobs]
    assert drawn == [job for job in whole if job in set(drawn)]
    assert len(drawn) == min(count, len(whole))
    assert {job.id for job in batch(written(axes, order=order)).jobs} == set(whole)
    if len(axes["prompt"]) > 1:
        kept = [job.id for job in batch(written(axes, exclude={"prompt": axes["prompt"][0]}, **rest)).jobs]
        assert kept == [job for job in whole if job in set(kept)]


@settings(deadline=None, max_examples=40)
@given(PROMPTS, st.integers(1, 4))
def test_breadth_is_fair(prompts: list[str], seeds: int) -> None:
    """After k times the number of prompts, every prompt has k jobs."""
    found = jobs(batch(written({"seed": {"count": seeds}, "prompt": prompts})), "prompt")
    for turn in range(seeds):
        assert sorted(found[turn * len(prompts) : (turn + 1) * len(prompts)]) == sorted(prompts)


@settings(deadline=None, max_examples=60)
@given(st.integers(-50, 50), st.integers(1, 40), st.integers(1, 60))
def test_ranges_are_exact_in_decimals(first: int, step: int, count: int) -> None:
    """A range of hundredths holds exactly the numbers that a person would write."""
    ends = {"from": first / 100, "to": (first + step * count) / 100, "step": step / 100}
    found = batch(written({"prompt": "a", "_x": ends}), None).axes
    values = [f"{(first + step * index) / 100:.2f}" for index in range(count + 1)]
    assert found == (("_x", count + 1),)
    several = batch(written({"prompt": "${_x}", "_x": ends}))
    assert [float(str(job.params["prompt"])) for job in several.jobs] == [float(value) for value in values]
    assert all(len(str(job.params["prompt"])) <= len("-00.00") for job in several.jobs)


def test_the_same_in_every_process(tmp_path: Path) -> None:
    """Ids, seeds, names and order are the same in another process with another hash seed."""
    path = tmp_path / "m.yaml"
    axes = {"prompt": ["a {x}", "b"], "quality": ["fast", "high"], "seed": {"count": 3, "per": "prompt"}}
    head = {"name": "t", "server": "sim", "workflow": "ltx2", "order": "grouped", "sample": {"count": 9}}
    path.write_text(yaml.safe_dump({**head, "sweep": axes}), "utf-8")
    code = (
        "import json, sys; from pathlib import Path; from batchrunner.manifest import load;"
        "b = load(Path(sys.argv[1]));"
        "print(json.dumps([b.warnings, [[j.id, j.digest, j.params, j.file, j.cost] for j in b.jobs]]))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "4242")
    ]
    assert said[0] == said[1] == said[2]
    assert len(json.loads(said[0])[1]) == 9
