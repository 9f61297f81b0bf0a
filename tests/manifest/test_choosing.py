"""`--only` chooses what runs now; what it leaves out is still wanted."""

from __future__ import annotations

import pytest
from manifests import batch, diagnostics

from batchrunner.manifest import Options

BODY = "sweep: {prompt: [a, b], seed: [1, 2], quality: [fast, high]}"


def chosen(*only: tuple[str, str]) -> list[str]:
    """Return `prompt seed quality` of the jobs that run."""
    found = batch(BODY, options=Options(only=only))
    assert len(found.jobs) == 8
    picked = found.chosen
    assert picked is not None
    return [
        f"{job.params['prompt']} {job.params['seed']} {job.params['quality']}" for job in found.jobs if job.id in picked
    ]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ([("seed", "2"), ("prompt", "a")], ["a 2 fast", "a 2 high"]),
        ([("seed", "1"), ("seed", "2"), ("prompt", "b"), ("quality", "high")], ["b 1 high", "b 2 high"]),
        ([("steps", "40"), ("cfg", "6"), ("prompt", "a")], ["a 1 high", "a 2 high"]),
    ],
)
def test_choosing(only: list[tuple[str, str]], expected: list[str]) -> None:
    """Of one name any value, of several names all; every job stays in the batch."""
    assert chosen(*only) == expected


def test_choosing_by_id() -> None:
    """`job` picks by the id, or by how it begins."""
    ids = [job.id for job in batch(BODY).jobs]
    assert batch(BODY, options=Options(only=(("job", ids[3][:8]),))).chosen == {ids[3]}


def test_all_are_chosen_unless_said() -> None:
    """Without either option nothing is chosen in particular."""
    assert batch(BODY).chosen is None


def test_choosing_what_is_not_there() -> None:
    """A name that no job has, or a value that no job has, is an error of the command line."""
    assert diagnostics(BODY, options=Options(only=(("sede", "1"),))) == (
        "--only sede: unknown parameter - did you mean seed?"
    )
    assert diagnostics(BODY, options=Options(only=(("seed", "9"),))) == ("no job matches --only seed=9: seed is 1, 2")
