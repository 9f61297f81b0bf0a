"""What a manifest is loaded into: the options beside it, and the batch with all that a run needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchrunner.core.job import file_prefix, render_digest
from batchrunner.core.order import Groups
from batchrunner.manifest.hashes import Hashes
from batchrunner.workflow.preflight import check_against

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import InputFile, Job, Json
    from batchrunner.core.settings import Rules
    from batchrunner.manifest.hashes import LocalFile
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
    allow_outside: bool = False
    """Whether files may lie outside the manifest's folder."""
    out: Path | None = None
    """Where the batch has its folder, in which the hashes of input files are remembered, and other batches have theirs;
    None: nothing is known."""
    pending: Mapping[str, Sequence[Job]] = field(default_factory=dict)
    """The jobs of batches that run before this one in the same command, and have not ended."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How one server is reached, and what differs there from the batch."""

    url: str
    """Normalised, or `sim`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """As written: `${NAME}` and `Bearer ${NAME}` stand for environment variables."""
    ca: Path | None = None
    """A PEM file with the certificates to trust; None for those that the system trusts."""
    ttl: float | None = None
    """Seconds it keeps a file, None for ever; only if `own_ttl`."""
    own_ttl: bool = False
    depth: int | None = None
    """Our prompts on it; None as the batch."""


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
    """Their names: by default normalised URLs, or `sim`."""
    rules: Rules
    jobs: tuple[Job, ...]
    """In the order they run; no two would render the same."""
    chosen: frozenset[str] | None
    """The ids that `--only` chooses, None for all; the others still belong to the batch."""
    warnings: tuple[str, ...]
    template: Template
    axes: tuple[tuple[str, int], ...]
    """(name, how many values) of every axis; of several blocks, `sweep[1].seed`."""
    counted: int
    """How many jobs the axes multiply to, before `exclude`, `sample` and the joining of equal ones."""
    outputs: frozenset[str] | None
    """The nodes whose files are wanted, None for every one that saves."""
    groups: Groups = field(default_factory=Groups)
    """Which jobs spare a server work if they follow one another."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Node id -> what stands for it in file names, where files of several nodes are wanted."""
    notify: tuple[Recipient, ...] = ()
    server_settings: Mapping[str, ServerSettings] = field(default_factory=dict)
    """Of every server, by its name."""
    until: str = ""
    """The time of day, `07:30`, by which everything must be downloaded, or empty."""
    hours: str = ""
    """As written, `22:00-07:00`: when prompts may be submitted; empty for always."""
    on_saved: tuple[str, ...] = ()
    """A program and its arguments that is run for each saved file, or empty."""
    earlier: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The batches that its rows are taken from, and the URLs of the servers that have had their prompts."""
    sources: Mapping[str, LocalFile] = field(default_factory=dict)
    """Where the content of each of `inputs` was found, by its name."""
    frames: Mapping[str, str] = field(default_factory=dict)
    """Those of `inputs` that are a frame of the video in `sources`: `first`, `last` or a number, by their name."""
    hashes: Hashes = field(default_factory=Hashes)
    """What is known of the input files' content."""

    @property
    def inputs(self) -> tuple[InputFile, ...]:
        """The local files that its jobs read, each once."""
        return tuple(dict.fromkeys(file for job in self.jobs for file in job.inputs))

    def server_rules(self) -> dict[str, Rules]:
        """Return the rules of every server that has its own, by its name."""
        found = {}
        for name, own in self.server_settings.items():
            rules = replace(self.rules, ttl=own.ttl) if own.own_ttl else self.rules
            found[name] = rules if own.depth is None else replace(rules, depth=own.depth, max_depth=own.depth)
        return found

    def graph(self, job: Job, prefix: str) -> dict[str, Json]:
        """Return the workflow to send for one attempt: `job`'s values, `prefix` on every node that saves."""
        return self.template.fill({**job.params, **job.uploads}, prefix)

    def renders(self, job: Job) -> str:
        """Return the `render_digest` of `job`'s own workflow."""
        return render_digest(self.graph(job, file_prefix(self.name, job.id, 1)))

    def refusals(self, object_info: Json) -> list[str]:
        """Return what a server that answers `object_info` lacks for any job, one line each; see `check_against`."""
        ours = frozenset(file.name for file in self.inputs)
        found = dict.fromkeys(check_against(object_info, self.graph(self.jobs[0], "preflight"), ours))
        for name in self.template.params:
            for value in dict.fromkeys(job.uploads.get(name, job.params[name]) for job in self.jobs):
                found |= dict.fromkeys(check_against(object_info, self.template.driven(name, value), ours))
        return list(found)
