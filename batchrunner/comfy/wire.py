"""JSON bytes to poll results and back: all that a ComfyUI server says passes through here, believed by type only.

Strict where a decision depends on it (which prompts there are, how they ended), lenient where it does not (what
somebody else's node put into its outputs): an oddity of theirs must not blind us, nor a lie pass for an absence.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from batchrunner.core.actions import Ended, Entry, Row
from batchrunner.core.facts import File
from batchrunner.core.job import Json, attempt_digest, is_prefix, prefixes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TEXT = 2_000
"""Characters kept of any one text a server says."""
NAME = 4_096
"""Characters above which a file's name is no name."""
MAX_MEMORY = 144 * 2**20
"""Bytes that an answer may take once it is parsed; of nothing but `[`, 16 MiB on the wire would become 700."""
_TAKES = ((b"[", 90), (b"{", 64), (b",", 88), (b":", 136))
"""Bytes that an array, an object, one more value and one more key take at most, measured on CPython 3.11."""
_WIDEST = 4
"""Bytes that a character takes in a text that holds an emoji somewhere."""


class WrongShapeError(ValueError):
    """An answer that is no JSON, or not of the shape that docs/comfyui.md describes; says where, holds no value."""


class TooLargeError(WrongShapeError):
    """JSON that would take too much memory, or is nested too deeply; it may be well formed."""


def parse(body: bytes | bytearray, most: int = MAX_MEMORY) -> Json:
    """Return the JSON in `body`: UTF-8, bare NaN allowed (docs/comfyui.md §6), no key twice; else WrongShapeError.

    TooLargeError where it might take more than `most` bytes of memory.
    """
    if estimated_memory(body) > most:
        raise TooLargeError("more values than would fit into memory")
    try:
        value: Json = json.loads(body.decode("utf-8"), object_pairs_hook=_object)
    except WrongShapeError:
        raise
    except RecursionError:
        raise TooLargeError("nested too deeply") from None
    except ValueError:
        raise WrongShapeError("no JSON") from None
    return value


def estimated_memory(body: bytes | bytearray, start: int = 0, end: int | None = None) -> int:
    """Return how many bytes the JSON from `start` to `end` takes at most once it is parsed, by counting signs."""
    length = (len(body) if end is None else end) - start
    return _WIDEST * length + sum(body.count(sign, start, end) * takes for sign, takes in _TAKES)


def dump(value: Json) -> bytes:
    """Return `value` as JSON for a server."""
    return json.dumps(value, allow_nan=False).encode("ascii")


def queue(value: Json) -> tuple[Row, ...]:
    """Return the rows of GET /queue, running ones first."""
    whole = fields(value, "queue")
    running = items(whole.get("queue_running"), "queue_running")
    pending = items(whole.get("queue_pending"), "queue_pending")
    return (*(queue_row(row, running=True) for row in running), *(queue_row(row, running=False) for row in pending))


def history(value: Json, prompt: str, nodes: Collection[str] | None = None) -> Entry | None:
    """Return the entry of GET /history/{prompt}, None for `{}`; with `nodes`, only the files of those node ids."""
    whole = fields(value, "history")
    if not whole:
        return None
    if set(whole) != {prompt}:
        raise WrongShapeError("history: the entry of another prompt")
    return history_entry(prompt, whole[prompt], nodes)


def job(value: Json, prompt: str, nodes: Collection[str] | None = None) -> Row | Entry | None:
    """Return what GET /api/jobs/{prompt} says: its row while it waits or runs, its entry once it left a file.

    None for any other end, which the queue and the history tell more of: it may be that of an earlier run of a prompt
    that is queued again (docs/comfyui.md §21). `nodes` as for `history`.
    """
    whole = fields(value, "job")
    status = whole.get("status")
    if whole.get("id") != prompt or not isinstance(status, str):
        raise WrongShapeError("job: another id, or no status")
    if status in ("pending", "in_progress"):
        return Row(prompt, number(whole.get("priority")) or 0.0, status == "in_progress")
    if status != "completed":
        return None
    workflow = fields(whole.get("workflow"), "workflow").get("prompt")
    members = {"prompt": fields(workflow, "workflow"), "outputs": fields(whole.get("outputs"), "outputs")}
    members["status"] = fields(whole.get("execution_status"), "execution_status")
    entry = history_entry(prompt, dict(members), nodes)
    return entry if entry.ended is Ended.SUCCESS and entry.files else None


def remaining(value: Json) -> int:
    """Return how many prompts, of anyone, a `status` of `/ws` says that there are."""
    message = fields(value, "message")
    if message.get("type") != "status":
        raise WrongShapeError("message: no status")
    status = fields(fields(message.get("data"), "data").get("status"), "status")
    count = fields(status.get("exec_info"), "exec_info").get("queue_remaining")
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise WrongShapeError("queue_remaining: no count")
    return count


def recent(value: Json, nodes: Collection[str] | None = None) -> tuple[Entry, ...]:
    """Return the entries of GET /history?max_items=n, oldest first; `nodes` as for `history`."""
    return tuple(history_entry(prompt, entry, nodes) for prompt, entry in fields(value, "history").items())


def queue_row(value: Json, *, running: bool) -> Row:
    """Read `[number, prompt_id, workflow, …]`, or `[prompt_id, number, …]` as the deployed server's document says."""
    row = items(value, "queue row")
    first, second = (*row, None, None)[:2]
    if isinstance(first, str):
        first, second = second, first
    if not isinstance(second, str) or isinstance(first, bool) or not isinstance(first, int | float):
        raise WrongShapeError("queue row: no number and prompt_id")
    workflow = row[2] if len(row) > 2 else None
    found = prefixes(workflow)
    return Row(second[:NAME], number(first) or 0.0, running, found, attempt_digest(workflow, found))


def history_entry(prompt: str, value: Json, nodes: Collection[str] | None = None) -> Entry:
    """Return one entry of a history, filed under `prompt`; `nodes` as for `history`."""
    entry = fields(value, "history entry")
    status = entry.get("status")
    status = fields(status, "status") if status is not None else {}
    messages = _messages(status)
    error = messages.get(Ended.ERROR.value, {})
    ended = _ended(status, messages)
    workflow = _workflow(entry.get("prompt"), prompt)
    found = prefixes(workflow)
    return Entry(
        prompt=prompt,
        ended=ended,
        files=_files(entry.get("outputs"), nodes),
        prefixes=found,
        node=node_name(text(error.get("node_type"), 200), error.get("node_id"), workflow),
        exception=text(error.get("exception_type"), NAME).strip(),
        message=text(error.get("exception_message")).strip(),
        began=_stamp(messages.get("execution_start")),
        finished=_stamp(messages.get(ended.value)),
        from_cache=_is_from_cache(workflow, messages.get("execution_cached", {}).get("nodes")),
        digest=attempt_digest(workflow, found),
    )


def fields(value: Json, where: str) -> dict[str, Json]:
    """Return `value` if it is an object, else raise WrongShapeError."""
    if not isinstance(value, dict):
        raise WrongShapeError(f"{where}: no object")
    return value


def items(value: Json, where: str) -> list[Json]:
    """Return `value` if it is an array, else raise WrongShapeError."""
    if not isinstance(value, list):
        raise WrongShapeError(f"{where}: no array")
    return value


def text(value: Json, cap: int = TEXT) -> str:
    """Return `value`, capped, if it is text, else the empty text."""
    return value[:cap] if isinstance(value, str) else ""


def number(value: Json) -> float | None:
    """Return `value` if it is a finite number, else None. A queue number may be anything that somebody sent."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) else None


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        raise WrongShapeError("a key twice")
    return whole


def _workflow(value: Json, prompt: str) -> Json:
    """Return the workflow of an entry, whose `prompt` is the queue's 5-tuple or, in the document, an object."""
    if not isinstance(value, list):
        return value
    if prompt not in value[:2]:
        raise WrongShapeError("history entry: filed under another id")
    return value[2] if len(value) > 2 else None


def _messages(status: Mapping[str, Json]) -> dict[str, dict[str, Json]]:
    """Return what each message says, by its name, in the order of their last arrival."""
    found: dict[str, dict[str, Json]] = {}
    for message in items(status.get("messages") or [], "messages"):
        match message:
            case [str() as name, dict() as data, *_]:
                found.pop(name, None)
                found[name] = data
            case [str() as name, *_]:
                found.pop(name, None)
                found[name] = {}
            case _:
                raise WrongShapeError("messages: no name")
    return found


def _ended(status: Mapping[str, Json], messages: Mapping[str, dict[str, Json]]) -> Ended:
    """Judge by the last message that names an end; `status_str` alone can't tell stopped from failed."""
    ends = {end.value: end for end in Ended}
    for name in reversed(list(messages)):
        if name in ends:
            return ends[name]
    said = status.get("status_str")
    if said not in ("success", "error", None):
        raise WrongShapeError("status: neither success nor error")
    return Ended.ERROR if said == "error" else Ended.SUCCESS


def _is_from_cache(workflow: Json, cached: Json) -> bool:
    """Whether nothing was computed but the saving: all that the saving nodes take came out of the server's cache.

    docs/comfyui.md §10: with another `filename_prefix` alone, 14 of 15 nodes are cached and 0.13 s are no render.
    """
    nodes = workflow if isinstance(workflow, dict) else {}
    every = {node: each.get("inputs") for node, each in nodes.items() if isinstance(each, dict)}
    saving = {
        node: inputs
        for node, inputs in every.items()
        if isinstance(inputs, dict) and any(is_prefix(name, value) for name, value in inputs.items())
    }
    known = {node for node in cached if isinstance(node, str)} if isinstance(cached, list) else set()
    taken = {
        str(value[0])
        for inputs in saving.values()
        for value in inputs.values()
        if isinstance(value, list) and len(value) == 2  # a link: a node, and which of its outputs
    }
    return bool(taken) and taken <= known | saving.keys()


def node_name(kind: str, node: Json, workflow: Json) -> str:
    """Return a node's class and id, and its title if a person gave it one: `KSampler #3 "Second stage"`."""
    if not isinstance(node, str | int):
        return kind
    own = workflow.get(str(node)) if isinstance(workflow, dict) else None
    meta = own.get("_meta") if isinstance(own, dict) else None
    title = text(meta.get("title"), NAME).strip() if isinstance(meta, dict) else ""
    told = f' "{title}"' if title and title != kind and " raised " not in title else ""
    return f"{kind} #{node}{told}"[:300].strip()


def _stamp(message: Mapping[str, Json] | None) -> float | None:
    """Return the seconds of a message whose `timestamp` is in milliseconds."""
    stamp = number(message.get("timestamp")) if message else None
    return None if stamp is None else stamp / 1000.0


def _files(value: Json, nodes: Collection[str] | None) -> tuple[File, ...]:
    """Return what the nodes saved, in their order: `images`, `gifs`, `3d` or any other key (docs/comfyui.md §11)."""
    outputs = fields(value, "outputs") if value is not None else {}
    wanted = [(node, output) for node, output in outputs.items() if nodes is None or node in nodes]
    lists = [(node, each) for node, output in wanted if isinstance(output, dict) for each in output.values()]
    found = [_file(each, node) for node, several in lists if isinstance(several, list) for each in several]
    return tuple(dict.fromkeys(file for file in found if file is not None))


def _file(value: Json, node: str) -> File | None:
    if not isinstance(value, dict):
        return None
    name, subfolder, kind = value.get("filename"), value.get("subfolder") or "", value.get("type", "output")
    if not isinstance(name, str) or not isinstance(subfolder, str) or kind != "output":
        return None
    fits = name and max(len(name), len(subfolder), len(node)) <= NAME
    return File(name, subfolder, node=node) if fits else None
