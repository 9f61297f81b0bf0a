"""What is sound and still worth a word."""

from __future__ import annotations

import json

import pytest
from manifests import batch

CUT = (
    "the text ends where ` #` starts a comment; if that was part of it, "
    "put the text in quotes, or keep prompts in a file: {file: prompts.txt}"
)
JOINED = (
    "a line that begins with - continues the text above it; "
    "to make it an entry of the list, begin each entry in the same column, with `- `"
)
WILDCARD = 'a wildcard is sent as it is; {dynamic: "…", count: 20} fills it in from wildcards/'
LORA = "<lora:…> is sent as it is and loads nothing; ComfyUI loads LoRAs by a node such as LoraLoader"
BRACES = """braces are sent as they are; only ComfyUI's web page expands {a|b}, and {dynamic: "…", all: true} here"""
FPS = "fps 23.976: older servers cut the sound's frame rate to a whole number, and sound and picture drift apart"


@pytest.mark.parametrize(
    ("body", "warned"),
    [
        ("sweep: {prompt: a, size: 720p, length: 121}", []),
        (
            "sweep: {prompt: a, width: [721, 1280], height: 720}",
            [
                "width 721 is rendered as 704: the model takes a multiple of 32",
                "height 720 is rendered as 704: the model takes a multiple of 32",
            ],
        ),
        ("sweep: {prompt: a, length: 100}", ["length 100 is rendered as 97: the model takes 8n+1"]),
        (
            "sweep: {prompt: ['a {x|y} cat', '{z}', b]}",
            [f'prompt "a {{x|y}} cat" and 1 more: {BRACES}'],
        ),
        ("sweep:\n  prompt: Shot #3 of a cat\n", [f"m.yaml:5:11: sweep.prompt: {CUT}"]),
        ("sweep:\n  _scene: a cat\n  prompt: ${_scene}  # a variable alone is no cut text\n", []),
        ("sweep:\n  prompt:\n    - a\n    - b #1\n", [f"m.yaml:7:7: sweep.prompt[1]: {CUT}"]),
        ("sweep:\n  prompt:\n    - a # x\n    - b #1\n", [f"m.yaml:6:7: sweep.prompt[0]: {CUT} (and 1 more)"]),
        ("sweep:\n  prompt: a\n  _look: film #3\n", [f"m.yaml:6:10: sweep._look: {CUT}"]),
        ("defaults:\n  negative: ugly #3\nsweep: {prompt: a}\n", [f"m.yaml:5:13: defaults.negative: {CUT}"]),
        ("sweep:\n  prompt: A cat\n    and a dog #3\n", [f"m.yaml:5:11: sweep.prompt: {CUT}"]),
        ("sweep:\n  prompt: 'Shot #3'  # quoted\n  steps: 30 # fast\n  codec: auto # best\n", []),
        ("sweep:\n  prompt: 🐈 \u2028 ü #3\n", [f"m.yaml:5:11: sweep.prompt: {CUT}"]),
        ("sweep:\n  prompt: Shot#3\n  # a comment\n  negative: |\n    Shot #3\n", []),
        ("sweep:\n  prompt:\n  - a\n   - b\n", [f"m.yaml:6:5: sweep.prompt[0]: {JOINED}"]),
        ("sweep:\n  prompt:\n    -a\n    -b\n", [f"m.yaml:6:5: sweep.prompt: {JOINED}"]),
        (
            "sweep: {prompt: A __animal__ on a __places/beach__}",
            [f'prompt "A __animal__ on a __places/beach__": {WILDCARD}'],
        ),
        (
            "sweep: {prompt: 'def __init__(self) and snake__case'}",
            [f'prompt "def __init__(self) and snake__case": {WILDCARD}'],
        ),
        ("sweep: {prompt: 'snake__case__name, ____, __ x __'}", []),
        (
            "sweep: {prompt: ['a <lora:noir:0.8>', '<LORA:x:1>', b]}",
            [f'prompt "<LORA:x:1>" and 1 more: {LORA}'],
        ),
        ("sweep: {prompt: a}\nexclude: {seed: 5}", ["m.yaml:5:10: exclude: removes no job"]),
        (
            "sweep: {prompt: a, seed: 1}\nexclude: [{seed: 1, prompt: b}, {steps: 3}]",
            ["m.yaml:5:11: exclude[0]: removes no job", "m.yaml:5:33: exclude[1]: removes no job"],
        ),
        (
            "sweep: {prompt: [a, a], seed: [1, 2]}",
            ["2 of 4 jobs would render what another one renders; they are joined"],
        ),
        (
            "sweep: {prompt: a, batch_size: 2}",
            ["batch_size 2: the clips come back to back in one video; for single videos sweep the seed"],
        ),
        (
            "sweep: {prompt: a, fps: 23.976}",
            [FPS],
        ),
        (
            "sweep: {prompt: '${_a}', _a: '${_b}', _b: z}",
            [
                f'prompt "${{_b}}": {BRACES}',
                'prompt "${_b}": ${…} is filled in one pass, so a `${` in a value stays as it is',
            ],
        ),
    ],
)
def test_warning(body: str, warned: list[str]) -> None:
    """An odd value is mentioned once, with what will really happen."""
    found = [warning[warning.find("m.yaml") :] if "m.yaml" in warning else warning for warning in batch(body).warnings]
    assert found == warned


def test_equal_jobs_are_one() -> None:
    """Jobs that would render the same are one job, whatever they are called."""
    found = batch("sweep: {prompt: a, cfg: [5, 5.0], _take: [1, 2]}")
    assert (len(found.jobs), found.counted) == (1, 4)


@pytest.mark.parametrize(
    ("class_type", "count"),
    [("CLIPTextEncode", 3), ("ImpactWildcardEncode", 0), ("DPRandomGenerator", 0), ("Power Prompt (rgthree)", 0)],
)
def test_nodes_that_expand_themselves(class_type: str, count: int) -> None:
    """What a node expands itself is not warned of."""
    inputs = {"text": "x"}
    graph = {
        "1": {"class_type": class_type, "inputs": inputs},
        "2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}},
    }
    head = "name: t\nserver: sim\nworkflow: w.json\nparams: {prompt: 1.text}\n"
    found = batch("sweep: {prompt: '{a|b} __c__ <lora:d:1>'}", {"w.json": json.dumps(graph)}, head=head)
    assert len(found.warnings) == count
