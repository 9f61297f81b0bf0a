"""`init` and `schema`: files that help to write a manifest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batchrunner.cli.speaking import say, tell
from batchrunner.errors import Complaint, LocalError, ManifestError, YoursError
from batchrunner.manifest.schema import manifest_schema
from batchrunner.manifest.source import NAMED_BYTES, SourceError, read_text
from batchrunner.workflow.graph import WorkflowError, read_graph
from batchrunner.workflow.sketch import first_manifest

if TYPE_CHECKING:
    from pathlib import Path


def init(workflow: Path) -> None:
    """Write a first manifest beside an exported workflow; an existing one is never overwritten.

    Raises ManifestError if the workflow can't be read, YoursError if the manifest is there already.
    """
    try:
        graph = read_graph(read_text(workflow, NAMED_BYTES))
    except (SourceError, WorkflowError) as error:
        raise ManifestError([Complaint(str(workflow), error.line, error.column, "", str(error))]) from None
    path = workflow.with_suffix(".yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(first_manifest(workflow.name, graph))
    except FileExistsError:
        raise YoursError(f"{path} is there already: move it away, or edit it") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    say(f"wrote {path}: set its server, then try batchrunner plan {path}")


def schema() -> None:
    """Print the manifest's JSON Schema."""
    tell(json.dumps(manifest_schema(), ensure_ascii=False, indent=2))
