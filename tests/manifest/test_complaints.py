"""What is said about wrong manifests: place, path and words, to the letter; `complaints.txt` holds the cases.

A case there is a manifest (after the usual three lines, unless it is marked as whole), then the files beside it, then
after `>>>` everything that is complained about.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from manifests import HEAD, complaints


class Attempt(NamedTuple):
    """A wrong manifest and what is said about it."""

    message: str
    body: str
    files: dict[str, str]
    said: str


def cases() -> list[Attempt]:
    """Return the cases of `complaints.txt`."""
    text = Path(__file__).with_name("complaints.txt").read_text("utf-8")
    found = []
    for chunk in text.split("=== ")[1:]:
        message, rest = chunk.split("\n", 1)
        manifest, said = rest.split(">>>\n")
        body, *named = manifest.split("--- ")
        files = dict(each.split("\n", 1) for each in named)
        whole = message.endswith(" (whole)")
        found.append(Attempt(message, body if whole else HEAD + body, files, said.strip()))
    return found


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.message)
def test_complaint(case: Attempt) -> None:
    """Everything that is wrong is said at once, each on one line, with its place and a suggestion where one is near."""
    assert complaints(case.body, case.files, head="") == case.said


def test_there_are_many_cases() -> None:
    """The table is long enough to be a promise, and every case says something."""
    assert len(CASES) >= 60
    assert all(case.said for case in CASES)


def test_all_at_once_and_sorted() -> None:
    """Ten mistakes make ten lines, in the order of the file."""
    body = "\n".join(f"x{index}: 1" for index in range(10)) + "\nsweep: {prompt: a}\n"
    lines = complaints(body).split("\n")
    assert [int(line.split(":")[1]) for line in lines] == list(range(4, 14))


def test_a_flood_of_mistakes_is_bearable() -> None:
    """A file with thousands of mistakes is not complained about for ever."""
    lines = complaints("".join(f"x{index}: 1\n" for index in range(5000))).split("\n")
    assert len(lines) == 501
    assert sum(line.endswith("500 complaints; the rest is not read") for line in lines) == 1


@pytest.mark.parametrize("char", ["\x07", "\x00", "\x1b", "\x7f", "\ufeff"])
def test_control_characters(char: str) -> None:
    """A character that no YAML file may hold is named, and never shown raw."""
    said = complaints(f"sweep: {{prompt: 'a{char}b'}}\n")
    assert said == f"m.yaml:4:19: the character U+{ord(char):04X} cannot stand here; write it as an escape"


def test_what_is_quoted_is_escaped() -> None:
    """Whatever a manifest holds, a complaint about it is one printable line."""
    said = complaints('sweep: {prompt: a, seed: "\\e[31m\\nred\\u202e"}\n')
    assert said == 'm.yaml:4:26: sweep.seed: must be a whole number, not the text "\\x1b[31m\\nred\\u202e"'
