"""YAML 1.2: what is text stays text, and a prompt arrives as it was written, to the byte."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings, strategies as st
from manifests import batch

from batchrunner.manifest.yamltree import compose, plain, resolve_scalar

if TYPE_CHECKING:
    from batchrunner.core.job import Scalar


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("16:9", "16:9"),
        ("12:30:00", "12:30:00"),
        ("2024-01-02", "2024-01-02"),
        ("1_000", "1_000"),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("+5", 5),
        ("-0", 0),
        ("1e-4", 0.0001),
        ("1E4", 10000.0),
        (".5", 0.5),
        ("5.", 5.0),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("-.inf", float("-inf")),
        ("", None),
        ("~", None),
        ("null", None),
        ("None", "None"),
        ("true", True),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("=", "="),
        ("1" * 500, "1" * 500),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_scalar(written: str, means: Scalar) -> None:
    """An unquoted scalar means what YAML 1.2's core schema says."""
    found = resolve_scalar(written)
    assert (found, type(found)) == (means, type(means))


def test_quotes_make_texts() -> None:
    """What is quoted, a block, or tagged as text is text."""
    written = "['1', \"true\", !!str 2, ! null]"
    assert plain(compose(written, "m")) == ["1", "true", "2", "null"]


def test_merge_keys() -> None:
    """`<<` adds what is not written beside it; of several, the first wins."""
    written = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {z: 4, <<: *b}"
    found = plain(compose(written, "m"))
    assert isinstance(found, dict)
    assert found["c"] == {"x": 1, "y": 1, "z": 3}
    assert found["d"] == {"y": 2, "z": 4}


def test_keys_are_texts() -> None:
    """A key is what was written, whatever it might mean."""
    assert plain(compose("{1: a, no: b, 1.0: c, ~: d}", "m")) == {"1": "a", "no": "b", "1.0": "c", "~": "d"}


TRICKY = [
    "{a|b}",
    "[b]",
    "costs $5 and $ {x} $$",
    "'single' \"double\" `back`",
    "two\nlines\n\nand a tab\there",
    "🐈‍⬛ cat 👩🏽‍🚀",
    "مرحبا بالعالم \u200f\u202e",
    "no",
    "16:9",
    "null",
    " leading and trailing ",
    "\x85 \u2028 \u2029 \ufeff \x00 \x1b",
    "%year% ../ \\ \\n C:\\",
    "x" * 10_000,
    "é" + "e\u0301",
    "# not a comment: really",
    "",
]


def sent(text: str) -> str:
    """Return what a server gets for a prompt written as a JSON string, which YAML reads too."""
    quoted = json.dumps(text, ensure_ascii=False)
    escaped = "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)
    found = batch(f"sweep: {{prompt: {escaped}}}\n")
    graph = json.loads(json.dumps(found.graph(found.jobs[0], "p")))
    return str(graph["7"]["inputs"]["text"])


@pytest.mark.parametrize("text", TRICKY, ids=range(len(TRICKY)))
def test_prompts_arrive_unchanged(text: str) -> None:
    """A prompt in quotes reaches the server's text node unchanged."""
    assert sent(text) == text


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=200).filter(lambda text: "${" not in text))
@example("\U000f0000\x85\u2028")
def test_any_prompt_arrives_unchanged(text: str) -> None:
    """So does any other text."""
    assert sent(text) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("|\n    A cat.\n    Rain: soft.", "A cat.\nRain: soft.\n"),
        (">-\n    A cat\n    and rain.", "A cat and rain."),
        ("A cat # no more", "A cat"),
        ("16:9", "16:9"),
        ("1984", "1984"),
        ("1.50", "1.50"),
        ("yes", "yes"),
        ("true", "true"),
        ("a\u2028b\x85c\u2029d", "a\u2028b\x85c\u2029d"),
    ],
)
def test_unquoted_prompts(written: str, text: str) -> None:
    """A prompt without quotes is the text that stands there, even where it could mean a number."""
    found = batch(f"sweep:\n  prompt: {written}\n")
    assert found.jobs[0].params["prompt"] == text


def test_prompts_from_files_arrive_unchanged() -> None:
    """A line and a JSON string keep their spaces, quotes and odd characters; a cell all but the blanks around it."""
    text = ' a "quoted", {b|c}  \u2028 $5\x0b'
    files = {
        "p.txt": f"{text}\n",
        "p.csv": 'prompt\n"{}"\n'.format(text.replace('"', '""')),
        "p.jsonl": json.dumps({"prompt": text}),
    }
    for sweep, read in (
        ("{prompt: {file: p.txt}}", text),
        ("{rows: p.csv}", text.strip()),
        ("{prompt: {file: p.jsonl, column: prompt}}", text),
    ):
        assert [job.params["prompt"] for job in batch(f"sweep: {sweep}\n", files).jobs] == [read]
