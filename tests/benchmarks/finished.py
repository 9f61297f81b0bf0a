"""What `run` costs on a batch that is finished, beside `plan`: python tests/benchmarks/finished.py [JOBS].

A ledger of 100,000 jobs that are done, with a file and its sidecar on disk for each, made without rendering anything.
Then the real commands, a process each: `plan`, and `run`, which must find that every job is done and end with exit 0:
once where the page is missing and is made anew, and once where it stands. Printed: seconds and greatest memory of each,
and how much more the last needs than `plan`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, File, Opened, Rendered, Saved
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.core.server import SIM
from batchrunner.engine import IMPORTED
from batchrunner.ledger import Ledger, store as tables
from batchrunner.manifest import Options, load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.manifest import Batch

JOBS = 100_000
SECONDS, SIZE, SHA = 400.0, 2, "0" * 64


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took."""

    seconds: float
    cpu: float
    megabytes: float
    """Its greatest memory."""


def manifest(jobs: int) -> str:
    """Return a manifest of about so many jobs: prompts, seeds and ten values of cfg."""
    side = round((jobs / 10) ** 0.5)
    prompts = "".join(f"    - A cat number {n} plays the piano in a cozy room, softly.\n" for n in range(side))
    sweep = f"sweep:\n  prompt:\n{prompts}  seed: {{count: {side}}}\n  cfg: {{from: 1, to: 5.5, step: 0.5}}\n"
    return f"name: many\nserver: sim\nworkflow: ltx2\nmax_jobs: {side * side * 10}\n{sweep}"


def story(batch: str, job: Job, at: float) -> Iterator[Fact]:
    """Yield the facts of a job that was rendered and came home."""
    prompt, prefix = prompt_id(batch, job.id, 1), file_prefix(batch, job.id, 1)
    file = File(f"{prefix}_00001_.mp4")
    yield Claimed(job.id, 1, at, prompt, prefix, SIM, SHA)
    yield Accepted(job.id, 1, at + 1, prompt, prefix, SIM)
    yield Rendered(job.id, 1, at + SECONDS, (file,), None, SECONDS)
    yield Opened(job.id, 1, at + SECONDS + 1, file.key, '"etag"', SIZE, f"{prefix}.part", "boot")
    yield Saved(job.id, 1, at + SECONDS + 5, file.key, f"{job.file}.mp4", SIZE, SHA)


def finish(batch: Batch, folder: Path) -> None:
    """Leave a batch behind as a run that brought every job home leaves it."""
    with Ledger.open(folder, batch.name) as ledger:
        ledger.keep(batch.jobs)
        ledger.mark(IMPORTED, value=True)
        # `append` makes every fact durable by itself; here they are written together.
        with tables.transaction(ledger._db):
            for number, job in enumerate(batch.jobs):
                for fact in story(batch.name, job, 1.7e9 + SECONDS * number):
                    assert tables.put_fact(ledger._db, fact, ledger._epoch)
    for job in batch.jobs:
        for suffix in (".mp4", ".json"):
            path = folder / f"{job.file}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"{}")


def cost(verb: str, path: Path) -> Cost:
    """Run a command in a process of its own, from its start to its end. It must end with exit 0."""
    # A measurement in a process of its own, since RUSAGE_CHILDREN keeps the greatest memory of all.
    command = [sys.executable, __file__, "--measure", verb, str(path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*map(float, done.stdout.split()))


def measure(verb: str, path: str) -> None:
    """Run one command and print what it took."""
    command = [sys.executable, "-m", "batchrunner", verb, "--json", path, "--out", str(Path(path).parent)]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - begun
    assert verb == "plan" or "every job is done" in done.stderr, done.stderr
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    sys.stdout.write(f"{seconds} {used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024}")


def main(words: list[str]) -> None:
    """Measure both commands and print the difference."""
    if words[:1] == ["--measure"]:
        measure(*words[1:])
        return
    jobs = int(words[0]) if words else JOBS
    with TemporaryDirectory(prefix="finished-") as folder:
        path = Path(folder, "many.yaml")
        path.write_text(manifest(jobs), "utf-8")
        batch = load(path, Options())
        finish(batch, Path(folder, batch.name))
        plan, first, run = cost("plan", path), cost("run", path), cost("run", path)
    for what, took in (("plan", plan), ("run, with a page to be made", first), ("run", run)):
        sys.stdout.write(f"{what}: {took.seconds:.1f} s ({took.cpu:.1f} s of CPU), {took.megabytes:.0f} MB\n")
    sys.stdout.write(
        f"{len(batch.jobs):,} jobs, all done: run takes {run.seconds - plan.seconds:+.1f} s"
        f" ({run.cpu - plan.cpu:+.1f} s of CPU) and {run.megabytes - plan.megabytes:+.0f} MB beside plan\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
