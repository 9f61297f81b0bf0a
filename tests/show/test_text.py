"""What may reach a terminal, and how numbers read."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st
from rich.cells import cell_len

from batchrunner.text import (
    clock,
    closest,
    duration,
    event_line,
    json_text,
    listing,
    markdown_text,
    printable,
    quote,
    redact,
    size,
    stamp,
)

if TYPE_CHECKING:
    from batchrunner.core.job import Json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A cat, naïve, 猫, ñ", "A cat, naïve, 猫, ñ"),
        ("[bold]not markup[/bold] :smile:", "[bold]not markup[/bold] :smile:"),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("\x1b]8;;http://x\x1b\\", "\\x1b]8;;http://x\\x1b\\"),
        ("\x9b31m \x85 \x7f \x00", "\\x9b31m \\x85 \\x7f \\x00"),
        ("one\n\ntwo \r\tthree\n", "one two three"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("gpj.\u202e4pm \u2066x\u2069 \u200f", "gpj.\\u202e4pm \\u2066x\\u2069 \\u200f"),
        ("in\u200bvis\u200d\ufeffible\u00ad\u2060", "in\\u200bvis\\u200d\\ufeffible\\xad\\u2060"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("\ud800", "\\ud800"),
        ("\u3164\u115f", "\\u3164\\u115f"),
        ("no\u00a0break\u3000wide", "no break wide"),
        ("", ""),
    ],
)
def test_nothing_a_terminal_obeys_gets_through(text: str, shown: str) -> None:
    """Escape sequences, bidi controls and what can't be seen become visible escapes; a line end becomes a space."""
    assert printable(text) == shown


@given(st.text(max_size=400), st.integers(1, 300))
def test_any_text_becomes_one_short_printable_line(text: str, limit: int) -> None:
    """Whatever it was, it is one line of printable characters within the limit; escaping it again changes nothing."""
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert printable(shown, limit) == shown


def test_a_long_text_says_that_it_was_cut() -> None:
    """What does not fit ends in an ellipsis; what fits exactly does not."""
    assert printable("abcdef", 5) == "abcd…"
    assert printable("abcde", 5) == "abcde"
    assert printable("\x1b" * 9, 5) == "\\x1b…"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (42, "42 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
        (3905, "1 h 5 min"),
        (86400 * 2 + 3 * 3600 + 59, "2 d 3 h"),
        (float("inf"), "?"),
        (float("nan"), "?"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    """A length of time shows its two largest units."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (-1, "?"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (13_200_000, "13.2 MB"),
        (2_500_000_000, "2.5 GB"),
        (10**16, "10.0 PB"),
    ],
)
def test_sizes_read_as_people_say_them(count: int, words: str) -> None:
    """A number of bytes shows its unit and one digit."""
    assert size(count) == words


def test_times_are_exact_for_programs_and_short_for_people() -> None:
    """A stamp is RFC 3339 in UTC; a clock shows the time of day; a time that is none shows as unknown."""
    assert stamp(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert stamp(0) == "1970-01-01T00:00:00.000Z"
    assert clock(1_700_000_000) == time.strftime("%H:%M:%S", time.localtime(1_700_000_000))
    assert clock(1_700_000_000, "%Y-%m-%d") in {"2023-11-14", "2023-11-15"}
    assert (stamp(1e300), clock(float("nan"))) == ("?", "?")


def test_a_line_forges_no_second_line() -> None:
    """A prompt or an error that holds line ends stays within its own line; a long name keeps its seed."""
    line = event_line(0.0, "a\nb", "c\n00:00:00 d: saved")
    assert line.endswith("a b: c 00:00:00 d: saved")
    assert f" {'n' * 190}-s7: saved" in event_line(0.0, f"{'n' * 190}-s7", "saved")
    assert "\n" not in line


@given(st.dictionaries(st.text(), st.text()))
def test_json_is_printable_ascii(value: dict[str, str]) -> None:
    """A JSON line is harmless on a terminal too, and still says the same."""
    text = json_text({**value})
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("8.5 MB, batch_size and 2 * 3", "8.5 MB, batch_size and 2 \\* 3"),
        ("_both_ and __more__", "\\_both\\_ and \\_\\_more\\_\\_"),
        ("1. first", "1\\. first"),
        ("- item", "\\- item"),
        ("# title", "\\# title"),
        ("<b>&amp;[x](y)`~|", "\\<b\\>\\&amp;\\[x\\](y)\\`\\~\\|"),
        ("two\n\nlines\x1b[0m", "two lines\\\\x1b\\[0m"),
    ],
)
def test_markdown_reads_as_the_text(text: str, shown: str) -> None:
    """Only what would be markup is escaped: no backslash in sizes and in names with an underscore."""
    assert markdown_text(text) == shown


def test_json_for_a_page_ends_no_script() -> None:
    """JSON inside a page holds no character that HTML gives a meaning, and still says the same."""
    value: dict[str, Json] = {"a": "</script><!--&amp;\x7f\u2028"}
    text = json_text(value, page=True)
    assert not set("<>& \x7f") & set(text)
    assert text.isascii()
    assert json.loads(text) == value


def test_a_quoted_text_is_one_line() -> None:
    """A text of several lines is quoted as one; what is long is cut within the quotes."""
    assert quote("a\n  b") == '"a b"'
    assert quote("x" * 99, 5) == '"xxxx…"'


def test_a_list_says_what_it_leaves_out() -> None:
    """Words past the limit are counted; no word at all is said too."""
    assert (listing("abc", 2), listing("ab", 2), listing([])) == ("a, b and 1 more", "a, b", "nothing")


def test_a_secret_is_taken_out_however_deep() -> None:
    """Keys, values and objects that are no JSON become texts without the secret; without one nothing changes."""
    assert redact({"s3": [("s3", 1, None, b"s3")]}, ("s3",)) == {"***": [["***", 1, None, "b'***'"]]}
    assert redact({"s3": 1.5}, ()) == {"s3": 1.5}


def test_a_line_that_fits() -> None:
    """A name in a line is cut in its middle so that the line fits: its end, the seed, stays."""
    name, message = f"rain/{'a-cat-' * 20}s4294967295", "saved, 13.2 MB"
    line = event_line(0.0, name, message, 80)
    assert (cell_len(line), line.endswith("s4294967295: saved, 13.2 MB")) == (80, True)
    assert name in event_line(0.0, name, message)
    assert event_line(0.0, "", message, 8).endswith(f" {message}")
    assert "…" in event_line(0.0, name, "x" * 200, 80)


@pytest.mark.parametrize(
    ("word", "near"), [("promt", "prompt"), ("stps", "steps"), ("cgf", "cfg"), ("Widht", "width"), ("notes", None)]
)
def test_a_guess_is_near_or_none(word: str, near: str | None) -> None:
    """A typing slip is recognised; another word that shares some letters is no guess."""
    assert closest(word, ["prompt", "steps", "cfg", "width"]) == near
