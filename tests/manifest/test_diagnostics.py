"""The diagnostics of wrong manifests: place, path and words, to the letter; `diagnostics.txt` holds the cases.

A case there is a manifest (after the usual three lines, unless it is marked as whole), then the files beside it, then
after `>>>` every diagnostic.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from manifests import HEAD, diagnostics

from batchrunner.manifest import Options


class Example(NamedTuple):
    """A wrong manifest and its diagnostics."""

    message: str
    body: str
    files: dict[str, str]
    expected: str


def cases() -> list[Example]:
    """Return the cases of `diagnostics.txt`."""
    text = Path(__file__).with_name("diagnostics.txt").read_text("utf-8")
    found = []
    for chunk in text.split("=== ")[1:]:
        message, rest = chunk.split("\n", 1)
        manifest, expected = rest.split(">>>\n")
        body, *named = manifest.split("--- ")
        files = dict(each.split("\n", 1) for each in named)
        whole = message.endswith(" (whole)")
        found.append(Example(message, body if whole else HEAD + body, files, expected.strip()))
    return found


CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.message)
def test_diagnostic(case: Example) -> None:
    """Everything that is wrong is reported at once, a line each, with its place and a suggestion where one is near."""
    assert diagnostics(case.body, case.files, head="") == case.expected


def test_there_are_many_cases() -> None:
    """The table is long enough to be a promise, and every case says something."""
    assert len(CASES) >= 60
    assert all(case.expected for case in CASES)


def test_all_at_once_and_sorted() -> None:
    """Ten mistakes make ten lines, in the order of the file."""
    body = "\n".join(f"x{index}: 1" for index in range(10)) + "\nsweep: {prompt: a}\n"
    lines = diagnostics(body).split("\n")
    assert [int(line.split(":")[1]) for line in lines] == list(range(4, 14))


def test_a_flood_of_mistakes_is_bearable() -> None:
    """A file with thousands of mistakes is not reported for ever."""
    lines = diagnostics("".join(f"x{index}: 1\n" for index in range(5000))).split("\n")
    assert len(lines) == 501
    assert sum(line.endswith("500 mistakes; the rest is not read") for line in lines) == 1


@pytest.mark.parametrize("char", ["\x07", "\x00", "\x1b", "\x7f", "\ufeff"])
def test_control_characters(char: str) -> None:
    """A character that no YAML file may hold is named, and never shown raw."""
    found = diagnostics(f"sweep: {{prompt: 'a{char}b'}}\n")
    assert found == f"m.yaml:4:19: the character U+{ord(char):04X} cannot stand here; write it as an escape"


def test_what_is_quoted_is_escaped() -> None:
    """Whatever a manifest holds, a diagnostic about it is one printable line."""
    found = diagnostics('sweep: {prompt: a, seed: "\\e[31m\\nred\\u202e"}\n')
    assert found == 'm.yaml:4:26: sweep.seed: must be a whole number, not the text "\\x1b[31m red\\u202e"'


def test_options_have_no_lines() -> None:
    """What is wrong with an option of the command names the option, and neither a line nor a column."""
    sweep = "sweep: {prompt: a}\n"
    assert diagnostics(sweep, options=Options(sets=(("seed", "x"),))) == (
        '--set seed: must be a whole number, not the text "x"'
    )
    assert diagnostics(sweep, options=Options(sets=(("sede", "1"),))) == (
        "--set sede: unknown parameter - did you mean seed?"
    )
    assert diagnostics(sweep, options=Options(servers=("http://x?",))) == "--server must end before any ? or #"
