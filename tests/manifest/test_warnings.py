"""What is sound and still worth a word."""

from __future__ import annotations

import pytest
from manifests import batch

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
            ['prompt "a {x|y} cat" and 1 more: braces are sent as they are; only ComfyUI\'s web page expands {a|b}'],
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
                'prompt "${_b}": braces are sent as they are; only ComfyUI\'s web page expands {a|b}',
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
