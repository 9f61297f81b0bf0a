"""`GET /api/jobs/{id}` as 0.33 answers it (docs/comfyui.md §21); the list and the ways to cancel are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.sim.machine import InternalServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.job import Json
    from batchrunner.sim.prompts import Prompts, SimPrompt

_PREVIEWS = frozenset({"images", "video", "audio", "3d", "text"})
"""Kinds of output that the editor shows."""
_ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


def job(prompts: Prompts, wanted: str) -> dict[str, Json] | None:
    """Return a job; None if there is none, also after it was deleted while it waited. The history goes first.

    Raises InternalServerError where its `extra_pnginfo`, or `workflow` in it, is no object.
    """
    entry = prompts.history.get(wanted)
    if entry is not None:
        return _ended(entry)
    if prompts.running is not None and prompts.running.id == wanted:
        return _queued(prompts.running, "in_progress")
    return next((_queued(prompt, "pending") for prompt in prompts.pending if prompt.id == wanted), None)


def _queued(prompt: SimPrompt, status: str) -> dict[str, Json]:
    return _without_nothing(prompt.row(), status, {"outputs_count": 0, "previewable_outputs_count": 0})


def _ended(entry: dict[str, Json]) -> dict[str, Json]:
    row, outputs, status = _items(entry["prompt"]), _fields(entry["outputs"]), _fields(entry["status"])
    messages = {str(message[0]): message[1] for message in map(_items, _items(status["messages"]))}
    name = next((name for name in messages if name in _ENDS), "")
    end = _fields(messages.get(name) or {})
    shown = list(_shown(outputs))
    said: dict[str, Json] = {
        "execution_start_time": _fields(messages.get("execution_start") or {}).get("timestamp"),
        "execution_end_time": end.get("timestamp"),
        "execution_error": end if name == "execution_error" else None,
        "outputs_count": len(shown),
        "previewable_outputs_count": sum(one["mediaType"] in _PREVIEWS for one in shown),
        "preview_output": next((one for one in shown if one["mediaType"] in _PREVIEWS), None),
    }
    states = {"execution_interrupted": "cancelled", "execution_error": "failed"}
    whole = _without_nothing(row, states.get(name, "completed"), said)
    workflow: dict[str, Json] = {"prompt": row[2], "extra_data": row[3]}
    return {**whole, "outputs": outputs, "execution_status": status, "workflow": workflow}


def _without_nothing(row: list[Json], status: str, said: dict[str, Json]) -> dict[str, Json]:
    """Return what every job has, and what is said of this one; empty fields are left out."""
    extra = _fields(row[3])
    members: dict[str, Json] = {
        "id": row[1],
        "status": status,
        "priority": row[0],
        "create_time": extra.get("create_time"),
        **said,
        "workflow_id": _fields(_fields(extra.get("extra_pnginfo", {})).get("workflow", {})).get("id"),
    }
    return {name: value for name, value in members.items() if value is not None}


def _shown(outputs: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """Yield each file of the outputs, with its node and the key that it is listed under."""
    for node, kinds in outputs.items():
        for kind, listed in _fields(kinds).items():
            files = (file for file in _items(listed) if isinstance(file, dict)) if kind != "animated" else ()
            yield from ({**file, "nodeId": node, "mediaType": kind} for file in files)


def _fields(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise InternalServerError
    return value


def _items(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise InternalServerError
    return value
