"""The built-in workflow: what is sent, and how one parameter reaches every place that must agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchrunner.core.forecast import GPU, Forecast
from batchrunner.core.job import job_digest, node_text
from batchrunner.workflow import Template, ltx2, read_graph
from batchrunner.workflow.cost import Effort
from batchrunner.workflow.ltx2 import DESCRIPTIONS, PLACES
from batchrunner.workflow.params import Identify, make_param

TEMPLATE = ltx2()
CHECKPOINT = "ltx-2-19b-distilled.safetensors"
LINKS = {
    "2": [],
    "5": [("audio_vae", ["3", 0])],
    "6": [("video_latent", ["4", 0]), ("audio_latent", ["5", 0])],
    "7": [("clip", ["2", 0])],
    "8": [("clip", ["2", 0])],
    "9": [("positive", ["7", 0]), ("negative", ["8", 0])],
    "10": [("model", ["1", 0]), ("positive", ["9", 0]), ("negative", ["9", 1]), ("latent_image", ["6", 0])],
    "11": [("av_latent", ["10", 0])],
    "12": [("samples", ["11", 0]), ("vae", ["1", 2])],
    "13": [("samples", ["11", 1]), ("audio_vae", ["3", 0])],
    "14": [("images", ["12", 0]), ("audio", ["13", 0])],
    "15": [("video", ["14", 0])],
}


def test_the_graph_that_is_sent() -> None:
    """Fifteen nodes, linked as the deployed server's own document has them, with the values in their places."""
    values = {"prompt": "A cat.", "seed": 2**64 - 1, "length": 97, "fps": 25, "batch_size": 2, "cfg": 6}
    graph = json.loads(json.dumps(TEMPLATE.fill(values, "t-0123-a1")))
    assert sorted(graph, key=int) == [str(number) for number in range(1, 16)]
    for node, expected in LINKS.items():
        found = [(name, value) for name, value in graph[node]["inputs"].items() if isinstance(value, list)]
        assert sorted(found) == sorted(expected)
    inputs = {node: graph[node]["inputs"] for node in graph}
    assert (inputs["7"]["text"], inputs["10"]["seed"]) == ("A cat.", 2**64 - 1)
    assert inputs["4"]["length"] == inputs["5"]["frames_number"] == 97
    assert inputs["5"]["frame_rate"] == inputs["9"]["frame_rate"] == inputs["14"]["fps"] == 25
    assert inputs["4"]["batch_size"] == inputs["5"]["batch_size"] == 2
    assert inputs["1"]["ckpt_name"] == inputs["2"]["ltxv_path"] == inputs["3"]["ckpt_name"] == CHECKPOINT
    assert inputs["15"] == {"filename_prefix": "t-0123-a1", "format": "mp4", "codec": "h264", "video": ["14", 0]}


def test_numbers_take_their_nodes_type() -> None:
    """A float is sent with a fraction and a whole number without, however they were written."""
    inputs = TEMPLATE.fill({"prompt": "a", "cfg": 5, "fps": 24, "steps": 30}, "p")
    text = json.dumps(inputs)
    assert '"cfg": 5.0' in text
    assert '"fps": 24.0' in text
    assert '"steps": 30,' in text


def test_nothing_is_shared_that_is_changed() -> None:
    """Filling in one job leaves the template, and every other job, alone."""
    first = json.dumps(TEMPLATE.fill({"prompt": "a"}, "p"))
    TEMPLATE.fill({"prompt": "b", "seed": 1, "checkpoint": "m"}, "q")
    assert json.dumps(TEMPLATE.fill({"prompt": "a"}, "p")) == first


@pytest.mark.parametrize("name", PLACES)
def test_every_parameter(name: str) -> None:
    """Every parameter has a description, and changes exactly the inputs it names."""
    assert DESCRIPTIONS[name]
    value = {"int": 65, "float": 0.5, "number": 12, "text": "other"}[TEMPLATE.params[name].limit.kind]
    before, after = TEMPLATE.fill({}, "p"), TEMPLATE.fill({name: value}, "p")
    changed = {
        f"{node}.{key}"
        for node in after
        for key in dict(after[node]["inputs"])
        if after[node]["inputs"][key] != before[node]["inputs"][key]
    }
    assert changed == set(PLACES[name])


def test_ids_are_those_of_the_whole_graph() -> None:
    """The quick way to a job's digest finds what hashing the whole workflow finds."""
    identify = Identify(TEMPLATE)
    for values in ({"prompt": "a"}, {"prompt": "a", "seed": 7, "cfg": 5.5}, {"prompt": "b", "checkpoint": "m"}):
        for _ in range(2):
            graph = json.loads(json.dumps(TEMPLATE.fill(values, "any")))
            texts = {key: node_text(node["class_type"], node["inputs"]) for key, node in graph.items()}
            assert identify.digest(values) == job_digest(texts)


def test_effort() -> None:
    """A job costs its steps, each the more the more it draws: pixels, frames, clips."""
    effort = Effort(TEMPLATE)
    small = {"width": 768, "height": 512, "length": 121, "batch_size": 1}
    assert effort.cost({**small, "steps": 7}) == 7
    assert effort.cost({**small, "steps": 2, "length": 242, "batch_size": 4}) == pytest.approx(2 * 8**0.4, rel=1e-5)
    assert effort.cost({}) == pytest.approx(30 * (1920 * 1088 / 768 / 512) ** 0.4, rel=1e-5)
    assert effort.cost({"width": -1}) == 0


@pytest.mark.parametrize(
    ("width", "height", "steps", "clips", "minutes"),
    [
        (768, 512, 20, 1, 5),
        (1280, 720, 30, 1, 10),
        (1920, 1088, 30, 1, 13),
        (1920, 1088, 40, 1, 17),
        (1920, 1088, 30, 2, 16),
    ],
)
def test_the_published_times_are_the_first_guess(width: int, height: int, steps: int, clips: int, minutes: int) -> None:
    """Before the first render a job is forecast within 10 % of what the deployed server's users are told."""
    values = {"width": width, "height": height, "length": 121, "steps": steps, "batch_size": clips}
    assert GPU.at(Effort(TEMPLATE).cost(values)) == pytest.approx(60 * minutes, rel=0.1)


def test_effort_of_linked_values() -> None:
    """A size or a number of steps that another node holds counts as well; without them nothing is told."""
    text = (Path(__file__).parent / "packs" / "primitive_seeds.json").read_text("utf-8")
    template = Template(read_graph(text), {"steps": make_param(read_graph(text), "steps", ["3.value"])})
    step = Effort(template).cost({"steps": 1})
    assert step == pytest.approx((640 * 640 / 768 / 512 / 121) ** 0.4, rel=1e-5)
    assert Effort(template).cost({}) == pytest.approx(24 * step, rel=1e-5)
    upscale = (Path(__file__).parent / "packs" / "upscale_video.json").read_text("utf-8")
    assert Effort(Template(read_graph(upscale))).cost({}) == 0


@pytest.mark.parametrize("number", [10**400, 1e308, -20], ids=["huge", "large", "negative"])
def test_the_effort_of_nonsense_is_a_number(number: float) -> None:
    """What no server renders costs an odd forecast, which is a number that can be counted with."""
    cost = Effort(TEMPLATE).cost(dict.fromkeys(("steps", "width", "height", "length", "batch_size"), number))
    assert 0 <= Forecast().total([cost, cost], ["http://gpu:8188"]).seconds < 1e18
