"""Videos come home: one download, then the sidecar beside it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.facts import Saved
from batchrunner.core.identity import render_digest
from batchrunner.core.results import Downloaded
from batchrunner.errors import LocalError
from batchrunner.show.sidecar import beside, sidecar, write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchrunner.core.actions import Download
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.core.results import DownloadEnd
    from batchrunner.download.transfer import Downloader, Source
    from batchrunner.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one batch's files come home to."""

    batch: str
    folder: Path
    downloads: Downloader
    source: Callable[[str], Source]
    """The server to ask, by its URL."""
    jobs: Mapping[str, Job]
    ledger: Ledger
    graph: Callable[[Job, str], Mapping[str, Json] | None]
    """The workflow of a job as it was sent under a prefix; None for a job that is no longer in the manifest."""
    wall: Callable[[], float]
    warn: Callable[[str], None]

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        """Bring one file home and describe it."""
        job = self.jobs[action.job]
        graph = self.graph(job, action.prefix)
        workflow = None if graph is None else dict(graph)
        renders = "" if workflow is None else render_digest(workflow)
        end = await self.downloads.fetch(action, self.source(action.server), job.file, opened, renders)
        if isinstance(end, Downloaded):
            await self._describe(job, action, end, workflow)
        return end

    async def _describe(self, job: Job, action: Download, got: Downloaded, workflow: Json) -> None:
        """Write the sidecar before the file counts as saved; failing to costs a warning, not the video."""
        saved = Saved(job.id, action.attempt, self.wall(), action.file.key, got.path, got.size, got.sha256)
        content = sidecar(self.batch, job, self.ledger.story(job.id), saved, workflow)
        path = self.folder / beside(got.path)
        try:
            await asyncio.get_running_loop().run_in_executor(None, write, path, content)
        except LocalError as error:
            self.warn(str(error))
