"""What two workflows render alike, however a server wrote down their inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from batchrunner.core.job import attempt_digest, file_prefix, render_digest, upload_name

if TYPE_CHECKING:
    from batchrunner.core.job import Json

PREFIX = "cats-0123456789ab-a1"


def graph(value: Json, prefix: Json = PREFIX, **more: Json) -> dict[str, Json]:
    """Return a workflow with one input of this value, saved under `prefix`; `more` stands beside its inputs."""
    return {
        "3": {"class_type": "KSampler", "inputs": {"cfg": value, "model": ["1", 0]}, **more},
        "9": {"class_type": "SaveVideo", "inputs": {"filename_prefix": prefix}},
    }


@given(st.integers(0, 2**64 - 1) | st.floats(0, 1e6) | st.booleans() | st.text(max_size=80) | st.none())
def test_what_a_server_makes_of_a_value_is_the_same(value: Json) -> None:
    """A number and its text, 5 and 5.0, true and 1: an input may be stored in any form that ComfyUI turns it into."""
    own = render_digest(graph(value))
    assert render_digest(graph(str(value))) == own
    if isinstance(value, int | float):
        assert render_digest(graph(int(value))) == own or not float(value).is_integer()
        assert render_digest(graph(float(value))) == own or int(float(value)) != value
        assert render_digest(graph(str(float(value)))) == own or int(float(value)) != value


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (4.0, 4.5),
        (4.5, 4),
        (7, 8),
        (2**64 - 1, 2**64 - 2),
        ("a cat", "a dog"),
        ("1" * 65, int("1" * 65)),
        (["1", 0], ["2", 0]),
        (["1", 0], "['1', 0]"),
        (math.nan, 0.0),
    ],
)
def test_what_renders_something_else_differs(ours: Json, theirs: Json) -> None:
    """Another number, fraction, text or link is another render, to the last digit of a seed."""
    assert render_digest(graph(ours)) != render_digest(graph(theirs))


def test_where_it_is_saved_and_what_a_server_adds_do_not_count() -> None:
    """File prefix, `_meta` and `is_changed` change nothing; another node, class or linked prefix does."""
    own = render_digest(graph(5))
    added: dict[str, Json] = {"_meta": {"title": "Sampler"}, "is_changed": [math.nan]}
    assert render_digest(graph(5, "other", **added)) == own
    assert render_digest(dict(reversed(graph(5).items()))) == own
    assert render_digest(graph(5, ["1", 0])) != own
    assert render_digest({**graph(5), "10": {"class_type": "Note", "inputs": {}}}) != own
    assert render_digest({**graph(5), "9": {"class_type": "SaveWEBM", "inputs": {}}}) != own


@pytest.mark.parametrize(
    "workflow", [None, [], {}, {"1": 5}, {"1": {"inputs": []}}, {"1": {"inputs": {"a": "\ud800"}}}]
)
def test_whatever_came_has_a_digest(workflow: Json) -> None:
    """What is no workflow, or holds no text, has a digest like any other, and ours is none of them."""
    assert len(render_digest(workflow)) == 64
    assert render_digest(workflow) != render_digest(graph(5))


def test_what_is_nested_too_deeply_has_none() -> None:
    """A list in a list, thousands deep, is nobody's render and no crash."""
    deep: Json = []
    for _ in range(20_000):
        deep = [deep]
    assert render_digest(graph(deep)) == ""


def test_only_a_prefix_of_an_attempt_is_worth_a_digest() -> None:
    """The workflows of strangers, whose prefixes are of no batch at all, cost nothing."""
    assert attempt_digest(graph(5), ["x", file_prefix("any.batch", "0" * 12, 12)]) == render_digest(graph(5))
    for prefix in ("", "generated-video", "cats-0123456789ab-a0", "cats-0123456789AB-a1", "-0123456789ab-a1"):
        assert attempt_digest(graph(5), [prefix]) == ""
    assert attempt_digest(graph(5), []) == ""


def test_a_number_that_a_server_gave_to_an_uploaded_file_changes_nothing_of_what_is_rendered() -> None:
    """The name of an upload says what is in it, and a server adds a number where the name is taken."""
    ours = upload_name("ab" * 32, ".PNG")
    assert ours == f"batchrunner-{'ab' * 20}.png"
    assert upload_name("ab" * 32, ".p ng") == f"batchrunner-{'ab' * 20}"
    stored = f"batchrunner-{'ab' * 20} (1).png"
    assert _digest(ours) == _digest(stored) != _digest(upload_name("cd" * 32, ".png"))
    bare = upload_name("ab" * 32, "")
    assert _digest(bare) == _digest(f"{bare} (12)")


def _digest(name: str) -> str:
    return render_digest({"1": {"class_type": "LoadImage", "inputs": {"image": name}}})
