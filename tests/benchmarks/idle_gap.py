"""Print for how long a server idles between two jobs of a real run: python tests/benchmarks/idle_gap.py [JOBS]."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent / "acceptance"))

from batches import Batch
from comfyui import Server
from evidence import ours

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comfyui import Happening

JOBS = 10
SECONDS = 0.2
"""What a render takes."""


def idle_gap(events: Iterable[Happening]) -> float:
    """Return the median of the seconds between the end of one of our prompts and the start of the next."""
    ended: float | None = None
    gaps: list[float] = []
    for event in ours(events):
        if event["what"] == "started" and ended is not None:
            gaps.append(event["at"] - ended)
        elif event["what"] == "succeeded":
            ended = event["at"]
    return median(gaps)


def main(jobs: int) -> None:
    """Print the gap as a share of a render."""
    with TemporaryDirectory(prefix="gap-") as folder, Server(Path(folder) / "server", seconds=SECONDS) as server:
        code = Batch(Path(folder), (server.url,), ("a cat",), tuple(range(jobs))).run().code
        share = idle_gap(server.events()) / SECONDS
    sys.stdout.write(f"{jobs} jobs, exit {code}: between two renders the server idles for {share:.1%} of one\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else JOBS)
