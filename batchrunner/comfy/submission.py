"""The body of a POST /prompt and what its answer means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batchrunner.comfy.wire import NAME, TEXT, WrongShapeError, fields, node_name, number, parse, text
from batchrunner.core.actions import NodeError, Refused, Taken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Json

_MAX_NODE_ERRORS = 100
"""Kept of one answer."""


def post_body(graph: Mapping[str, Json], prompt_id: str, client_id: str) -> bytes:
    """Return the JSON of a POST /prompt: the same arguments give the same bytes.

    Never holds `number` or `front`: the first, sent twice with one id, kills the server's queue for good
    (docs/comfyui.md §4). A lone surrogate goes out as its escape. Raises ValueError for NaN and infinities: a server
    accepts them, and from then on answers every strict client with JSON it can't read.
    """
    whole = {"prompt": graph, "prompt_id": prompt_id, "client_id": client_id}
    said = json.dumps(whole, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return said.encode("utf-8", "backslashreplace")


def taken(value: Json, body: bytes = b"") -> Taken:
    """Return what a 200 to `body` says: the server's id (an old one may choose its own), the outputs it left out."""
    whole = fields(value, "answer to the POST")
    prompt, place = whole.get("prompt_id"), number(whole.get("number", 0))
    if not isinstance(prompt, str) or not prompt or len(prompt) > NAME or place is None:
        raise WrongShapeError("answer to the POST: no prompt_id and number")
    return Taken(prompt, place, node_errors(whole.get("node_errors"), body))


def stored(value: Json) -> str:
    """Return what a workflow calls a file that was just uploaded: `x.png`, or `sub/x.png`."""
    whole = fields(value, "answer to the upload")
    name, subfolder = whole.get("name"), whole.get("subfolder") or ""
    if not isinstance(name, str) or not isinstance(subfolder, str) or whole.get("type", "input") != "input":
        raise WrongShapeError("answer to the upload: no name of an input file")
    if not name or len(name) > NAME or len(subfolder) > NAME:
        raise WrongShapeError("answer to the upload: no name of an input file")
    return f"{subfolder.rstrip('/')}/{name}" if subfolder else name


def largest(value: Json) -> float | None:
    """Return `max_upload_size` of /features, in bytes; None where it is not told. It may be a float."""
    return number(fields(value, "features").get("max_upload_size"))


def refused(value: Json, body: bytes = b"") -> Refused:
    """Return what a 400 to `body` says, in the real shape (with `error`) or the document's (`node_errors`)."""
    whole = value if isinstance(value, dict) else {}
    found = node_errors(whole.get("node_errors"), body)
    if found:
        rest = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return Refused(_line(found[0].node, found[0].input, found[0].message) + rest, found)
    error = whole.get("error")
    said = _said(error) if isinstance(error, dict) else text(error)
    return Refused(_line("the workflow was refused", said), found)


def node_errors(value: Json, body: bytes = b"") -> tuple[NodeError, ...]:
    """Return what `node_errors` says of each node of the workflow in `body`; nothing where it is empty or no object.

    The answer has no titles of nodes; what was posted has.
    """
    nodes = value if isinstance(value, dict) else {}
    posted = parse(body) if nodes and body else None
    workflow = posted.get("prompt") if isinstance(posted, dict) else None
    found = [each for node, said in nodes.items() if isinstance(said, dict) for each in _of_node(node, said, workflow)]
    return tuple(found[:_MAX_NODE_ERRORS])


def _of_node(node: str, said: Mapping[str, Json], workflow: Json) -> list[NodeError]:
    name = node_name(text(said.get("class_type"), 200), node[:200], workflow)
    listed, errors = said.get("dependent_outputs"), said.get("errors")
    outputs = tuple(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else ()
    known = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return [NodeError(name, _input(error), _said(error), outputs) for error in known or [{}]]


def _input(error: Mapping[str, Json]) -> str:
    extra = error.get("extra_info")
    return text(extra.get("input_name"), 200) if isinstance(extra, dict) else ""


def _said(error: Mapping[str, Json]) -> str:
    message, details = text(error.get("message")), text(error.get("details"))
    return f"{message} ({details})" if message and details else message or details


def _line(*parts: str) -> str:
    """Join what is not empty into one line; only white space is touched, escaping is for whoever shows it."""
    return " ".join(": ".join(part for part in parts if part).split())[:TEXT]
