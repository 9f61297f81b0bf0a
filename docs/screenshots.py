"""Make docs/gallery.png, the README's picture: a night half over, seen in headless Chromium.

Run it from the repository: `.venv/bin/python docs/screenshots.py [FOLDER]`. It needs the extras `dev` and `video` and a
Chromium (`apt-get install chromium`). In FOLDER (default: a temporary one) it leaves the batch and all pictures.
"""

# ruff: noqa: INP001, S311 - a script, no package; its dice paint hills

from __future__ import annotations

import colorsys
import io
import math
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random

import av
from playwright.sync_api import Page, sync_playwright

from batchrunner.core.facts import Accepted, Claimed, Fact, File, Lost, Rendered, Saved, Why
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import State, Waiting, advance
from batchrunner.show.gallery import PageStatus, gallery_data, write_data, write_page
from batchrunner.show.report import RunContext, report, report_json

WIDTH, HEIGHT, FRAMES = 512, 282, 8
BEGUN = 15
NIGHT = 1_767_304_800.0
SERVER = "http://gpu-box:8188"
PROMPTS = (
    "Dawn over a mountain lake, mist drifting off the water. A loon calls, far away.",
    "Rain on a tin roof at night. Steady rain, distant thunder, a dog that barks once.",
    "A paper boat sails down a gutter after the storm. Water babbles, a bicycle bell rings.",
)
HUES = (0.07, 0.6, 0.36)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@dataclass
class Night:
    """A batch and its facts so far."""

    folder: Path
    jobs: list[Job] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    now: float = NIGHT

    def note(self, fact: Fact) -> None:
        """Take in a fact."""
        self.facts.append(fact)
        self.states[fact.job] = advance(self.states.get(fact.job, Waiting()), fact)

    def send(self, job: Job, attempt: int = 1) -> None:
        """Have the server take a job."""
        prefix = f"dreams-{job.id}-a{attempt}"
        self.note(Claimed(job.id, attempt, self.now, job.id, prefix, SERVER, ""))
        self.note(Accepted(job.id, attempt, self.now + 1, job.id, prefix, SERVER))

    def finish(self, job: Job, film: bytes, seconds: float, attempt: int = 1) -> None:
        """Have a job's video saved."""
        self.now += seconds + 2
        self.note(Rendered(job.id, attempt, self.now, (File(f"{job.id}.mp4"),), None, seconds))
        path = self.folder / f"{job.file}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film)
        self.note(Saved(job.id, attempt, self.now + 1, f"{job.id}.mp4", f"{job.file}.mp4", len(film), ""))


def main(folder: Path) -> None:
    """Make the batch and every picture of it."""
    night = half_a_night(folder / "dreams")
    page_status = PageStatus(
        at=night.now,
        live=True,
        rendering={job.id for job in night.jobs[BEGUN : BEGUN + 1]},
        ready={job.id: night.now + 410 + 530 * place for place, job in enumerate(night.jobs[BEGUN:])},
        left=530.0 * (len(night.jobs) - BEGUN),
        manifest="dreams.yaml",
        report=report_json(report("dreams", night.jobs, night.states, night.facts, RunContext("dreams.yaml"))),
    )
    write_page(night.folder, "dreams")
    write_data(night.folder, gallery_data("dreams", night.jobs, night.states, night.facts, page_status))
    shoot(night.folder / "index.html", folder)
    shutil.copy(folder / "desktop.png", Path(__file__).with_name("gallery.png"))


def half_a_night(folder: Path) -> Night:
    """Return a batch of 24 jobs: one forgotten and rendered again, one failed, one rendering, some still waiting."""
    night = Night(folder)
    seeds = [Random(index).getrandbits(64) for index in range(4)]
    for place, (quality, seed, prompt) in enumerate(product(("fast", "high"), seeds, PROMPTS)):
        params = {"prompt": prompt, "quality": quality, "steps": 20 if quality == "fast" else 40, "seed": seed}
        night.jobs.append(Job(f"{place:012x}", "", params | {"width": 1280, "height": 704}, f"clips/{place}", 1.0))
    for place, job in enumerate(night.jobs[:BEGUN]):
        night.send(job)
        if place == 4:
            says = "in neither queue nor history, three times over"
            night.note(Lost(job.id, 1, night.now + 90, Why.FORGOTTEN, says))
            night.now += 700
            night.send(job, 2)
        if place == 7:
            says = "KSampler raised RuntimeError: expected a finite latent"
            night.note(Lost(job.id, 1, night.now + 40, Why.ERROR, says, final=True))
            continue
        scene = place % len(PROMPTS)
        night.finish(job, film(HUES[scene], place * 7 + scene), 480 + 17 * (place % 5), 2 if place == 4 else 1)
    for job in night.jobs[BEGUN : BEGUN + 2]:
        night.send(job)
    return night


def film(hue: float, seed: int) -> bytes:
    """Return a short landscape: hills before a sky, drifting."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=12, options={"preset": "veryfast", "crf": "26"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            frame = av.VideoFrame(WIDTH, HEIGHT, "rgb24")
            frame.planes[0].update(painted(hue, seed, index))
            made.mux(stream.encode(frame.reformat(format="yuv420p")))
        made.mux(stream.encode(None))
    return file.getvalue()


def painted(hue: float, seed: int, index: int) -> bytes:
    """Return one frame as RGB, painted column by column from the sky to the nearest hill."""
    dice = Random(seed)
    shift, sun = hue + dice.uniform(-0.04, 0.04), (dice.randrange(60, WIDTH - 60), dice.randrange(30, 80))
    hills = [[dice.uniform(0, 6.3), dice.uniform(0.008, 0.02), dice.uniform(8, 22)] for _ in range(4)]
    tones = [colour(shift + 0.03 * near, 0.25 + 0.13 * near, 0.62 - 0.14 * near) for near in range(4)]
    sky = [colour(shift + 0.08 * y / HEIGHT, 0.5 - 0.35 * y / HEIGHT, 0.55 + 0.4 * y / HEIGHT) for y in range(HEIGHT)]
    rows = [bytearray(tone * WIDTH) for tone in sky]
    for x in range(WIDTH):
        for near, (phase, pace, lift) in enumerate(hills):
            top = 122 + 40 * near + lift * math.sin(phase + pace * x + 0.03 * index * (near + 1))
            for y in range(max(0, int(top)), HEIGHT):
                rows[y][3 * x : 3 * x + 3] = tones[near]
    return b"".join(map(bytes, shone(rows, sun)))


def shone(rows: list[bytearray], sun: tuple[int, int]) -> list[bytearray]:
    """Put a sun into the sky."""
    for y in range(sun[1] - 16, sun[1] + 17):
        half = int(math.sqrt(max(0, 256 - (y - sun[1]) ** 2)))
        rows[y][3 * (sun[0] - half) : 3 * (sun[0] + half)] = b"\xff\xf4\xd8" * (2 * half)
    return rows


def colour(hue: float, saturation: float, value: float) -> bytes:
    """Return RGB bytes."""
    return bytes(int(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, max(0.0, min(1.0, value))))


def shoot(page: Path, folder: Path) -> None:
    """Take every picture: desktop, dark, phone, one job, two compared, the report."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        shots = (
            ("desktop", "light", (1280, 860)),
            ("dark", "dark", (1280, 860)),
            ("phone", "light", (390, 844)),
            ("phone-dark", "dark", (390, 844)),
        )
        for name, scheme, (width, height) in shots:
            view = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")
            view.goto(page.as_uri())
            view.wait_for_selector(".tile")
            for star in view.locator('.tile[data-state="done"]').all()[1:8:3]:
                star.locator(".star").dispatch_event("click")
            seen = "[...document.querySelectorAll('.frame video')].every((video) => video.readyState >= 2)"
            until(view, seen)
            view.screenshot(path=folder / f"{name}.png", animations="disabled")
            if name in {"desktop", "phone", "dark"}:
                closer(view, name, folder)
            view.close()
        browser.close()


def closer(view: Page, name: str, folder: Path) -> None:
    """Take the pictures behind a click."""
    view.locator('.tile[data-state="done"]').first.click()
    until(view, "document.querySelector('.stage video').readyState >= 2")
    view.screenshot(path=folder / f"{name}-job.png")
    view.keyboard.press("Escape")
    for place in (0, 1):
        view.locator('.tile[data-state="done"]').nth(place).focus()
        view.keyboard.press("c")
    until(view, "[...document.querySelectorAll('.side video')].every((video) => !video.paused)")
    view.screenshot(path=folder / f"{name}-compare.png")
    view.keyboard.press("Escape")
    view.locator("#report").scroll_into_view_if_needed()
    view.screenshot(path=folder / f"{name}-report.png")


def until(view: Page, condition: str) -> None:
    """Wait; Playwright's own way to do so is `eval`, which the page forbids."""
    view.evaluate(
        f"() => new Promise((done) => {{ const look = () => {condition} ? done() : setTimeout(look, 50); look(); }})"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
