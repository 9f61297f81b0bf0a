"""Naming inputs of a workflow of one's own, and what is said when a name does not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphs import IMAGE, image

from batchrunner.core.job import prefixes, render_digest
from batchrunner.workflow import Template, WorkflowError, read_graph
from batchrunner.workflow.params import Identify, make_param, select_input, select_node, select_prefix_input
from batchrunner.workflow.saving import no_saving_node
from batchrunner.workflow.values import UnfitError

LORAS = {
    "class_type": "Power Lora Loader (rgthree)",
    "inputs": {"lora_1": {"lora": "a", "strength": 0.8}, "lora.2": {"on": True}, "sizes": [1, 2, 3], "model": ["4", 0]},
    "_meta": {"title": "Loras"},
}
GRAPH = read_graph(image(**{"20": LORAS}))


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ("3.seed", "3.seed"),
        ("KSampler.seed", "3.seed"),
        ("@Negative.text", "7.text"),
        ("@Pos. v1.text", "6.text"),
        ("9.fmt.kind", "9.fmt.kind"),
        ("SaveImage.fmt.kind", "9.fmt.kind"),
        ("20.lora_1.strength", "20.lora_1.strength"),
        ("@Loras.lora.2.on", "20.lora.2.on"),
    ],
)
def test_selecting(selector: str, place: str) -> None:
    """An input is named by node id, by title, or by a class that occurs once; dots within names are no trouble."""
    target = select_input(GRAPH, selector)
    assert f"{target.node}.{target.input}" == place


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("seed", '"seed" names no input: write node.input, @Title.input or Class.input'),
        (
            "3.sede",
            (
                'node 3 (KSampler) has no input "sede", only seed, steps, cfg, sampler_name, scheduler, denoise'
                " - did you mean seed?"
            ),
        ),
        ("CLIPTextEncode.text", '"CLIPTextEncode" is ambiguous: it may be node 6, 7; name one by its id'),
        (
            "KSampel.seed",
            (
                'no node is called "KSampel"; there is 3 (KSampler), 4 (CheckpointLoaderSimple), '
                "5 (EmptyLatentImage), 6 (Pos. v1), 7 (Negative), 8 (VAEDecode), 9 (SaveImage), "
                "20 (Loras) - did you mean KSampler?"
            ),
        ),
        (
            "3.model",
            (
                '"model" of node 3 (KSampler) is fed by node "4" and is not overwritten; '
                "its own values are seed, steps, cfg, sampler_name, scheduler, denoise"
            ),
        ),
        (
            "20.lora_1",
            (
                '"lora_1" of node 20 (Power Lora Loader (rgthree)) is an object; name a value in it: '
                "lora_1.lora, lora_1.strength"
            ),
        ),
        ("20.sizes", '"sizes" of node 20 (Power Lora Loader (rgthree)) is a list; a parameter is a single value'),
        (
            "20.lora_1.strenght",
            (
                'node 20 (Power Lora Loader (rgthree)) has no input "lora_1.strenght", only lora_1.lora, '
                "lora_1.strength, lora.2.on, sizes - did you mean lora_1.strength?"
            ),
        ),
        ("9.filename_prefix", "filename_prefix is the runner's own: name your files with `files`"),
    ],
)
def test_selecting_in_vain(selector: str, said: str) -> None:
    """A name that fits no input, several, or a link is refused with a list of what there is."""
    with pytest.raises(WorkflowError) as caught:
        select_input(GRAPH, selector)
    assert str(caught.value) == said


def test_a_value_inside_an_object() -> None:
    """Only the named value of an object changes; its other values, and the template, stay as they are."""
    param = make_param(GRAPH, "weight", ["20.lora_1.strength"])
    template = Template(GRAPH, {"weight": param})
    assert (param.limit.kind, template.own) == ("float", {"weight": 0.8})
    filled = template.fill({"weight": 1}, "p")["20"]
    assert filled == {**LORAS, "inputs": {**LORAS["inputs"], "lora_1": {"lora": "a", "strength": 1.0}}}
    assert template.fill({}, "p")["20"] == LORAS
    assert Identify(template).digest({"weight": 1}) != Identify(template).digest({"weight": 0.8})


def test_a_prefix_input_of_another_name() -> None:
    """A saving node without `filename_prefix` takes the prefix where it is told to, and that names no job."""
    saver = {"class_type": "Image Saver", "inputs": {"filename": "%time", "path": "x", "images": ["8", 0]}}
    graph = read_graph(image(**{"9": saver}))
    template = Template(graph, prefixes=dict([select_prefix_input(graph, "9.filename")]))
    prefix = "night-0123456789ab-a1"
    filled = template.fill({}, prefix)
    assert filled["9"] == {**saver, "inputs": {**saver["inputs"], "filename": prefix}}
    assert (template.saves, prefixes(filled)) == (("9",), (prefix,))
    assert render_digest(filled) == render_digest(template.fill({}, "night-0123456789ab-a2"))
    renamed = read_graph(image(**{"9": {**saver, "inputs": {**saver["inputs"], "filename": "other"}}}))
    other = Template(renamed, prefixes={"9": "filename"})
    assert Identify(template).digest({}) == Identify(other).digest({})
    with pytest.raises(WorkflowError, match='has no input "file", only filename, path, images'):
        select_prefix_input(graph, "9.file")


@pytest.mark.parametrize(
    ("kind", "name", "most"),
    [
        ("KSampler", "seed", 2**64 - 1),
        ("SomebodysSampler", "noise_seed", 2**64 - 1),
        ("PrimitiveInt", "value", 2**63 - 1),
        ("SeedNode", "seed", 2**63 - 1),
        ("Seed (rgthree)", "seed", 2**50),
        ("easy seed", "seed", 2**50),
        ("VeoVideoGenerationNode", "seed", 2**32 - 1),
        ("WanTextToVideoApi", "seed", 2**31 - 1),
    ],
)
def test_the_largest_seed(kind: str, name: str, most: int) -> None:
    """A seed goes as far as its own node takes it, and no farther."""
    graph = read_graph(json.dumps({"1": {"class_type": kind, "inputs": {name: 3}}}))
    assert make_param(graph, "seed", [f"1.{name}"]).limit.high == most


def test_selecting_nodes() -> None:
    """A node is named in the same three ways."""
    assert [select_node(GRAPH, name) for name in ("9", "@Negative", "VAEDecode")] == ["9", "7", "8"]


def test_one_parameter_drives_several_inputs() -> None:
    """Each input gets the value in its own node's type, and only what suits all of them is taken."""
    param = make_param(GRAPH, "n", ["3.steps", "3.cfg"])
    assert (param.limit.kind, param.limit.low, param.limit.high) == ("int", 1, 100)
    filled = Template(GRAPH, {"n": param}).fill({"n": 9}, "p")
    assert json.dumps(filled["3"]["inputs"]).startswith('{"seed": 5, "steps": 9, "cfg": 9.0')
    with pytest.raises(UnfitError, match="different types: int, text"):
        make_param(GRAPH, "n", ["3.steps", "6.text"])


def test_what_is_not_touched_stays() -> None:
    """Apart from named inputs and the file prefix, a workflow is sent as it was exported, titles and all."""
    filled = Template(read_graph(image()), {}).fill({}, "pre")
    expected = json.loads(json.dumps(IMAGE))
    expected["9"]["inputs"]["filename_prefix"] = "pre"
    assert filled == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "this is not JSON: Expecting value"),
        ("[]", "this is no workflow: a JSON object of nodes was expected"),
        ("{}", "this is no workflow: a JSON object of nodes was expected"),
        ('{"nodes": [], "links": [], "version": 0.4}', "editor's own format"),
        ('{"prompt": {"1": {}}}', 'node "1": class_type is missing'),
        ('{"output": {"nodes": []}}', "editor's own format"),
        ('{"1": 5}', 'node "1": an object with class_type and inputs was expected'),
        ('{"1": {"inputs": {}}}', 'node "1": class_type is missing'),
        ('{"1": {"class_type": "A", "inputs": []}}', 'node "1": inputs must be an object'),
        ('{"1": {"class_type": "A", "inputs": {"x": NaN}}}', 'node "1": "x" holds a number that JSON does not know'),
        ('{"1": {"class_type": "A", "inputs": {"x": [1e999]}}}', '"x" holds a number that JSON does not know'),
        ('{"1": {"class_type": "A"}, "1": {"class_type": "B"}}', 'the key "1" stands twice in one object'),
        ('{"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}}', 'node "1": "x" is fed by "2", which is missing'),
        (
            '{"1": {"class_type":"A", "inputs": {"x": ["2", 0]}}, "2": {"class_type": "B", "inputs": {"x": ["1", 1]}}}',
            'node "1": nodes feed each other in a circle',
        ),
        ("[" * 100_000, "this JSON is nested too deeply"),
        ('{"1": ' + "[" * 500 + "]" * 500 + "}", "this JSON is nested too deeply"),
        ('{"1": ' + "9" * 5000 + "}", "a number is out of range"),
    ],
)
def test_what_is_no_workflow(text: str, said: str) -> None:
    """A file that no server could run is refused with the reason."""
    with pytest.raises(WorkflowError) as caught:
        read_graph(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("node", "cure"),
    [
        ({"class_type": "A"}, "none has a filename_prefix"),
        (
            {"class_type": "PreviewImage"},
            "node 9 (PreviewImage) keeps none on the server; replace PreviewImage by SaveImage",
        ),
        ({"class_type": "PreviewVideo"}, "replace PreviewVideo by SaveVideo"),
        ({"class_type": "Preview3D"}, "replace Preview3D by one that saves"),
        ({"class_type": "SaveImageWebsocket"}, "replace SaveImageWebsocket by SaveImage"),
        (
            {"class_type": "Image Saver", "inputs": {"filename": "%time", "path": ""}},
            "node 9 (Image Saver) has no filename_prefix; write prefix: 9.filename to name its files by that input",
        ),
        ({"class_type": "Save It"}, "node 9 (Save It) has no filename_prefix; name the input that its files are named"),
    ],
)
def test_a_workflow_that_saves_nothing(node: dict[str, Any], cure: str) -> None:
    """A workflow without a saving node is refused with the change that cures it."""
    said = no_saving_node(read_graph(json.dumps({"9": node})))
    assert (said.startswith("no node saves a file: "), cure in said) == (True, True)


@pytest.mark.parametrize("keys", [["prompt"], ["output"], ["input", "workflow"], ["workflow"], ["input", "prompt"]])
def test_a_workflow_in_a_request(keys: list[str]) -> None:
    """A graph saved inside a whole request is found there, whatever stands beside it."""
    whole = json.loads(image())
    for key in reversed(keys):
        whole = {"images": [], "client_id": "c", key: whole}
    assert read_graph(json.dumps(whole)) == read_graph(image())


def test_what_a_server_noted_for_itself_is_not_sent() -> None:
    """A bare NaN beside a node's inputs, as `is_changed` holds it, is accepted and left out."""
    text = image(**{"4": {**IMAGE["4"], "is_changed": [float("nan")], "odd": float("inf"), "kept": 1}})
    assert "NaN" in text
    assert read_graph(text)["4"].payload() == {**IMAGE["4"], "kept": 1}


def test_the_place_of_a_slip_in_json() -> None:
    """A JSON mistake is named with line and column."""
    with pytest.raises(WorkflowError) as caught:
        read_graph('{\n  "1": {,}\n}')
    assert (caught.value.line, caught.value.column) == (2, 9)


def test_a_node_without_inputs_gets_them() -> None:
    """A node saved without inputs is sent with none, since a server's worker could die of the lack."""
    text = image(**{"99": {"class_type": "Note"}})
    assert Template(read_graph(text), {}).fill({}, "p")["99"] == {"class_type": "Note", "inputs": {}}
