"""Jobs and their ids: the same manifest gives the same ids on every machine, in every run."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID, uuid5

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# -- Jobs: what the manifest asks for, one video (or image, or sound) each.


Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class InputFile:
    """A local file that a workflow reads: each server gets it under `name` before the POST that needs it."""

    sha256: str
    """Of its bytes, 64 hex digits."""
    size: int
    """Bytes, at least 1."""
    name: str
    """Under which it is uploaded, and kept in the batch folder's `inputs/`: `upload_name`."""

    def is_named_in(self, text: str) -> bool:
        """Whether a server's words name this file; it may have stored it as `NAME (1).png`."""
        return self.name.partition(".")[0] in text


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to render. Its identity is what would be rendered, not what it is called."""

    id: str
    """The first 12 hex digits of the digest (`job_id`)."""
    digest: str
    """sha256 of the resolved workflow without any file prefix: equal digests are equal renders."""
    params: Mapping[str, Scalar]
    """Resolved values, the preset names and the own variables they came from."""
    file: str
    """Local name below the batch folder, `/` between folders, without an extension."""
    cost: float
    """Relative effort: width x height x frames x steps where the workflow has them, else 0."""
    inputs: tuple[InputFile, ...] = ()
    """The local files that its workflow reads, each once."""
    uploads: Mapping[str, str] = field(default_factory=dict)
    """For every parameter that is a local file, the name in `inputs` that its workflow holds in place of the path."""


# -- Names that make a render recognisable wherever it turns up: in a queue, in a history, inside a file.
#
# Why three of them. The job id says what is rendered, so editing a manifest reruns only what changed. The prompt id
# says which attempt a server's entry belongs to; the server does not deduplicate it (docs/comfyui.md §2). The prefix is
# unique per attempt because the server's file counter restarts when clean-up empties a prefix, and because an
# identical workflow is answered from its cache with the name of a file that may be gone (docs/comfyui.md §10, §12).


Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_NAMESPACE = UUID("6f1e6a52-3c55-5f0e-9d0b-6a1f5d0c7b11")
_ID_DIGITS = 12
_ATTEMPT_PREFIX = re.compile(rf".+-[0-9a-f]{{{_ID_DIGITS}}}-a[1-9][0-9]{{0,8}}", re.DOTALL)
_OUR_PREFIX = re.compile(rf"[A-Za-z0-9._-]{{1,64}}-[0-9a-f]{{{_ID_DIGITS}}}-a[1-9][0-9]{{0,8}}")
"""What `file_prefix` makes: a manifest may send it to an input of any name."""
_UPLOADED = re.compile(r"(batchrunner-[0-9a-f]{40})(?: \([0-9]{1,9}\))?(\.[a-z0-9]{1,8})?")
"""What `upload_name` makes, with the number that a server adds where the name is taken (docs/comfyui.md §22)."""
_LONGEST_NUMBER = 64
"""Characters of a text that may be a number; no server makes one of more."""
_WORD = re.compile("[A-EG-HJ-MO-SU-Za-hj-mo-z]")
"""How a text begins that is no number to Python: not even `inf`, `nan`, `True` or `False`."""
PREFIX_INPUT = "filename_prefix"
INPUTS = "inputs"
"""The folder in a batch's folder that holds a copy of each `InputFile`, under its name."""


def node_text(class_type: str, inputs: Mapping[str, Json]) -> str:
    """Return the canonical text of one workflow node, for `job_digest`: sorted keys, 5.0 as 5, no file prefix."""
    kept = {key: _plain(value) for key, value in inputs.items() if not is_prefix(key, value)}
    return json.dumps([class_type, kept], ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def job_digest(nodes: Mapping[str, str]) -> str:
    """Return the sha256 (hex) of a workflow, given each node id's `node_text`."""
    lines = "\n".join(f"{node}={nodes[node]}" for node in sorted(nodes))
    return sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def render_digest(workflow: Json) -> str:
    """Return the sha256 (hex) of what an API-format workflow renders, to compare ours with what a server shows.

    The same before and after a server coerced its inputs: a number is the same as its text, and true as 1
    (docs/comfyui.md §3: the JSON in history is the coerced one). Only `class_type` and `inputs` count, no file prefix;
    `is_changed` and `_meta` stand beside them. A number that a server gave to an uploaded file whose name was taken is
    left out: the name says what is in it. Where a server cut off a fraction, what is rendered differs, and so does
    this. Empty for what is nested too deeply. For comparison only: jobs are named by `job_digest`.
    """
    nodes = workflow.items() if isinstance(workflow, dict) else ()
    try:
        text = json.dumps({key: _rendered(node) for key, node in nodes}, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        return ""
    return sha256(text.encode("ascii")).hexdigest()


def attempt_digest(workflow: Json, found: Iterable[str]) -> str:
    """Return the `render_digest` of a workflow whose prefixes are `found`; empty where none can be of an attempt."""
    return render_digest(workflow) if any(_ATTEMPT_PREFIX.fullmatch(prefix) for prefix in found) else ""


def job_id(digest: str) -> str:
    """Return the short name of a job: 12 hex digits of its digest."""
    return digest[:_ID_DIGITS]


@lru_cache(maxsize=1024)  # asked for everything that is open, at every poll
def prompt_id(batch: str, job: str, attempt: int) -> str:
    """Return the id of one attempt on a server: a canonical lowercase UUID, the same on every machine."""
    return str(uuid5(_NAMESPACE, f"{batch}/{job}/{attempt}"))


def client_id(batch: str) -> str:
    """Return the id under which a batch's prompts are posted."""
    return str(uuid5(_NAMESPACE, batch))


def file_prefix(batch: str, job: str, attempt: int) -> str:
    """Return the `filename_prefix` of one attempt: `<batch>-<job>-a<n>`, letters, digits, `._-` only."""
    return f"{batch}-{job}-a{attempt}"


def parse_prefix(batch: str, prefix: str) -> tuple[str, int] | None:
    """Return (job, attempt) when `prefix` is one of this batch's, else None."""
    match = re.fullmatch(rf"{re.escape(batch)}-([0-9a-f]{{{_ID_DIGITS}}})-a([1-9][0-9]{{0,8}})", prefix)
    return (match[1], int(match[2])) if match else None


def prefixes(workflow: Json) -> tuple[str, ...]:
    """Return every file prefix in an API-format workflow (see `is_prefix`); nothing where it is none."""
    nodes = workflow.values() if isinstance(workflow, dict) else ()
    inputs = [node.get("inputs") for node in nodes if isinstance(node, dict)]
    pairs = [pair for each in inputs if isinstance(each, dict) for pair in each.items()]
    return tuple(value for key, value in pairs if isinstance(value, str) and is_prefix(key, value))


def upload_name(digest: str, suffix: str) -> str:
    """Return the name under which a file with this sha256 is uploaded: ASCII, and of its content alone.

    `suffix` is the file's own, `.PNG`; one that is no plain word is left out.
    """
    plain = suffix.lower()
    return f"batchrunner-{digest[:40]}{plain if re.fullmatch('[.][a-z0-9]{1,8}', plain) else ''}"


def with_stored_names(workflow: Mapping[str, Json], stored: Iterable[tuple[str, str]]) -> dict[str, Json]:
    """Return an API-format workflow with the names under which a server has our input files: (ours, the server's)."""
    names = {ours: theirs for ours, theirs in stored if ours != theirs}
    return {key: _stored(node, names) for key, node in workflow.items()} if names else dict(workflow)


def is_prefix(key: str, value: Json) -> bool:
    """Tell whether an input holds a file prefix: any text under `filename_prefix`, one of ours under any name."""
    return isinstance(value, str) and (key == PREFIX_INPUT or bool(_OUR_PREFIX.fullmatch(value)))


def _stored(value: Json, names: Mapping[str, str]) -> Json:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [_stored(item, names) for item in value]
    return {key: _stored(item, names) for key, item in value.items()} if isinstance(value, dict) else value


def _rendered(node: Json) -> Json:
    inputs = node.get("inputs") if isinstance(node, dict) else None
    if not isinstance(node, dict) or not isinstance(inputs, dict):
        return None
    kept = {key: _uncoerced(value) for key, value in inputs.items() if not is_prefix(key, value)}
    return [node.get("class_type"), kept]


def _uncoerced(value: Json) -> Json:
    """Return what an input has in common with all that `int`, `float`, `str` and `bool` may have made of it."""
    if isinstance(value, str):
        if uploaded := _UPLOADED.fullmatch(value):
            return f"{uploaded[1]}{uploaded[2] or ''}"
        return _number(value) if len(value) <= _LONGEST_NUMBER and not _WORD.match(value) else value
    if isinstance(value, bool):
        return int(value)
    return "None" if value is None else _plain(value)


def _number(text: str) -> Json:
    """Return the number that a text stands for, else the text; `True` is 1."""
    if text in ("True", "False"):
        return int(text == "True")
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return _plain(float(text))
    return text


def _plain(value: Json) -> Json:
    """Make numbers that mean the same look the same: 5.0 is 5."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
