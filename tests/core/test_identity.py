"""Names by which a render is recognised wherever it turns up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from batchrunner.core.job import (
    client_id,
    file_prefix,
    job_digest,
    job_id,
    node_text,
    parse_prefix,
    prefixes,
    prompt_id,
)

if TYPE_CHECKING:
    from batchrunner.core.job import Json

BATCHES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True).filter(lambda name: ".." not in name)
DIGESTS = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
ATTEMPTS = st.integers(1, 999_999_999)
SCALARS = st.none() | st.booleans() | st.integers(0, 2**64 - 1) | st.floats(allow_nan=False) | st.text()
INPUTS = st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(), SCALARS))


@given(BATCHES, DIGESTS, ATTEMPTS)
def test_a_prefix_tells_its_attempt(batch: str, digest: str, attempt: int) -> None:
    """A prefix reads back as its job and attempt, and has no character that a server could take amiss."""
    prefix = file_prefix(batch, job_id(digest), attempt)
    assert parse_prefix(batch, prefix) == (job_id(digest), attempt)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", prefix)
    assert ".." not in prefix


@given(BATCHES, BATCHES, DIGESTS, ATTEMPTS)
def test_a_prefix_belongs_to_one_batch(batch: str, other: str, digest: str, attempt: int) -> None:
    """No other batch takes a prefix for its own, even one whose name begins alike."""
    prefix = file_prefix(batch, job_id(digest), attempt)
    assert (parse_prefix(other, prefix) is not None) == (other == batch)


@given(st.text())
def test_a_prefix_is_read_strictly(text: str) -> None:
    """Nothing but a whole prefix is one: no longer text, no leading zero, no attempt 0."""
    assert parse_prefix("cats", text) is None
    good = "cats-0123456789ab-a1"
    assert parse_prefix("cats", good) == ("0123456789ab", 1)
    for bad in (
        good + "\n",
        good + text + "_",
        "cats-0123456789ab-a0",
        "cats-0123456789ab-a01",
        "cats-0123456789AB-a1",
    ):
        assert parse_prefix("cats", bad) is None
    assert parse_prefix("c.ts", good) is None


@given(BATCHES, DIGESTS, ATTEMPTS)
def test_a_prompt_id_is_a_canonical_uuid(batch: str, digest: str, attempt: int) -> None:
    """A prompt id is a lowercase UUID in its canonical form, the same each time, and another one per attempt."""
    ident = prompt_id(batch, job_id(digest), attempt)
    assert ident == str(UUID(ident)) == ident.lower()
    assert ident == prompt_id(batch, job_id(digest), attempt)
    assert ident != prompt_id(batch, job_id(digest), attempt + 1)
    assert ident != prompt_id(batch + "x", job_id(digest), attempt)
    assert client_id(batch) == str(UUID(client_id(batch)))


def test_ids_are_the_same_on_every_machine() -> None:
    """The names of one attempt never change: an earlier version's prompts are still recognised."""
    assert prompt_id("cats", "0123456789ab", 1) == "874db476-3ef1-5c53-8a3a-f63cf66b02c9"
    assert job_digest({"4": node_text("KSampler", {"cfg": 5.0, "seed": 7})})[:12] == "95aa065e1bb3"


@given(st.text(), INPUTS, st.text(), st.text())
def test_the_prefix_is_not_part_of_the_id(name: str, inputs: dict[str, object], one: str, two: str) -> None:
    """Two workflows that differ only in where they save are one job."""
    first = node_text(name, {**inputs, "filename_prefix": one})  # type: ignore[dict-item]
    assert first == node_text(name, {**inputs, "filename_prefix": two})  # type: ignore[dict-item]


@given(st.integers(-(2**53), 2**53))
def test_numbers_that_mean_the_same_are_the_same(number: int) -> None:
    """5 and 5.0 are one value, in lists and mappings too; 5 and "5", 1 and true are not."""
    assert node_text("N", {"a": number, "b": [number, {"c": number}]}) == node_text(
        "N", {"b": [float(number), {"c": float(number)}], "a": float(number)}
    )
    assert node_text("N", {"a": number}) != node_text("N", {"a": str(number)})
    assert node_text("N", {"a": 1}) != node_text("N", {"a": True})


@given(st.text(), INPUTS)
def test_a_linked_prefix_counts(name: str, inputs: dict[str, object]) -> None:
    """A prefix that another node makes is part of the workflow, not of where it is saved."""
    linked = node_text(name, {**inputs, "filename_prefix": ["7", 0]})  # type: ignore[dict-item]
    assert linked != node_text(name, {**inputs, "filename_prefix": "x"})  # type: ignore[dict-item]


@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_a_digest_ignores_the_order_of_nodes(nodes: dict[str, str]) -> None:
    """A digest is 64 hex digits, whatever a person wrote in the workflow and in whatever order; the id begins it."""
    digest = job_digest(nodes)
    assert digest == job_digest(dict(reversed(nodes.items())))
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert digest.startswith(job_id(digest))


def test_text_that_is_no_unicode_has_a_digest() -> None:
    """A lone surrogate in a prompt is rendered, so it is named."""
    assert job_digest({"6": node_text("CLIPTextEncode", {"text": "\ud800"})})


@pytest.mark.parametrize(
    ("workflow", "found"),
    [
        ({"9": {"inputs": {"filename_prefix": "cat"}}, "12": {"inputs": {"filename_prefix": "dog"}}}, ("cat", "dog")),
        ({"1": {"inputs": {"seed": 1}}, "2": {"inputs": []}, "3": {}, "4": None}, ()),
        ({"9": {"inputs": {"filename_prefix": ["4", 0]}}}, ()),
        ([], ()),
        (None, ()),
    ],
)
def test_prefixes_of_a_workflow(workflow: Json, found: tuple[str, ...]) -> None:
    """Every file prefix in a workflow is found; what is no workflow, or linked, has none."""
    assert prefixes(workflow) == found
