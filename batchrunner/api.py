"""Batches from Python: `run`, `events` and `plan`, as the command has them. Loaded when one of them is used.

Nothing is printed and nothing is asked. Errors are those of `errors.py`: what a person can correct is a `YoursError`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypedDict, cast

from batchrunner.cli.plan import planned_jobs
from batchrunner.manifest import Options as ManifestOptions, load, read_name
from batchrunner.options import OUT, RunOptions
from batchrunner.run_batch import run_batch
from batchrunner.show.status import plan_json
from batchrunner.state import read_state

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from os import PathLike
    from typing import TypeAlias, Unpack

    from batchrunner.core.job import Json, Scalar

    Values: TypeAlias = Mapping[str, Scalar]
    Event: TypeAlias = dict[str, Json]


class BatchOptions(TypedDict, total=False):
    """What the command's options of the same names say."""

    servers: Sequence[str]
    """URLs, or `sim`, instead of the manifest's."""
    sets: Values
    """Parameters that are set in every job."""
    only: Values
    """Only jobs with these values; `job` is an id, or how one begins."""
    limit: int | None
    """Only so many jobs that are still to do."""
    out: str | PathLike[str]
    """Where the batch has its folder: `outputs` unless set."""
    allow_outside: bool
    """Files may lie outside the manifest's folder."""


class RunBatchOptions(BatchOptions, total=False):
    """The same, with what belongs to a run."""

    until: str | None
    """A time of day, `07:30`, or `+8h`: submit nothing that can't be downloaded by then."""
    hours: str | None
    """`22:00-07:00`: submit only between these times of day."""
    token_file: str | PathLike[str] | None
    """The token, instead of BATCHRUNNER_TOKEN."""
    allow_commands: bool
    """The manifest may run its commands and send variables and other batches to its hosts."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended."""

    batch: str
    folder: Path
    """Absolute; the results are in it."""
    exit: int
    """As the command's: 0 every job is done, 1 some failed, 3 stopped by the servers, 130 interrupted."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many jobs are in each of the six states; empty if the run was stopped before it began."""
    message: tuple[str, ...] = ()
    """What happened and what to do next, in lines for a person."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One job of a plan."""

    id: str
    file: str
    """Where its result goes, without suffix, in the batch's folder."""
    params: Values
    state: str
    """`new`, `waiting`, `sending`, `queued`, `fetching`, `done` or `failed`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `run` would do."""

    batch: str
    jobs: tuple[PlannedJob, ...]
    """In run order."""
    warnings: tuple[str, ...]
    seconds: float
    """How long the rest will take."""


def run(manifest: str | PathLike[str], **options: Unpack[RunBatchOptions]) -> Result:
    """Start a batch, or continue it, until every job is done or failed.

    On the main thread Ctrl-C works as it does for the command: the first one downloads what is rendered. Inside a
    running event loop use `events`. Raises BatchrunnerError.
    """
    with suppress(RuntimeError):  # there is no running event loop, as it should be
        asyncio.get_running_loop()
        raise TypeError("run() would block the running event loop; use events() there")
    caller = _Caller(lambda _: None)
    given = _run_options(manifest, options, caller)
    code = run_batch(given)
    batch = read_name(given.manifest)
    last = caller.last if caller.last.get("event") == "finished" else {}
    return Result(
        batch,
        (given.out / batch).absolute(),
        code,
        cast("dict[str, int]", last.get("counts", {})),
        tuple(map(str, cast("list[Json]", last.get("message", [])))),
    )


async def events(manifest: str | PathLike[str], **options: Unpack[RunBatchOptions]) -> AsyncGenerator[Event, None]:
    """Run a batch as `run` does, beside whatever else the event loop does, and yield its events (docs/json.md).

    The last one is `finished`. Closing the generator, or cancelling who waits for it, is the first Ctrl-C: nothing new
    is submitted, what is rendered is downloaded, and then it is closed. No signal handler is set. Raises
    BatchrunnerError.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()

    def put(item: Event | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(queue.put_nowait, item)

    caller = _Caller(put)

    def work() -> None:
        try:
            run_batch(_run_options(manifest, options, caller))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            put(error)
        else:
            put(None)

    thread = Thread(target=work, name="batchrunner")
    thread.start()
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        caller.stop()
        await loop.run_in_executor(None, thread.join)


def plan(manifest: str | PathLike[str], **options: Unpack[BatchOptions]) -> Plan:
    """Return what `run` would do, and how long it would take; no server is asked. Raises ManifestError."""
    given = _run_options(manifest, options)
    batch = load(given.manifest, given.manifest_options)
    snapshot = read_state(given.out / batch.name, batch.name)
    planned = planned_jobs(batch, snapshot, list(batch.warnings), time.time(), given.limit, given.out)
    document = plan_json(planned)
    states = [str(job["state"]) for job in cast("list[dict[str, Json]]", document["jobs"])]
    jobs = (PlannedJob(job.id, job.file, job.params, state) for job, state in zip(planned.jobs, states, strict=True))
    return Plan(batch.name, tuple(jobs), tuple(planned.warnings), planned.seconds or 0.0)


class _Caller:
    """Keeps the last event and passes each on; stops the run, now or as soon as it has begun."""

    def __init__(self, put: Callable[[Event], None]) -> None:
        self.last: Event = {}
        self._put = put
        self._lock = Lock()
        self._stop: Callable[[], object] | None = None
        self._stopping = False

    def started(self, stop: Callable[[], object]) -> None:
        with self._lock:
            self._stop = stop
            if self._stopping:
                stop()

    def take(self, document: Event) -> None:
        self.last = document
        self._put(document)

    def stop(self) -> None:
        with self._lock:
            self._stopping = True
            if self._stop:
                with suppress(RuntimeError):  # it is over already
                    self._stop()


def _run_options(
    manifest: str | PathLike[str], options: RunBatchOptions | BatchOptions, caller: _Caller | None = None
) -> RunOptions:
    known = RunBatchOptions.__annotations__.keys() | BatchOptions.__annotations__.keys()
    if unknown := options.keys() - known:
        raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
    own = cast("RunBatchOptions", options)
    if isinstance(own.get("servers"), str):
        raise TypeError('servers is a list, like ["http://gpu-box:8188"]')
    out = Path(own.get("out", OUT))
    token_file = own.get("token_file")
    return RunOptions(
        Path(manifest),
        ManifestOptions(
            tuple(own.get("servers", ())),
            _pairs(own.get("sets", {})),
            _pairs(own.get("only", {})),
            own.get("allow_outside", False),
            out,
        ),
        out,
        Path(token_file) if token_file else None,
        own.get("until"),
        own.get("hours"),
        allow_commands=own.get("allow_commands", False),
        limit=own.get("limit"),
        caller=caller,
    )


def _pairs(values: Values) -> tuple[tuple[str, str], ...]:
    """Return values as they are written on the command line."""
    if not isinstance(values, Mapping):
        raise TypeError(f'sets and only are mappings, like {{"seed": 7}}, not {values!r}')
    return tuple((name, value if isinstance(value, str) else json.dumps(value)) for name, value in values.items())
