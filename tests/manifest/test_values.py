"""What each way of writing a value makes: manifest on the left, jobs on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from manifests import batch, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping


class Example(NamedTuple):
    """A sweep, the columns to look at, and the jobs, a line each."""

    message: str
    body: str
    columns: str
    makes: str
    files: Mapping[str, str] = {}


CASES = [
    Example("a value is fixed", "sweep: {prompt: a, steps: 30}", "prompt steps", "a 30"),
    Example("a list is an axis", "sweep: {prompt: a, cfg: [4, 5, 6]}", "cfg", "4.0\n5.0\n6.0"),
    Example("a list of one is an axis of one", "sweep: {prompt: [a], seed: [3]}", "prompt seed", "a 3"),
    Example(
        "axes multiply, the last fastest",
        "order: listed\nsweep: {prompt: [a, b], seed: [1, 2]}",
        "prompt seed",
        "a 1\na 2\nb 1\nb 2",
    ),
    Example(
        "axes multiply as written, whatever they are called",
        "order: listed\nsweep: {seed: [1, 2], prompt: [a, b]}",
        "prompt seed",
        "a 1\nb 1\na 2\nb 2",
    ),
    Example(
        "a fixed value does not slow or speed any axis",
        "order: listed\nsweep: {seed: [1, 2], steps: 9, prompt: [a, b]}",
        "prompt steps seed",
        "a 9 1\nb 9 1\na 9 2\nb 9 2",
    ),
    Example(
        "a range by step includes both ends",
        "sweep: {prompt: a, cfg: {from: 3, to: 5, step: 0.5}}",
        "cfg",
        "3.0\n3.5\n4.0\n4.5\n5.0",
    ),
    Example(
        "a range is exact in decimals",
        "sweep: {prompt: a, denoise: {from: 0.1, to: 0.7, step: 0.2}}",
        "denoise",
        "0.1\n0.3\n0.5\n0.7",
    ),
    Example(
        "a range by count is spread evenly",
        "sweep: {prompt: a, denoise: {from: 0, to: 1, count: 5}}",
        "denoise",
        "0.0\n0.25\n0.5\n0.75\n1.0",
    ),
    Example(
        "thirds are the nearest that numbers can be",
        "sweep: {prompt: a, denoise: {from: 0, to: 1, count: 4}}",
        "denoise",
        "0.0\n0.3333333333333333\n0.6666666666666666\n1.0",
    ),
    Example(
        "whole numbers stay whole in a range",
        "sweep: {prompt: a, steps: {from: 10, to: 30, step: 10}}",
        "steps",
        "10\n20\n30",
    ),
    Example("a range may be one value", "sweep: {prompt: a, steps: {from: 8, to: 8, step: 1}}", "steps", "8"),
    Example("a range of one by count", "sweep: {prompt: a, steps: {from: 8, to: 8, count: 1}}", "steps", "8"),
    Example(
        "a range understands exponents",
        "sweep: {prompt: a, denoise: {from: 1e-1, to: 3e-1, step: 1e-1}}",
        "denoise",
        "0.1\n0.2\n0.3",
    ),
    Example(
        "seeds are derived from their index",
        "sweep: {prompt: a, seed: {count: 2}}",
        "seed",
        "2872663220\n2453045950",
    ),
    Example(
        "more seeds keep the first ones",
        "sweep: {prompt: a, seed: {count: 3}}",
        "seed",
        "2872663220\n2453045950\n1674293078",
    ),
    Example(
        "another base gives others",
        "sweep: {prompt: a, seed: {count: 2, base: 1}}",
        "seed",
        "4208412842\n3877174926",
    ),
    Example(
        "every prompt gets the same seeds",
        "order: listed\nsweep: {prompt: [a, b], seed: {count: 1}}",
        "prompt seed",
        "a 2872663220\nb 2872663220",
    ),
    Example(
        "or seeds of its own",
        "order: listed\nsweep: {prompt: [a, b], seed: {count: 1, per: prompt}}",
        "prompt seed",
        "a 1707348245\nb 2068340191",
    ),
    Example(
        "a file is an axis, a line each, without blank ones and # ones",
        "sweep: {prompt: {file: p.txt}}",
        "prompt",
        "one fox\ntwo foxes",
        {"p.txt": "one fox\n\n# no\n   \ntwo foxes\n"},
    ),
    Example(
        "a file may begin with a byte order mark and end its lines as Windows does",
        "sweep: {prompt: {file: p.txt}}",
        "prompt",
        "one\ntwo",
        {"p.txt": "\ufeffone\r\ntwo\r\n"},
    ),
    Example(
        "a file's numbers are texts where a text is wanted",
        "sweep: {prompt: {file: p.txt}}",
        "prompt",
        "1984\nno\n16:9",
        {"p.txt": "1984\nno\n16:9\n"},
    ),
    Example(
        "a file may hold numbers",
        "sweep: {prompt: a, cfg: {file: c.txt}}",
        "cfg",
        "4.0\n4.5",
        {"c.txt": "4\n4.5\n"},
    ),
    Example(
        "an axis may be a column of a CSV",
        "sweep: {prompt: {file: p.csv, column: text}}",
        "prompt",
        "a, b\nc",
        {"p.csv": 'id,text\n1,"a, b"\n2,c\n'},
    ),
    Example(
        "or a key of JSON lines",
        "sweep: {prompt: {file: p.jsonl, column: text}}",
        "prompt",
        "a\nb",
        {"p.jsonl": '{"text": "a"}\n\n{"text": "b", "other": 1}\n'},
    ),
    Example(
        "a preset sets several values",
        "sweep: {prompt: a, quality: [fast, balanced, high]}",
        "quality steps cfg",
        "fast 20 4.0\nbalanced 30 5.0\nhigh 40 6.0",
    ),
    Example(
        "sizes are presets",
        "sweep: {prompt: a, size: [sd, 720p, 1080p]}",
        "size width height",
        "sd 768 512\n720p 1280 704\n1080p 1920 1088",
    ),
    Example("or spelled out", "sweep: {prompt: a, size: [640x384]}", "size width height", "640x384 640 384"),
    Example(
        "zip walks lists together",
        "sweep: {prompt: a, zip: {width: [768, 1280], height: [512, 704]}}",
        "width height",
        "768 512\n1280 704",
    ),
    Example(
        "zip is one axis among others",
        "order: listed\nsweep: {prompt: a, zip: {width: [64, 128], height: [96, 160]}, seed: [1, 2]}",
        "width height seed",
        "64 96 1\n64 96 2\n128 160 1\n128 160 2",
    ),
    Example(
        "zip takes ranges, seeds and presets too",
        "sweep: {prompt: a, zip: {quality: [fast, high], denoise: {from: 0.5, to: 1, count: 2}, seed: {count: 2}}}",
        "steps denoise seed",
        "20 0.5 2872663220\n40 1.0 2453045950",
    ),
    Example(
        "rows may stand in the manifest",
        "sweep: {rows: [{prompt: a, seed: 1}, {prompt: b, seed: 2}]}",
        "prompt seed",
        "a 1\nb 2",
    ),
    Example(
        "rows may come from a CSV, whose cells take their parameter's type",
        "sweep: {rows: r.csv}",
        "prompt seed cfg",
        "007 7 4.0\nno 8 4.5",
        {"r.csv": "prompt,seed,cfg\n007,7,4\nno,8,4.5\n"},
    ),
    Example(
        "an empty cell nodes the default",
        "defaults: {cfg: 3}\nsweep: {rows: r.csv}",
        "prompt cfg",
        "a 3.0\nb 4.0",
        {"r.csv": "prompt,cfg\na,\nb,4\n"},
    ),
    Example(
        "a cell may hold a line break",
        "sweep: {rows: r.csv}",
        "prompt seed",
        "a\nb 1",
        {"r.csv": 'prompt,seed\n"a\nb",1\n'},
    ),
    Example(
        "rows may come from JSON lines",
        "sweep: {rows: r.jsonl}",
        "prompt seed",
        "a 1\nb 18446744073709551615",
        {"r.jsonl": '{"prompt": "a", "seed": 1}\n{"prompt": "b", "seed": 18446744073709551615}\n'},
    ),
    Example(
        "rows take presets and are times the other axes",
        "order: listed\nsweep: {rows: [{prompt: a, quality: fast}, {prompt: b, size: sd}], seed: [1, 2]}",
        "prompt steps width seed",
        "a 20 1920 1\na 20 1920 2\nb 30 768 1\nb 30 768 2",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.message)
def test_value(case: Example) -> None:
    """Every way of writing a value makes exactly the jobs that the language promises."""
    assert "\n".join(jobs(batch(case.body, case.files), case.columns)) == case.makes
