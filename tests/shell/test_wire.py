"""What a server's JSON means, and what of it is not believed."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from films import PREFIX, graph
from hypothesis import given, settings, strategies as st

from batchrunner.comfy import large, submission, wire
from batchrunner.comfy.wire import WrongShapeError
from batchrunner.core.actions import Ended, Entry, NodeError, Refused, Row, Taken
from batchrunner.core.facts import File
from batchrunner.core.job import render_digest

ID = "8923875e-b7e0-4b54-b594-f34924c9888b"
START, SUCCESS = ["execution_start", {"timestamp": 1_000}], ["execution_success", {"timestamp": 61_500}]


def _entry(**changes: Any) -> dict[str, Any]:
    whole = {
        "prompt": [7, ID, graph("p"), {}, ["9"]],
        "outputs": {"9": {"images": [{"filename": "p_00001_.mp4", "subfolder": "", "type": "output"}]}},
        "status": {"status_str": "success", "completed": True, "messages": [START, SUCCESS]},
    }
    return {ID: {**whole, **changes}}


def _read(**changes: Any) -> Entry:
    entry = wire.history(wire.parse(json.dumps(_entry(**changes)).encode()), ID)
    assert entry is not None
    return entry


def _status(text: str, *messages: Any) -> dict[str, Any]:
    return {"status_str": text, "completed": text == "success", "messages": list(messages)}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html></html>",
        b"\xff\xfe",
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5_000,
        b"{} {}",
    ],
)
def test_what_is_no_json_has_the_wrong_shape(body: bytes) -> None:
    """Bytes that are no JSON, say something twice or are nested without end are one kind of error, never another."""
    with pytest.raises(WrongShapeError):
        wire.parse(body)


def test_what_would_fill_the_memory_is_not_parsed() -> None:
    """What JSON takes once it is parsed is counted first: of nothing but empty lists it is forty times their bytes."""
    assert wire.estimated_memory(b'{"a": [1, 2]}') == 4 * 13 + 64 + 136 + 90 + 88
    small, large = b"[" + b"[]," * 100_000 + b"[]]", b"[" + b"[]," * 1_000_000 + b"[]]"
    assert len(wire.items(wire.parse(small), "list")) == 100_001
    with pytest.raises(WrongShapeError, match="more values than would fit into memory"):
        wire.parse(large)


def test_a_strangers_nan_is_no_obstacle() -> None:
    """A cfg of NaN in somebody's prompt is served bare by the real server, and does not blind us."""
    rows = wire.queue(
        wire.parse(b'{"queue_running": [[NaN, "a", {"1": {"inputs": {"cfg": NaN}}}]], "queue_pending": []}')
    )
    assert rows == (Row("a", 0.0, running=True),)


@pytest.mark.parametrize("number", ["1e999", "-Infinity", "1" + "0" * 400])
def test_a_strangers_number_is_no_obstacle(number: str) -> None:
    """A server takes any number for a place in the queue; one beyond all counting is read as 0."""
    rows = wire.queue(wire.parse(b'{"queue_running": [], "queue_pending": [[%s, "a", {}]]}' % number.encode()))
    assert rows == (Row("a", 0.0, running=False),)


def test_queue_rows_are_read_in_both_orders() -> None:
    """A row may begin with the number, as the server does, or with the id, as its document says."""
    running, pending = (
        [[12, "r", graph("ours"), {}, ["9"]]],
        [["p", 0, {"9": {"inputs": {"filename_prefix": 5}}}], [1.5, "q"]],
    )
    rows = wire.queue({"queue_running": running, "queue_pending": pending})
    assert rows == (
        Row("r", 12.0, running=True, prefixes=("ours",)),
        Row("p", 0.0, running=False),
        Row("q", 1.5, running=False),
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"queue_running": []},
        {"queue_running": {}, "queue_pending": []},
        {"queue_running": [5], "queue_pending": []},
        {"queue_running": [["a", "b", {}]], "queue_pending": []},
        {"queue_running": [[1, None, {}]], "queue_pending": []},
        {"queue_running": [[True, "a", {}]], "queue_pending": []},
        {"queue_running": [[]], "queue_pending": []},
    ],
)
def test_a_queue_of_the_wrong_shape_is_no_empty_queue(value: Any) -> None:
    """Nothing but two lists of well-formed rows is a queue: a lie must not look like an absence."""
    with pytest.raises(WrongShapeError):
        wire.queue(value)


def test_an_unknown_id_is_absent() -> None:
    """`{}` is the server's way to say that it does not know an id."""
    assert wire.history({}, ID) is None


@pytest.mark.parametrize(
    "value",
    [
        [],
        None,
        {"other": _entry()[ID]},
        {**_entry(), "other": {}},
        {ID: None},
        {ID: []},
        _entry(prompt=[7, "other", {}, {}, []]),
        _entry(prompt=[7, "other", ID]),
        _entry(outputs=[]),
        _entry(status="success"),
        _entry(status=_status("running")),
        _entry(status={"status_str": "success", "messages": {"a": 1}}),
        _entry(status={"status_str": "success", "messages": [5]}),
    ],
)
def test_an_entry_of_the_wrong_shape_is_neither_success_nor_absence(value: Any) -> None:
    """Another prompt's entry, or one that does not say how it ended, is refused as a whole."""
    with pytest.raises(WrongShapeError):
        wire.history(value, ID)


def test_a_success_names_its_files_prefixes_and_times() -> None:
    """The entry of a finished prompt gives its files, the prefixes in its workflow and the server's own times."""
    assert _read() == Entry(ID, Ended.SUCCESS, (File("p_00001_.mp4"),), ("p",), began=1.0, finished=61.5)


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (_status("error", START, ["execution_interrupted", {}]), Ended.INTERRUPTED),
        (_status("error", START, ["execution_error", {}]), Ended.ERROR),
        (_status("error", SUCCESS, ["execution_error", {}]), Ended.ERROR),
        (_status("error", ["execution_error", {}], START, SUCCESS), Ended.SUCCESS),
        (_status("success", START, SUCCESS, ["something_new", {}]), Ended.SUCCESS),
        (_status("success", START), Ended.SUCCESS),
        (_status("success"), Ended.SUCCESS),
        (_status("error"), Ended.ERROR),
        (_status("error", ["execution_error"]), Ended.ERROR),
        (None, Ended.SUCCESS),
        ({}, Ended.SUCCESS),
    ],
)
def test_the_last_message_says_how_it_ended(status: Any, ended: Ended) -> None:
    """Stopped, failed and done are told apart by the last message that names an end, and by the status without one."""
    assert _read(status=status).ended is ended


def test_files_are_found_under_any_key() -> None:
    """Whatever a node calls its list, files of type output count, each once, in the order they are listed."""
    image = {"filename": "a.png", "subfolder": "x", "type": "output"}
    outputs = {
        "9": {"images": [image, image], "animated": [True], "text": ["a.mp4"], "videos": [{"filename": "b.mp4"}]},
        "8": {"gifs": [{"filename": "c.mp4", "subfolder": "", "type": "output", "fullpath": "/x/c.mp4"}]},
        "7": {"images": [{"filename": "d.png", "type": "temp"}, {"filename": 5}, {"filename": ""}, None]},
        "6": None,
        "5": {"audio": {"filename": "not-in-a-list.flac"}, "ui": [{"filename": "e" * 5_000}], "seconds": 5},
    }
    found = (File("a.png", "x"), File("b.mp4"), File("c.mp4"))
    assert _read(outputs=outputs).files == found
    restricted = wire.history(_entry(outputs=outputs), ID, {"8"})
    assert restricted is not None
    assert restricted.files == (File("c.mp4"),)


_RECORDED = json.loads((Path(__file__).parent / "recorded_outputs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("node", _RECORDED)
def test_everything_that_a_node_saved_comes_home(node: str) -> None:
    """Film, picture, sound, mesh, latent or text, as two versions of a real server listed them; a preview does not."""
    for outputs, names in _RECORDED[node]:
        assert [file.name for file in _read(outputs=outputs).files] == names


def test_files_keep_the_order_of_their_nodes() -> None:
    """A latent or a text stands where its node stands, before a film or after it, and costs nothing."""
    outputs = {
        "9": {"latents": [{"filename": "a.latent", "type": "output"}], "text": ["said", {"filename": "a.txt"}]},
        "8": {"videos": [{"filename": "b.MP4"}, {"filename": "c.mp4.json"}]},
    }
    assert _read(outputs=outputs).files == (File("a.latent"), File("a.txt"), File("b.MP4"), File("c.mp4.json"))


def test_an_error_says_node_kind_and_message_and_no_more() -> None:
    """Of what raised, the node, the type and the capped message are kept; traceback and inputs are not."""
    said = {
        "node_id": "10",
        "node_type": "KSampler",
        "exception_type": "torch.OutOfMemoryError",
        "exception_message": "Allocation failed\n" + "x" * 10_000,
        "traceback": ["/home/somebody/secret.py"],
        "current_inputs": {"text": ["private"]},
        "timestamp": 5_000,
    }
    entry = _read(status=_status("error", START, ["execution_error", said]), outputs={})
    assert (entry.node, entry.exception, entry.finished) == ("KSampler #10", "torch.OutOfMemoryError", 5.0)
    assert entry.message.startswith("Allocation failed\nxxx")
    assert len(entry.message) <= 2_000
    assert "somebody" not in repr(entry)
    assert "private" not in repr(entry)


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("Second pass", 'KSampler #10 "Second pass"'),
        ("KSampler", "KSampler #10"),
        ("", "KSampler #10"),
        (7, "KSampler #10"),
        ("it raised it", "KSampler #10"),
    ],
)
def test_a_node_is_called_by_its_title_too(title: object, told: str) -> None:
    """Where a person gave the node that failed a title, an error names it: two samplers are told apart."""
    said = {"node_id": "10", "node_type": "KSampler", "exception_type": "ValueError", "exception_message": "no"}
    prompt: Any = [1, ID, {"10": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": title}}}, {}, []]
    assert _read(prompt=prompt, status=_status("error", START, ["execution_error", said]), outputs={}).node == told


def test_the_documents_entry_is_read_too() -> None:
    """An entry whose prompt is the workflow itself, as the deployed server's document has it, is read."""
    assert _read(prompt=graph("doc"), outputs={"15": {"videos": [{"filename": "v.mp4"}]}}).prefixes == ("doc",)


def test_the_end_of_the_history_keeps_its_order() -> None:
    """The last entries come as the server lists them, oldest first."""
    several: Any = {f"id-{n}": {**_entry()[ID], "prompt": [n, f"id-{n}", graph(f"p{n}"), {}, []]} for n in (3, 1, 2)}
    assert [entry.prefixes for entry in wire.recent(several)] == [("p3",), ("p1",), ("p2",)]
    assert [len(entry.files) for entry in wire.recent(several, {"9"})] == [1, 1, 1]
    assert [len(entry.files) for entry in wire.recent(several, {"8"})] == [0, 0, 0]


def test_what_an_attempt_renders_is_read() -> None:
    """A workflow under a prefix of the kind that ours are has a digest, in queue and history; a stranger's has none."""
    row: list[Any] = [1, ID, graph(), {}, ["9"]]
    (shown,) = wire.queue({"queue_running": [row], "queue_pending": []})
    assert (shown.prefixes, shown.digest) == ((PREFIX,), render_digest(graph()))
    assert large.queue(json.dumps({"queue_running": [row], "queue_pending": []}).encode()) == (shown,)
    assert _read(prompt=row).digest == _read(prompt=graph()).digest == shown.digest
    assert (_read(prompt=graph("mine")).digest, _read(prompt=None).digest) == ("", "")


def test_a_taken_prompt_keeps_the_servers_id() -> None:
    """An old server may answer with an id of its own; outputs it left out are named."""
    errors = {"9": {"class_type": "SaveVideo", "errors": [{"message": "bad"}], "dependent_outputs": ["9", 5]}}
    taken = submission.taken({"prompt_id": "x", "number": 3, "node_errors": errors})
    assert taken == Taken("x", 3.0, (NodeError("SaveVideo #9", "", "bad", ("9",)),))
    assert submission.taken({"prompt_id": "x"}) == Taken("x", 0.0)


def test_a_refused_node_is_called_by_its_title_too() -> None:
    """The answer to a refused POST has no titles, what was posted has: two loaders are told apart."""
    workflow = {"4": {"class_type": "LoadImage", "inputs": {}, "_meta": {"title": "Last frame"}}}
    errors = {"4": {"class_type": "LoadImage", "errors": [{"message": "no such file"}]}}
    body = submission.post_body(workflow, "x", "me")
    assert submission.refused({"node_errors": errors}, body).message == 'LoadImage #4 "Last frame": no such file'
    (error,) = submission.taken({"prompt_id": "x", "node_errors": errors}, body).node_errors
    assert error.node == 'LoadImage #4 "Last frame"'


@pytest.mark.parametrize(
    "value", [None, [], {}, {"prompt_id": 5}, {"prompt_id": ""}, {"prompt_id": "x", "number": "1"}]
)
def test_an_answer_without_an_id_was_not_taken(value: Any) -> None:
    """A 200 that does not name the prompt says nothing about it."""
    with pytest.raises(WrongShapeError):
        submission.taken(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {
                "error": {
                    "type": "prompt_outputs_failed_validation",
                    "message": "Prompt outputs failed",
                    "details": "",
                },
                "node_errors": {
                    "4": {
                        "errors": [
                            {
                                "type": "value_smaller_than_min",
                                "message": "Value 32 smaller than min of 64",
                                "details": "width",
                                "extra_info": {"input_name": "width"},
                            }
                        ],
                        "dependent_outputs": ["15"],
                        "class_type": "EmptyLTXVLatentVideo",
                    },
                    "10": {"errors": [{"message": "other"}], "class_type": "KSampler"},
                },
            },
            "EmptyLTXVLatentVideo #4: width: Value 32 smaller than min of 64 (width) (and 1 more)",
        ),
        (
            {
                "prompt_id": "x",
                "node_errors": {"4": {"errors": [{"message": "Invalid dimensions", "details": "no\n32"}]}},
            },
            "#4: Invalid dimensions (no 32)",
        ),
        (
            {"error": {"message": "Cannot execute because node X does not exist.", "details": "Node ID '#4'"}},
            "the workflow was refused: Cannot execute because node X does not exist. (Node ID '#4')",
        ),
        ({"error": "no_prompt", "node_errors": []}, "the workflow was refused: no_prompt"),
        ({"node_errors": {"4": {}}}, "#4"),
        ([], "the workflow was refused"),
        ({"error": 5, "node_errors": {"4": 5}}, "the workflow was refused"),
        ({"node_errors": {"4": {"errors": [5, "x", {"message": "bad", "extra_info": 5}]}}}, "#4: bad"),
        ({"node_errors": {"4": {"errors": {"message": "bad"}, "dependent_outputs": 5}}}, "#4"),
    ],
)
def test_a_refusal_is_one_readable_line(value: Any, message: str) -> None:
    """Whatever shape a 400 has, a person reads node, input, message and details in one line."""
    assert submission.refused(value).message == message


def test_a_body_holds_the_workflow_unchanged_and_nothing_to_fear() -> None:
    """Text arrives as it was written, a lone surrogate included; neither number nor front nor extra_data is sent."""
    texts = ["Ünïcode 🎬 \u202e\0\x1b\u2028", "lone \ud800 one", "\\ud800", 'quote " and \\']
    body = submission.post_body({"7": {"inputs": {"text": list(texts)}}}, ID, "me")
    said = json.loads(body)
    assert set(said) == {"prompt", "prompt_id", "client_id"}
    assert said["prompt"]["7"]["inputs"]["text"] == texts
    assert "🎬".encode() in body
    assert body == submission.post_body({"7": {"inputs": {"text": list(texts)}}}, ID, "me")


def test_a_body_never_poisons_the_queue_with_nan() -> None:
    """A NaN would make the server's queue unreadable for strict clients, so it is refused here."""
    with pytest.raises(ValueError, match="JSON"):
        submission.post_body({"1": {"inputs": {"cfg": float("nan")}}}, ID, "me")


_NAMES = (
    *("prompt", "outputs", "status", "status_str", "messages", "timestamp", "execution_error", "execution_success"),
    *("images", "filename", "subfolder", "type", "queue_running", "queue_pending", "inputs", "filename_prefix"),
    *("prompt_id", "number", "error", "node_errors", "errors", "message", "details", "extra_info", "input_name"),
    *("dependent_outputs", "class_type"),
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(_NAMES) | st.just(ID) | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=40,
)


@settings(max_examples=300, deadline=None)
@given(_json)
def test_no_json_makes_a_reader_stumble(value: Any) -> None:
    """Any JSON at all is read, or has the wrong shape: no reader ever raises anything else."""
    for read in (wire.queue, wire.recent, submission.taken, lambda each: wire.history(each, ID)):
        with suppress(WrongShapeError):
            read(value)
    assert isinstance(submission.refused(value), Refused)


@pytest.mark.parametrize(
    ("cached", "from_cache"),
    [
        ([str(node) for node in range(1, 15)], True),
        ([str(node) for node in range(1, 16)], True),
        (["14"], True),
        ([str(node) for node in range(1, 14)], False),
        (["1", "2", "3", "7", "8", "9"], False),
        ([], False),
        ([14, None, {}], False),
        ("14", False),
        (None, False),
    ],
)
def test_a_render_from_the_cache_is_told_apart(cached: Any, *, from_cache: bool) -> None:
    """Where all that the saving node takes was cached, only the saving was done: its seconds are no render's."""
    whole = {
        **{str(node): {"class_type": "Any", "inputs": {"from": [str(node - 1), 0]}} for node in range(2, 15)},
        "15": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "p", "format": "mp4", "video": ["14", 0]}},
    }
    messages = [START, ["execution_cached", {"nodes": cached}], SUCCESS]
    entry = _read(prompt=[7, ID, whole, {}, ["15"]], status=_status("success", *messages))
    assert entry.from_cache is from_cache


@pytest.mark.parametrize(
    ("workflow", "from_cache"),
    [
        (graph("p"), True),
        ({**graph("p"), "10": {"inputs": {"filename_prefix": "q", "images": ["9", 0]}}}, True),
        ({**graph("p"), "10": {"inputs": {"filename_prefix": "q", "images": ["8", 0]}}}, False),
        ({"9": {"inputs": {"filename_prefix": "p", "images": [3, 0]}}}, True),
        ({"9": {"inputs": {"filename": "night-0123456789ab-a1", "images": ["3", 0]}}}, True),
        ({"9": {"inputs": {"filename": "night-0123456789ab", "images": ["3", 0]}}}, False),
        ({"9": {"inputs": {"filename_prefix": "p", "texts": ["3"]}}}, False),
        ({"9": {"inputs": {"images": ["3", 0]}}}, False),
        ({"9": {"inputs": None}, "8": 5}, False),
        ({}, False),
        (None, False),
    ],
)
def test_whose_inputs_were_cached(workflow: Any, *, from_cache: bool) -> None:
    """Every saving node counts, also one that takes from another; where none is known, nothing was cached."""
    messages = [START, ["execution_cached", {"nodes": ["3"]}], SUCCESS]
    entry = _read(prompt=[7, ID, workflow, {}, []], status=_status("success", *messages))
    assert entry.from_cache is from_cache
