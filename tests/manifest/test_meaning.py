"""What the keys around the values mean: manifest on the left, jobs on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from manifests import batch, jobs

from batchrunner.manifest import Options

if TYPE_CHECKING:
    from collections.abc import Mapping


class Example(NamedTuple):
    """A manifest, the columns to look at, and the jobs, a line each."""

    message: str
    body: str
    columns: str
    makes: str
    files: Mapping[str, str] = {}
    options: Options = Options()


PROMPTS = "order: listed\nsweep: {prompt: [a, b], seed: [1, 2, 3]}"
CASES = [
    Example("what nobody sets is the workflow's own", "sweep: {prompt: a}", "steps cfg length", "30 5.0 121"),
    Example("defaults stand under a block", "defaults: {prompt: a, steps: 8}\nsweep: {seed: 1}", "prompt steps", "a 8"),
    Example("a block wins over defaults", "defaults: {steps: 8}\nsweep: {prompt: a, steps: 9}", "steps", "9"),
    Example(
        "a block's preset wins over defaults",
        "defaults: {steps: 8}\nsweep: {prompt: a, quality: fast}",
        "steps cfg",
        "20 4.0",
    ),
    Example(
        "a block's value wins over a preset in defaults",
        "defaults: {size: sd}\nsweep: {prompt: a, width: 640}",
        "width height",
        "640 512",
    ),
    Example(
        "blocks are joined",
        "order: listed\nsweep:\n  - {prompt: a, seed: [1, 2]}\n  - {prompt: b, steps: 9}",
        "prompt seed steps",
        "a 1 30\na 2 30\nb 42 9",
    ),
    Example(
        "a preset of your own",
        "presets: {look: {noir: {_poll: film noir, cfg: 6}, anime: {_poll: drawn}}}\n"
        'sweep: {prompt: "A cat, ${_poll}", look: [noir, anime]}',
        "prompt cfg look",
        "A cat, film noir 6.0 noir\nA cat, drawn 5.0 anime",
    ),
    Example(
        "a built-in option replaced, the others kept",
        "presets: {quality: {fast: {steps: 8}}}\nsweep: {prompt: a, quality: [fast, high]}",
        "steps cfg",
        "8 5.0\n40 6.0",
    ),
    Example(
        "a variable of your own stays out of the workflow and fills texts",
        "sweep: {_animal: [cat, dog], prompt: 'A ${_animal} playing piano'}",
        "prompt _animal",
        "A cat playing piano cat\nA dog playing piano dog",
    ),
    Example(
        "texts are filled from the job's own values, numbers as people write them",
        "sweep: {prompt: '${seed} ${cfg} ${quality}', seed: 7, quality: fast}",
        "prompt",
        "7 4 fast",
    ),
    Example(
        "a lone dollar or brace means itself",
        "sweep: {prompt: 'It costs $5, {a|b} $ {x} $$ ${_a}$', _a: z}",
        "prompt",
        "It costs $5, {a|b} $ {x} $$ z$",
    ),
    Example(
        "filling is one pass",
        "sweep: {prompt: 'x ${_a}', _a: '${_b}', _b: z}",
        "prompt _a",
        "x ${_b} z",
    ),
    Example(
        "lines of a file are filled too",
        "sweep: {prompt: {file: p.txt}, _a: [x, y]}",
        "prompt",
        "1 x\n1 y",
        {"p.txt": "1 ${_a}\n"},
    ),
    Example(
        "a text may name a seed, derived or not",
        "sweep: {prompt: a, _take: 'take ${seed}', seed: {count: 1, per: prompt}}",
        "_take",
        "take 1707348245",
    ),
    Example(
        "exclude is a partial match",
        PROMPTS + "\nexclude: {prompt: b, seed: 2}",
        "prompt seed",
        "a 1\na 2\na 3\nb 1\nb 3",
    ),
    Example(
        "a list in exclude means any of, a list of excludes means or",
        PROMPTS + "\nexclude: [{prompt: b, seed: [2, 3]}, {seed: 1}]",
        "prompt seed",
        "a 2\na 3",
    ),
    Example(
        "exclude knows presets and what they set",
        "sweep: {prompt: a, quality: [fast, balanced, high]}\nexclude: [{quality: fast}, {steps: 40}]",
        "quality",
        "balanced",
    ),
    Example(
        "sample keeps as many as it says, in order",
        PROMPTS + "\nsample: {count: 3, seed: 7}",
        "prompt seed",
        "a 2\na 3\nb 2",
    ),
    Example("sample keeps all when there are fewer", PROMPTS + "\nsample: {count: 99}", "seed", "1\n2\n3\n1\n2\n3"),
    Example(
        "breadth, the default, has every prompt once before any twice",
        "sweep: {prompt: [a, b, c], seed: [1, 2]}",
        "prompt seed",
        "a 1\nb 1\nc 1\na 2\nb 2\nc 2",
    ),
    Example(
        "breadth counts a prompt's text across blocks",
        "sweep: [{prompt: a, seed: [1, 2]}, {prompt: [a, b], seed: 3}]",
        "prompt seed",
        "a 1\nb 3\na 2\na 3",
    ),
    Example(
        "grouped keeps jobs with one prompt together, though it was written last",
        "order: grouped\nsweep: {seed: [1, 2, 3], prompt: [a, b]}",
        "prompt seed",
        "a 1\na 2\na 3\nb 1\nb 2\nb 3",
    ),
    Example(
        "grouped does so with more prompts than seeds too",
        "order: grouped\nsweep: {seed: [1, 2], prompt: [a, b, c]}",
        "prompt seed",
        "a 1\na 2\nb 1\nb 2\nc 1\nc 2",
    ),
    Example(
        "grouped changes the model least of all",
        "order: grouped\nsweep: {prompt: [a, b], checkpoint: [m, n]}",
        "checkpoint prompt",
        "m a\nm b\nn a\nn b",
    ),
    Example(
        "cheap has short jobs first",
        "order: cheap\nsweep: {prompt: a, steps: [30, 10, 20]}",
        "steps cost",
        "10 19.5038\n20 39.0076\n30 58.5114",
    ),
    Example(
        "shuffle is the same every time", "order: shuffle\nsweep: {prompt: a, seed: [1, 2, 3, 4]}", "seed", "1\n4\n2\n3"
    ),
    Example(
        "--set wins over everything and makes no axis",
        "sweep: {prompt: a, quality: [fast, high], seed: [1, 2]}",
        "seed steps cfg",
        "5 8 4.0\n5 8 6.0",
        options=Options(sets=(("seed", "5"), ("steps", "8"))),
    ),
    Example(
        "--set takes a preset",
        "sweep: {prompt: a, quality: [fast, high]}",
        "quality steps",
        "balanced 30",
        options=Options(sets=(("quality", "balanced"),)),
    ),
    Example(
        "--set fills texts as any value does",
        "sweep: {prompt: 'A ${_animal}', _animal: [cat, dog]}",
        "prompt",
        "A no",
        options=Options(sets=(("_animal", "no"),)),
    ),
    Example(
        "--set may give what the manifest lacks",
        "sweep: {seed: 1}",
        "prompt",
        "1984",
        options=Options(sets=(("prompt", "1984"),)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.message)
def test_meaning(case: Example) -> None:
    """Every key means exactly what the language promises."""
    assert "\n".join(jobs(batch(case.body, case.files, case.options), case.columns)) == case.makes
