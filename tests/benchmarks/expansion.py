"""How long 100,000 jobs take to plan, against the least that anybody would have to do for them.

Run it as a script: `python tests/benchmarks/expansion.py [jobs]`. The least is a bare loop that deep-copies the
workflow, patches it and writes it as JSON. The plan is a whole process, start to end, with its output thrown away.
"""

from __future__ import annotations

import copy
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from batchrunner.workflow import ltx2

PLAN = (sys.executable, "-m", "batchrunner", "plan", "--json")


def main() -> None:
    """Measure both and print the ratio and the plan's greatest memory."""
    side = round((int(sys.argv[1]) if len(sys.argv) > 1 else 100_000) / 10) ** 0.5
    prompts, seeds = round(side), round(side)
    jobs = prompts * seeds * 10
    bare = least(jobs)
    with TemporaryDirectory() as folder:
        path = Path(folder, "many.yaml")
        lines = "".join(
            f"    - A cat number {n} plays the piano in a cozy living room, softly.\n" for n in range(prompts)
        )
        sweep = f"sweep:\n  prompt:\n{lines}  seed: {{count: {seeds}}}\n  cfg: {{from: 1, to: 5.5, step: 0.5}}\n"
        path.write_text(f"name: many\nserver: sim\nworkflow: ltx2\nmax_jobs: {jobs}\n{sweep}", "utf-8")
        start = time.perf_counter()
        done = subprocess.run([*PLAN, str(path), "--out", folder], stdout=subprocess.DEVNULL, check=False)
        took = time.perf_counter() - start
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    said = f"{jobs:,} jobs: plan {took:.1f} s, bare loop {bare:.1f} s, ratio {took / bare:.2f}, {most:.0f} MB"
    sys.stdout.write(f"{said}, exit {done.returncode}\n")


def least(jobs: int) -> float:
    """Return the seconds that the bare loop takes."""
    graph = ltx2().fill({"prompt": "a"}, "prefix")
    start = time.perf_counter()
    for seed in range(jobs):
        own = copy.deepcopy(graph)
        own["10"]["inputs"]["seed"] = seed  # type: ignore[index, call-overload]  # JSON as it comes
        own["10"]["inputs"]["cfg"] = 5.0  # type: ignore[index, call-overload]  # the same
        own["7"]["inputs"]["text"] = "A cat."  # type: ignore[index, call-overload]  # the same
        json.dumps(own)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
