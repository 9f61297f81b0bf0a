"""The sidecar: `<name>.json` beside each video, with all it takes to know how the video came to be."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from batchrunner.core.facts import Accepted, Claimed, Lost, Rendered
from batchrunner.core.job import INPUTS
from batchrunner.files import replace_file
from batchrunner.text import json_text, stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.facts import Fact, Saved
    from batchrunner.core.job import Job, Json

    F = TypeVar("F", Accepted, Claimed, Rendered)

_version = cache(version)
"""Reads the package's files."""


def sidecar(batch: str, job: Job, facts: Sequence[Fact], saved: Saved, workflow: Json) -> dict[str, Json]:
    """Return the content of the file beside a saved one.

    `facts` are all of the job, oldest first; `workflow` is the graph as it was sent, its prefix included. Times are
    RFC 3339 in UTC by this machine's clock, null where this batch did not see it happen (a render that was taken over).
    `workflow_differs` is true where the server showed another workflow: the file carries what was rendered; `warning`
    says how a video is not what was asked for.
    """
    own = [fact for fact in facts if fact.attempt == saved.attempt]
    claimed, accepted, rendered = _first(own, Claimed), _first(own, Accepted), _first(own, Rendered)
    sent = accepted or claimed
    return {
        "version": 1,
        "batchrunner": _version("batchrunner"),
        "batch": batch,
        "job": job.id,
        "attempt": saved.attempt,
        "server": sent.server if sent else None,
        "prompt_id": sent.prompt if sent else None,
        "prefix": sent.prefix if sent else None,
        "file": {"path": saved.path, "bytes": saved.size, "sha256": saved.sha256, **_node(rendered, saved, workflow)},
        "warning": saved.warning or None,
        "params": {**job.params},
        "seed": job.params.get("seed"),
        "inputs": _inputs(job),
        "times": {
            "claimed": stamp(claimed.at) if claimed else None,
            "accepted": stamp(accepted.at) if accepted else None,
            "rendered": stamp(rendered.at) if rendered else None,
            "saved": stamp(saved.at),
            "render_seconds": round(rendered.seconds, 3) if rendered and rendered.seconds is not None else None,
        },
        "lost": [_lost(fact) for fact in facts if isinstance(fact, Lost) and fact.attempt < saved.attempt],
        "workflow": workflow,
        "workflow_differs": rendered is not None and rendered.differs,
    }


def beside(path: str) -> str:
    """Return where the sidecar of a saved file lies: its path with `.json` for an extension."""
    return str(PurePosixPath(path).with_suffix(".json"))


def write(path: Path, content: Mapping[str, Json]) -> None:
    """Write a sidecar whose folder is synced next. LocalError if it can't be written."""
    replace_file(path, f"{json_text(content, indent=2)}\n".encode(), synced=True)


def _first(facts: Sequence[Fact], kind: type[F]) -> F | None:
    return next((fact for fact in facts if isinstance(fact, kind)), None)


def _node(rendered: Rendered | None, saved: Saved, workflow: Json) -> dict[str, Json]:
    """Return the id and the title of the node that saved a file; nulls where nobody knows."""
    node = next((file.node for file in rendered.files if file.key == saved.file), "") if rendered else ""
    sent = workflow.get(node) if isinstance(workflow, dict) else None
    meta = sent.get("_meta") if isinstance(sent, dict) else None
    return {"node": node or None, "title": meta.get("title") if isinstance(meta, dict) else None}


def _inputs(job: Job) -> Json:
    """Return every parameter that is a local file: its path as written, its content, and where the copy lies."""
    files = {file.name: file for file in job.inputs}
    return [
        {
            "param": param,
            "path": job.params.get(param),
            "copy": f"{INPUTS}/{name}",
            "bytes": files[name].size,
            "sha256": files[name].sha256,
        }
        for param, name in job.uploads.items()
        if name in files
    ]


def _lost(fact: Lost) -> Json:
    return {"attempt": fact.attempt, "at": stamp(fact.at), "why": str(fact.why), "message": fact.message}
