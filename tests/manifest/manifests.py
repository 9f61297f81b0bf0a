"""Short ways to write a manifest in a test and to read what became of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import TYPE_CHECKING

from batchrunner.errors import ManifestError
from batchrunner.manifest import Batch, Options, load

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD = "name: t\nserver: sim\nworkflow: ltx2\n"


def batch(
    body: str, files: Mapping[str, str | bytes] | None = None, options: Options | None = None, head: str = HEAD
) -> Batch:
    """Load `head` and `body` as a manifest, with `files` beside it."""
    with TemporaryDirectory() as folder:
        for name, text in (files or {}).items():
            Path(folder, name).parent.mkdir(exist_ok=True)
            Path(folder, name).write_bytes(text if isinstance(text, bytes) else text.encode())
        path = Path(folder, "m.yaml")
        path.write_text(head + dedent(body), "utf-8", newline="")
        return load(path, options or Options())


def jobs(found: Batch, columns: str) -> list[str]:
    """Return one line per job, in run order: the values of `columns`; `file`, `job` and `cost` are the job's own."""
    rows = []
    for job in found.jobs:
        own = {"file": job.file, "job": job.id, "cost": job.cost}
        rows.append(" ".join(str({**job.params, **own}.get(name, "-")) for name in columns.split()))
    return rows


def diagnostics(
    body: str, files: Mapping[str, str | bytes] | None = None, options: Options | None = None, head: str = HEAD
) -> str:
    """Return what loading reports about, without the folder's name."""
    with TemporaryDirectory() as folder:
        for name, text in (files or {}).items():
            Path(folder, name).parent.mkdir(exist_ok=True)
            Path(folder, name).write_bytes(text if isinstance(text, bytes) else text.encode())
        path = Path(folder, "m.yaml")
        path.write_text(head + dedent(body), "utf-8", newline="")
        try:
            load(path, options or Options())
        except ManifestError as error:
            return str(error).replace(f"{folder}/", "")
    return ""
