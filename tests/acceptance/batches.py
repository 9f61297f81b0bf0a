"""Batches to run: their manifests, the folders they run in, and what must be home in the end."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from processes import Ended, Running, ended

from batchrunner.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

NAME = "night"


@dataclass
class Batch:
    """A manifest in a folder of its own; `prompts` times `seeds` jobs, as small as the simulator renders them."""

    folder: Path
    servers: tuple[str, ...]
    prompts: tuple[str, ...] = ("cat-1", "cat-2", "cat-3")
    seeds: tuple[int, ...] = (7, 8)
    ttl: str = "none"
    rules: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def __post_init__(self) -> None:
        """Write the manifest."""
        self.write()

    def write(self) -> None:
        """Write the manifest as the fields say now."""
        rules = {"settle": "1s", "grace": "1s", "poll": "50ms", "depth": "2", **self.rules}
        lines = [
            f"name: {NAME}",
            f"server: {json.dumps(self.servers)}",
            f"ttl: {self.ttl}",
            *(f"{key}: {value}" for key, value in rules.items()),
            "workflow: ltx2",
            "defaults: {size: sd, length: 25, quality: fast}",
            f"sweep: {{prompt: {json.dumps(self.prompts)}, seed: {json.dumps(self.seeds)}}}",
            'files: "{prompt}-s{seed}"',
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "night.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @property
    def home(self) -> Path:
        """Where its videos come home to."""
        return self.folder / "outputs" / NAME

    @property
    def wanted(self) -> dict[str, tuple[str, int]]:
        """Return the name of every video that must be home in the end, and its text and seed."""
        return {f"{text}-s{seed}.mp4": (text, seed) for text in self.prompts for seed in self.seeds}

    def is_held(self, pid: int) -> bool:
        """Tell whether this very process runs the batch by now."""
        lock = self.home / "state.lock"
        return lock.exists() and lock.read_text(encoding="ascii").startswith(f"pid {pid} on ")

    def start(self, *options: str) -> Running:
        """Start the command; it is the same one every time."""
        return Running(self.folder, "run", "night.yaml", *self._consent, *options, token=self.token)

    def run(self, *options: str) -> Ended:
        """Run the command to its end."""
        return ended(self.folder, "run", "night.yaml", *self._consent, *options, token=self.token)

    @property
    def _consent(self) -> tuple[str, ...]:
        return ("--allow-commands",) if "notify" in self.rules else ()

    def status(self) -> dict[str, Any]:
        """Return what `status --json` says."""
        document: dict[str, Any] = json.loads(self.ask("status", "--json"))
        return document

    def ask(self, verb: str, *options: str) -> str:
        """Run another verb on the batch within this process, as a start takes a second; return what it printed."""
        asked = (verb, str(self.folder / "night.yaml"), "--out", str(self.folder / "outputs"), *options)
        with redirect_stdout(StringIO()) as out, pytest.raises(SystemExit) as told:
            app(asked, prog_name="batchrunner")
        assert not told.value.code, out.getvalue()
        return out.getvalue()
