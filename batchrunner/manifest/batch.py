"""What a manifest is loaded into: the options beside it, and the batch with all that a run needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.job import file_prefix, render_digest
from batchrunner.workflow.preflight import check_against

if TYPE_CHECKING:
    from batchrunner.core.job import Job, Json
    from batchrunner.core.settings import Rules
    from batchrunner.workflow.params import Template


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to a manifest."""

    servers: tuple[str, ...] = ()
    """Instead of the manifest's."""
    sets: tuple[tuple[str, str], ...] = ()
    """(name, value) pairs that win over defaults, blocks and presets."""
    only: tuple[tuple[str, str], ...] = ()
    """(name, value) pairs: of one name any, of several names all; `job` is the id, or how it begins."""
    limit: int | None = None
    """How many jobs at most, the first in run order."""
    allow_outside: bool = False
    """Whether files may lie outside the manifest's folder."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who is notified, by exactly one of the first three; the URL itself stands in the environment only."""

    url_env: str
    """The variable that holds a URL to POST JSON to, or empty."""
    apprise_env: str
    """The variable that holds an apprise URL, or empty."""
    command: tuple[str, ...]
    """A program and its arguments, or empty."""
    topic: str
    """For ntfy, or empty."""
    on: frozenset[str]
    """The events: `finished`, `failed`, `stopped`, `breaker`, `stuck`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A sound manifest, expanded."""

    name: str
    servers: tuple[str, ...]
    """Normalised URLs, or `sim`."""
    rules: Rules
    jobs: tuple[Job, ...]
    """In the order they run; no two would render the same."""
    chosen: frozenset[str] | None
    """The ids that `--only` and `--limit` choose, None for all; the others still belong to the batch."""
    warnings: tuple[str, ...]
    template: Template
    axes: tuple[tuple[str, int], ...]
    """(name, how many values) of every axis; of several blocks, `sweep[1].seed`."""
    counted: int
    """How many jobs the axes multiply to, before `exclude`, `sample` and the joining of equal ones."""
    outputs: frozenset[str] | None
    """The nodes whose files are wanted, None for every one that saves."""
    notify: tuple[Recipient, ...] = ()
    until: str = ""
    """The time of day, `07:30`, by which everything must be downloaded, or empty."""

    def graph(self, job: Job, prefix: str) -> dict[str, Json]:
        """Return the workflow to send for one attempt: `job`'s values, `prefix` on every node that saves."""
        return self.template.fill(job.params, prefix)

    def renders(self, job: Job) -> str:
        """Return the `render_digest` of `job`'s own workflow."""
        return render_digest(self.graph(job, file_prefix(self.name, job.id, 1)))

    def refusals(self, object_info: Json) -> list[str]:
        """Return what a server that answers `object_info` lacks for any job, one line each; see `check_against`."""
        found = dict.fromkeys(check_against(object_info, self.graph(self.jobs[0], "preflight")))
        for name in self.template.params:
            for value in dict.fromkeys(job.params[name] for job in self.jobs):
                found |= dict.fromkeys(check_against(object_info, self.template.driven(name, value)))
        return list(found)
