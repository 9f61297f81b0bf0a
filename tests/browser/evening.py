"""A batch on disk with films that really play, and a browser's view of its page."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.facts import Saved, Why
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import AttemptHistory, Done, Failed, Prompt, Queued, State
from batchrunner.show.gallery import PageStatus, gallery_data, write_data, write_page
from batchrunner.sim.graph import Shot
from batchrunner.sim.media import Order
from batchrunner.sim.video import PyavRenderer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from playwright.async_api import ConsoleMessage, Page, Request

    from batchrunner.core.job import Scalar

CHROMIUM = shutil.which("chromium") or ""
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
)
SEEDS = (2**64 - 1, 2**64 - 2, 7)
PROMPT = Prompt(1, "id", "p-a1", "http://gpu:8188", claimed=True)
_PATIENCE = 20.0


def film(text: str, seed: int) -> bytes:
    """Return three seconds of picture and sound."""
    shot = Shot(width=96, height=64, frames=72, seed=seed, text=text, sound=3.0)
    return PyavRenderer(96, 72).render(Order("mp4", shot))


@dataclass
class Evening:
    """A batch's folder, and what its page is told."""

    folder: Path
    jobs: list[Job]
    states: dict[str, State] = field(default_factory=dict)
    page_status: PageStatus = field(default_factory=lambda: PageStatus(0.0, live=True, manifest="cats.yaml"))

    def done(self, job: Job, path: str = "film.mp4") -> None:
        """Have a job's file be home."""
        self.states[job.id] = Done(AttemptHistory(1), PROMPT, (Saved(job.id, 1, 0.0, path, path, 5, ""),))

    def queued(self, job: Job) -> None:
        """Have a server hold a job."""
        self.states[job.id] = Queued(AttemptHistory(1), PROMPT)

    def failed(self, job: Job, message: str) -> None:
        """Have a job fail."""
        self.states[job.id] = Failed(AttemptHistory(1), Why.ERROR, message)

    def tell(self) -> None:
        """Write what the page shows."""
        write_data(self.folder, gallery_data("cats", self.jobs, self.states, [], self.page_status))


def jobs_of(rows: Sequence[Mapping[str, Scalar]]) -> list[Job]:
    """Return a job per row of parameters."""
    return [Job(f"{place:012x}", "", row, f"clips/{place}", 0.0) for place, row in enumerate(rows)]


def evening(folder: Path, rows: Sequence[Mapping[str, Scalar]], films: int = 0) -> Evening:
    """Return a batch of `rows` whose first `films` jobs are done, each with its own film; page and data are written."""
    begun = Evening(folder, jobs_of(rows))
    for place, job in enumerate(begun.jobs[:films]):
        (folder / f"{place}.mp4").write_bytes(film(str(place % 2), place))
        begun.done(job, f"{place}.mp4")
    write_page(folder, "cats")
    begun.tell()
    return begun


def swept(prompts: Sequence[str] = ("A cat plays the piano.", "Rain on a tin roof.")) -> list[dict[str, Scalar]]:
    """Return two prompts with three seeds each, in two qualities."""
    return [
        {"prompt": prompt, "quality": quality, "steps": steps, "seed": seed, "width": 96, "height": 64}
        for prompt in prompts
        for quality, steps in (("fast", 20), ("high", 40))
        for seed in SEEDS
    ]


@dataclass
class View:
    """A page in the browser, what its console said and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen from the first moment on."""
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)

    def _request(self, request: Request) -> None:
        self.asked.append(request.url)

    async def open(self, begun: Evening) -> View:
        """Open a batch's page from its folder, and wait for its tiles."""
        await self.page.goto((begun.folder / "index.html").as_uri())
        await self.until("document.querySelector('.tile, .empty')")
        return self

    async def until(self, condition: str) -> Any:
        """Wait until `condition` holds on the page; Playwright's own way to is `eval`, which the page forbids."""
        look = f"const found = {condition}; found ? done(found) : requestAnimationFrame(look);"
        async with asyncio.timeout(_PATIENCE):
            return await self.page.evaluate(
                f"async () => {{ await new Promise((done) => {{ const look = () => {{ {look} }}; look(); }}); }}"
            )

    async def tile(self, place: int) -> None:
        """Put the focus on the tile of a job."""
        await self.page.locator(f'[data-job="{place:012x}"]').focus()

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def texts(self, selector: str) -> list[str]:
        """Return what stands in every such element."""
        return await self.page.locator(selector).all_text_contents()
