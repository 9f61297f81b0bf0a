"""Which tests would catch a change of which module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Part:
    """Some modules and their tests: each step is one run of pytest, and the next step runs only if it passed."""

    name: str
    modules: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]
    """Globs of test files, cheapest first; `{name}` is the module's own name and need not match."""


_NIGHTS = ("tests/simulation/test_faults.py", "tests/simulation/test_network.py", "tests/simulation/test_processes.py")
"""The whole product in virtual time: seconds each. What only longer nights notice deserves a test of its own."""
_DISK = ("tests/simulation/test_fake_disk.py", "tests/simulation/test_disk.py")

PARTS = (
    Part(
        "core",
        ("batchrunner/core/*.py",),
        (
            ("tests/core/test_{name}.py",),
            ("tests/core/test_*.py",),
            (*_NIGHTS, "tests/shell/test_engine*.py", "tests/simulation/test_breaker_nights.py"),
        ),
    ),
    Part(
        "engine",
        ("batchrunner/engine.py",),
        (
            ("tests/shell/test_engine*.py", *_NIGHTS),
            _DISK,
        ),
    ),
    Part(
        "ledger",
        ("batchrunner/ledger/*.py",),
        (
            ("tests/shell/test_{name}.py", "tests/shell/test_ledger*.py"),
            ("tests/shell/test_lock.py", *_NIGHTS),
            _DISK,
        ),
    ),
    Part(
        "downloads",
        ("batchrunner/download/*.py",),
        (
            ("tests/shell/test_{name}.py", "tests/shell/test_fetch.py", "tests/shell/test_disk*.py"),
            ("tests/shell/test_media.py", "tests/shell/test_mp4*.py", "tests/shell/test_fetch*.py"),
            (*_NIGHTS, *_DISK),
        ),
    ),
    Part(
        "wire",
        tuple(f"batchrunner/comfy/{name}.py" for name in ("wire", "submission", "client", "errors")),
        (
            ("tests/shell/test_{name}.py", "tests/shell/test_wire.py", "tests/shell/test_client_answers.py"),
            ("tests/shell/test_client*.py", "tests/shell/test_fetch.py", "tests/sim/test_sim_recordings.py", *_NIGHTS),
            ("tests/shell/test_fetch_hostile.py",),
        ),
    ),
)


def modules(root: Path = ROOT) -> dict[str, Part]:
    """Return every module that is changed, with its part."""
    found = ((path, part) for part in PARTS for pattern in part.modules for path in sorted(root.glob(pattern)))
    return {str(path.relative_to(root)): part for path, part in found if path.name != "__init__.py"}


def steps(module: str, root: Path = ROOT) -> list[list[str]]:
    """Return the test files of a module step by step, each file once."""
    known: set[str] = set()
    plan = []
    for step in modules(root)[module].steps:
        patterns = (pattern.format(name=Path(module).stem) for pattern in step)
        paths = [str(path.relative_to(root)) for pattern in patterns for path in sorted(root.glob(pattern))]
        plan.append([path for path in dict.fromkeys(paths) if path not in known])
        known.update(paths)
    return [step for step in plan if step]
