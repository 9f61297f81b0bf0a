"""Naming inputs of a workflow of one's own, and what is said when a name does not fit."""

from __future__ import annotations

import json

import pytest
from graphs import IMAGE, image

from batchrunner.workflow import Template, WorkflowError, read_graph
from batchrunner.workflow.params import make_param, select_input, select_node
from batchrunner.workflow.values import UnfitError

GRAPH = read_graph(image())


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ("3.seed", "3.seed"),
        ("KSampler.seed", "3.seed"),
        ("@Negative.text", "7.text"),
        ("@Pos. v1.text", "6.text"),
        ("9.fmt.kind", "9.fmt.kind"),
        ("SaveImage.fmt.kind", "9.fmt.kind"),
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
                "5 (EmptyLatentImage), 6 (Pos. v1), 7 (Negative), 8 (VAEDecode), 9 (SaveImage) - did you mean KSampler?"
            ),
        ),
        (
            "3.model",
            (
                '"model" of node 3 (KSampler) is fed by node "4" and is not overwritten; '
                "its own values are seed, steps, cfg, sampler_name, scheduler, denoise"
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
    filled = Template(GRAPH, {}).fill({}, "pre")
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
        ('{"prompt": {"1": {}}}', 'this is a whole request: keep only what stands under "prompt"'),
        ('{"1": 5}', 'node "1": an object with class_type and inputs was expected'),
        ('{"1": {"inputs": {}}}', 'node "1": class_type is missing'),
        ('{"1": {"class_type": "A", "inputs": []}}', 'node "1": inputs must be an object'),
        ('{"1": {"class_type": "A", "inputs": {"x": NaN}}}', "NaN is not a number that JSON knows"),
        ('{"1": {"class_type": "A"}, "1": {"class_type": "B"}}', 'the key "1" stands twice in one object'),
        ('{"1": {"class_type": "A", "inputs": {"x": ["2", 0]}}}', 'node "1": "x" is fed by "2", which is missing'),
        (
            '{"1": {"class_type":"A", "inputs": {"x": ["2", 0]}}, "2": {"class_type": "B", "inputs": {"x": ["1", 1]}}}',
            'node "1": nodes feed each other in a circle',
        ),
        ('{"1": {"class_type": "A"}}', "no node saves a file: none has a filename_prefix"),
        (
            '{"9": {"class_type": "PreviewImage"}}',
            "no node saves a file: node 9 (PreviewImage) keeps none on the server; replace PreviewImage by SaveImage",
        ),
        ('{"9": {"class_type": "PreviewVideo"}}', "replace PreviewVideo by SaveVideo"),
        ('{"9": {"class_type": "Preview3D"}}', "replace Preview3D by one that saves"),
        ('{"9": {"class_type": "SaveImageWebsocket"}}', "replace SaveImageWebsocket by SaveImage"),
        (
            '{"9": {"class_type": "Image Saver", "inputs": {"filename": "%time"}}}',
            "node 9 (Image Saver) has no filename_prefix, by which its files are found again; replace it",
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


def test_the_place_of_a_slip_in_json() -> None:
    """A JSON mistake is named with line and column."""
    with pytest.raises(WorkflowError) as caught:
        read_graph('{\n  "1": {,}\n}')
    assert (caught.value.line, caught.value.column) == (2, 9)


def test_a_node_without_inputs_gets_them() -> None:
    """A node saved without inputs is sent with none, since a server's worker could die of the lack."""
    text = image(**{"99": {"class_type": "Note"}})
    assert Template(read_graph(text), {}).fill({}, "p")["99"] == {"class_type": "Note", "inputs": {}}
