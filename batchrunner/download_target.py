"""Where a run's files go: each is downloaded into the batch's folder, with its sidecar beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.facts import Saved
from batchrunner.download.transfer import final_stem
from batchrunner.errors import LocalError
from batchrunner.manifest.filenames import slug
from batchrunner.show.sidecar import beside, sidecar, write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchrunner.core.actions import Download, Downloaded, DownloadEnd
    from batchrunner.core.job import Job, Json
    from batchrunner.download.transfer import Downloader, Source
    from batchrunner.ledger import Ledger


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """The engine's download target: a batch's folder."""

    batch: str
    folder: Path
    downloader: Downloader
    source: Callable[[str], Source]
    """The server to ask, by its name."""
    jobs: Mapping[str, Job]
    """By id, those too that are no longer in the manifest."""
    ledger: Ledger
    graph: Callable[[Job, str], Json]
    """The workflow of a job as it was sent under a prefix; None for a job that is no longer in the manifest."""
    wall: Callable[[], float]
    """The time in seconds since the epoch."""
    warn: Callable[[str], None]
    labels: Mapping[str, str]
    """As in `Batch`."""

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        """Download one file and write its sidecar, both before the file counts as saved.

        A sidecar that can't be written costs a warning, not the video.
        """
        job, node = self.jobs[action.job], action.file.node
        label = self.labels.get(node, slug(node)) if self.labels and node else ""
        stem = final_stem(job.file, action.number if label else action.index, label)
        history, warnings = self.ledger.history(job.id), list[str]()

        def named(end: Downloaded) -> None:
            whole = end.size, end.sha256, end.warning
            saved = Saved(job.id, action.attempt, self.wall(), action.file.key, end.path, *whole)
            content = sidecar(self.batch, job, history, saved, self.graph(job, action.prefix))
            try:
                write(self.folder / beside(end.path), content)
            except LocalError as error:
                warnings.append(str(error))

        end = await self.downloader.fetch(action, self.source(action.server), stem, opened, named)
        for message in warnings:
            self.warn(message)
        return end
