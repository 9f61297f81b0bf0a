"""What 1,000 pictures of 2 MB add to a plan of 10,000 jobs, against hashing them: python tests/benchmarks/pictures.py.

Seconds of the processor, not of the clock: other work on the machine does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

PICTURES, SIZE, ROUNDS = 1_000, 2_000_000, 3
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "latent_image": ["1", 0], "positive": ["2", 0]}},
    "4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["3", 0]}},
}
HEAD = "server: sim\nworkflow: w.json\nparams: {image: 1.image, prompt: 2.text, seed: 3.seed}\n"
WITH = f'name: with\n{HEAD}sweep: {{image: {{files: "shots/*"}}, prompt: a cat, seed: {{count: 10}}}}\n'
WITHOUT = (
    f'name: without\n{HEAD}sweep: {{prompt: "${{_n}}", _n: {{from: 1, to: 1000, step: 1}}, seed: {{count: 10}}}}\n'
)


def planned(folder: Path, name: str) -> float:
    """Return the seconds of the processor that `plan` takes for one of the manifests, start to end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run((sys.executable, "-m", "batchrunner", "plan", name), cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def hashed(folder: Path) -> float:
    """Return the seconds of the processor that it takes to hash every picture."""
    begun = process_time()
    for path in folder.iterdir():
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return process_time() - begun


def main() -> None:
    """Print a line a round."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shots").mkdir()
        for number in range(PICTURES):
            (folder / "shots" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(SIZE))
        (folder / "w.json").write_text(json.dumps(GRAPH))
        (folder / "with.yaml").write_text(WITH)
        (folder / "without.yaml").write_text(WITHOUT)
        for _ in range(ROUNDS):
            without, with_pictures = planned(folder, "without.yaml"), planned(folder, "with.yaml")
            hashing = hashed(folder / "shots")
            sys.stdout.write(
                f"without {without:.2f} s, with {with_pictures:.2f} s, hashing {hashing:.2f} s: "
                f"{with_pictures - without - hashing:+.2f} s beyond hashing\n"
            )


if __name__ == "__main__":
    main()
