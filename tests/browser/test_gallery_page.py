"""The gallery in a real browser: offline, live, chosen, starred, compared, in step."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from evening import SEEDS, View, evening, film, swept

from batchrunner.manifest import Options, load
from batchrunner.manifest.picks import read_picks
from batchrunner.manifest.promote import promote
from batchrunner.show.gallery import PageStatus, serving, write_data, write_posters

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLEAN: list[str] = []
HOSTILE = "</script><img src=x onerror='document.title=1'><b>bold</b> \u202edesrever\u2066 ${x} {{7*7}} \"'&amp;"


async def test_it_opens_from_its_folder_and_asks_nobody(tmp_path: Path, view: View) -> None:
    """From file://, nothing in the console, and no request that leaves the folder."""
    await view.open(evening(tmp_path, swept(), films=3))
    await view.until(
        "[...document.querySelectorAll('.frame video')].filter((film) => film.readyState >= 2).length === 3"
    )
    assert view.said == CLEAN
    assert {url.split("?")[0].split("#")[0] for url in view.asked if not url.startswith("data:")} == {
        (tmp_path / name).as_uri() for name in ("index.html", "gallery-data.js", "0.mp4", "1.mp4", "2.mp4")
    }


async def test_it_works_over_http(tmp_path: Path, view: View) -> None:
    """Served on loopback it is the same page, and its films play."""
    evening(tmp_path, swept(), films=1)
    async with serving(tmp_path) as url:
        await view.page.goto(url)
        await view.until("document.querySelector('.frame video')?.readyState >= 2")
    assert view.said == CLEAN
    assert all(asked.startswith((url, "data:")) for asked in view.asked)


async def test_stars_are_kept_in_the_folder(tmp_path: Path, view: View) -> None:
    """Served, the page writes its stars to `picks.json`, and has them from there where the browser kept nothing."""
    begun = evening(tmp_path, swept(), films=1)
    async with serving(tmp_path) as url:
        await view.page.goto(url)
        await view.until("document.querySelectorAll('.tile').length === 12")
        async with view.page.expect_response(lambda answer: answer.request.method == "PUT"):
            await view.page.locator(".tile [aria-pressed]").first.click()
        picks = json.loads((tmp_path / "picks.json").read_text(encoding="utf-8"))
        assert [pick["job"] for pick in picks["picks"]] == [begun.jobs[0].id]
        picks["picks"][0]["note"] = "long " * 20_000  # as large as many stars: browsers limit what outlives a page
        (tmp_path / "picks.json").write_text(json.dumps(picks), encoding="utf-8")
        await view.page.evaluate("localStorage.clear()")
        await view.page.reload()
        await view.until("document.querySelectorAll('.tile.starred').length === 1")
        async with view.page.expect_response(lambda answer: answer.request.method == "PUT"):
            await view.page.locator(".tile:not(.starred) [aria-pressed]").first.click()
        assert len(json.loads((tmp_path / "picks.json").read_text(encoding="utf-8"))["picks"]) == 2
    assert view.said == CLEAN


async def test_every_cell_says_how_it_stands(tmp_path: Path, view: View) -> None:
    """Waiting with its forecast, rendering, failed and why, done: each in words for eyes and for ears."""
    begun = evening(tmp_path, swept(), films=1)
    begun.queued(begun.jobs[1])
    begun.failed(begun.jobs[2], "KSampler raised ValueError")
    begun.page_status = type(begun.page_status)(0.0, rendering={begun.jobs[1].id}, seconds={begun.jobs[3].id: 600.0})
    begun.tell()
    await view.open(begun)
    labels = [await view.page.locator(".tile").nth(place).get_attribute("aria-label") for place in range(12)]
    told = {label for label in labels if label}
    assert f"A cat plays the piano., fast, seed {SEEDS[0]}, done" in told
    assert f"A cat plays the piano., fast, seed {SEEDS[1]}, rendering" in told
    assert "A cat plays the piano., fast, seed 7, failed, error: KSampler raised ValueError" in told
    assert f"A cat plays the piano., high, seed {SEEDS[0]}, waiting, takes 10 min" in told
    assert await view.texts(".tile[data-state=failed] .state") == ["failederror: KSampler raised ValueError"]


async def test_it_updates_itself(tmp_path: Path, view: View) -> None:
    """A job that lands appears in the open page, without a reload, and nothing else moves."""
    begun = evening(tmp_path, swept(), films=1)
    await view.open(begun)
    await view.tile(3)
    await view.page.evaluate("document.querySelector('.tile').dataset.witness = 'the same'")
    begun.done(begun.jobs[1], "0.mp4")
    begun.tell()
    await view.until("document.querySelectorAll('.tile[data-state=done]').length === 2")
    assert (await view.texts("#standing")) == ["2 of 12 done"]
    assert await view.page.locator("[data-witness]").count() == 1
    assert await view.page.evaluate("document.activeElement.dataset.job") == begun.jobs[3].id
    assert view.said == CLEAN


async def test_trouble_is_a_banner(tmp_path: Path, view: View) -> None:
    """What is wrong with servers stands above the videos while a run is on; after it, or a kill, how to go on."""
    begun = evening(tmp_path, swept())
    soon = time.time() + 3600
    begun.page_status = PageStatus(soon, live=True, next_at=soon, left=600.0, trouble=("gpu-2: <b>away</b>",))
    begun.tell()
    await view.open(begun)
    assert await view.texts("#trouble p") == ["gpu-2: <b>away</b>"]
    assert "about 10 min left" in (await view.texts("#standing"))[0]
    begun.page_status = replace(begun.page_status, next_at=1.0)  # what a killed run leaves
    begun.tell()
    await view.until("document.querySelector('#trouble code')")
    assert (await view.texts("#trouble code"))[0] == "batchrunner run MANIFEST"
    assert (await view.texts("#trouble p"))[0].startswith("Not running: last heard of at ")
    assert "left" not in (await view.texts("#standing"))[0]
    begun.page_status = PageStatus(soon)
    for job in begun.jobs:
        begun.failed(job, "no disk")
    begun.tell()
    await view.until("document.querySelector('#trouble').hidden")
    assert view.said == CLEAN


async def test_it_waits_for_a_batch_that_has_not_begun(tmp_path: Path, view: View) -> None:
    """Opened before there is anything to show, it says so and shows it once it is there."""
    begun = evening(tmp_path, swept())
    (tmp_path / "gallery-data.js").unlink()
    await view.page.goto((tmp_path / "index.html").as_uri())
    await view.until("document.querySelector('#standing').textContent.includes('not begun')")
    begun.tell()
    await view.until("document.querySelectorAll('.tile').length === 12")


async def test_rows_columns_and_filters_are_chosen(tmp_path: Path, view: View) -> None:
    """Any two parameters make the table, the others filter it, and the choice outlives a reload."""
    begun = evening(tmp_path, swept())
    await view.open(begun)
    assert await view.texts(".row .label") == ["A cat plays the piano.", "Rain on a tin roof."]
    assert await view.texts(".heads bdi") == [f"seed {seed}" for seed in SEEDS]
    await view.page.select_option('[data-choice="rows"]', "quality")
    assert await view.texts(".row .label") == ["fast", "high"]
    await view.page.select_option('[data-choice="columns"]', "prompt")
    assert await view.texts(".heads bdi") == ["A cat plays the piano.", "Rain on a tin roof."]
    await view.page.select_option('[data-choice="seed"]', "7")
    assert await view.page.locator(".tile").count() == 4
    await view.open(begun)
    assert await view.page.locator(".tile").count() == 4
    await view.page.select_option('[data-choice="show"]', "failed")
    assert await view.texts(".empty") == ["Nothing here matches."]


async def test_a_row_plays_in_step(tmp_path: Path, view: View) -> None:
    """Films of a row, started together, are within a tenth of a second of each other while they go round."""
    await view.open(evening(tmp_path, swept(), films=6))
    await view.page.locator(".row .play").first.click()
    films = "[...document.querySelector('.row').querySelectorAll('video')]"
    await view.until(f"{films}.length === 6 && {films}.every((film) => !film.paused && film.currentTime > 1)")
    spreads = await view.page.evaluate(
        f"""async () => {{
            const spreads = [];
            for (let count = 0; count < 30; count += 1) {{
                await new Promise((done) => setTimeout(done, 100));
                const times = {films}.map((film) => film.currentTime - {films}[0].currentTime);
                const round = times.map((time) => time - {films}[0].duration * Math.round(time / {films}[0].duration));
                spreads.push(Math.max(...round) - Math.min(...round));
            }}
            return spreads.sort((left, right) => left - right);
        }}"""
    )
    assert spreads[len(spreads) // 2] < 0.1, spreads
    await view.press("Escape")
    assert await view.page.evaluate(f"{films}.every((film) => film.paused)")


async def test_posters_stand_for_films(tmp_path: Path, view: View) -> None:
    """Where there are posters no film is opened until it plays, and a row of them still plays."""
    begun = evening(tmp_path, swept(), films=6)
    made = write_posters(tmp_path, [f"{place}.mp4" for place in range(6)])
    begun.page_status = PageStatus(0.0, posters=made)
    begun.tell()
    await view.open(begun)
    await view.until("[...document.querySelectorAll('.frame video')].length === 6")
    assert [url for url in view.asked if ".mp4" in url] == []
    await view.page.locator(".row .play").first.click()
    await view.until("[...document.querySelectorAll('.frame video')].every((film) => film.currentTime > 0.5)")
    assert view.said == CLEAN


async def test_the_mouse_plays_and_one_is_heard(tmp_path: Path, view: View) -> None:
    """A film plays while the mouse is on it; sound moves from one to the next and is never on twice."""
    await view.open(evening(tmp_path, swept(), films=2))
    await view.until("document.querySelectorAll('.frame video').length === 2")
    await view.page.locator('[data-job="000000000000"]').hover()
    await view.until("!document.querySelector('[data-job=\"000000000000\"] video').paused")
    await view.page.locator('[data-job="000000000001"]').hover()
    await view.until("document.querySelector('[data-job=\"000000000000\"] video').paused")
    heard = "[...document.querySelectorAll('.frame video')].filter((film) => !film.muted).length"
    assert await view.page.evaluate(heard) == 0
    for place in (0, 1):
        await view.tile(place)
        await view.press("m")
        assert await view.page.evaluate(heard) == 1
    assert await view.page.evaluate("document.querySelector('[data-job=\"000000000001\"] video').muted") is False
    await view.press("m")
    assert await view.page.evaluate(heard) == 0


async def test_stars_and_notes_become_picks(tmp_path: Path, view: View) -> None:
    """Starred by key, noted, still there after a reload, exported, promoted: the same prompt and seed, every digit."""
    source = tmp_path / "cats.yaml"
    source.write_text(
        "name: cats\nserver: sim\nworkflow: ltx2\nsweep:\n  prompt: [A cat plays the piano.]\n"
        f"  quality: [fast, high]\n  seed: {list(SEEDS)}\n"
    )
    batch = load(source)
    begun = evening(tmp_path, [job.params for job in batch.jobs])
    begun.jobs = list(batch.jobs)
    begun.tell()
    await view.open(begun)
    await view.page.locator(f'[data-job="{batch.jobs[0].id}"]').focus()
    await view.press("s", "n", "t", "o", "p")
    await view.press("Escape")
    await view.open(begun)
    async with view.page.expect_download() as caught:
        await view.press("e")
    download = await caught.value
    assert download.suggested_filename == "picks.json"
    text = (await download.path()).read_text()
    content: Any = json.loads(text)
    (pick,) = content["picks"]
    assert (pick["seed"], pick["note"]) == (str(batch.jobs[0].params["seed"]), "top")
    jobs = {job.id: job for job in batch.jobs}
    made = tmp_path / "more.yaml"
    made.write_text(promote(read_picks(text), jobs, source, Options(sets=(("size", "1080p"),))))
    (promoted,) = load(made).jobs
    assert [promoted.params[name] for name in ("prompt", "seed")] == [
        batch.jobs[0].params[name] for name in ("prompt", "seed")
    ]
    assert promoted.params["width"] == 1920


async def test_two_are_compared_under_a_slider(tmp_path: Path, view: View) -> None:
    """Two keys put two films over each other, in step; the slider moves the edge, b puts them side by side."""
    await view.open(evening(tmp_path, swept(), films=4))
    for place in (0, 3):
        await view.tile(place)
        await view.press("c")
    assert await view.texts("#compare .names p") == ["A fast, steps 20", "B high, steps 40"]
    films = "[...document.querySelectorAll('#compare video')]"
    await view.until(f"{films}.every((film) => !film.paused && film.currentTime > 0.5)")
    apart = await view.page.evaluate(
        f"(() => {{ const [a, b] = {films}; return Math.abs(a.currentTime - b.currentTime); }})()"
    )
    assert min(apart, 3 - apart) < 0.1
    await view.press("End")
    assert await view.page.evaluate("document.querySelector('.wipe').style.getPropertyValue('--split')") == "100%"
    await view.press("b")
    boxes = [await view.page.locator(f"#compare .{side}").bounding_box() for side in "AB"]
    assert [box["x"] for box in boxes if box] == sorted({box["x"] for box in boxes if box})
    await view.press("Escape")
    await view.until("!document.querySelector('#compare video')")


async def test_one_job_tells_all_and_copies(tmp_path: Path, view: View) -> None:
    """Enter opens a job large; its seed, its parameters and its command can be copied, arrows go on to the next."""
    await view.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await view.open(evening(tmp_path, swept(), films=2))
    await view.tile(1)
    await view.press("Enter")
    copied = []
    for label in ("seed", "parameters", "command"):
        await view.page.get_by_role("button", name=f"Copy {label}").click()
        await view.until(f"document.querySelector('#toast').textContent === '{label} copied'")
        copied.append(await view.page.evaluate("navigator.clipboard.readText()"))
    assert copied[0] == str(SEEDS[1])
    assert json.loads(copied[1])["quality"] == "fast"
    assert copied[2] == "batchrunner run MANIFEST --only job=000000000001"
    before = await view.texts("#detail h2")
    await view.press("ArrowLeft")
    assert await view.texts("#detail h2") != before
    await view.press("Escape")
    assert view.said == CLEAN


async def test_hostile_prompts_stay_text(tmp_path: Path, view: View) -> None:
    """Markup, templates and bidi controls are shown as they are, everywhere, and nothing runs."""
    begun = evening(tmp_path, swept((HOSTILE, "Rain.")), films=1)
    begun.failed(begun.jobs[1], HOSTILE)
    begun.tell()
    await view.open(begun)
    await view.tile(0)
    await view.press("s", "Enter")
    assert (await view.texts(".row .label"))[0] == HOSTILE
    assert HOSTILE in await view.texts("#detail dd bdi")
    assert HOSTILE in (await view.texts(".tile[data-state=failed] .why"))[0]
    assert await view.page.locator(".row b, .row img[src=x], #detail b").count() == 0
    assert await view.page.evaluate("document.title") == "cats"
    assert view.said == CLEAN


async def test_a_script_that_gets_in_does_not_run(tmp_path: Path, view: View) -> None:
    """Should markup ever reach the page, the policy stops it."""
    await view.open(evening(tmp_path, swept()))
    tries = """() => { try { document.body.innerHTML = "<img src=x onerror='document.title=1'>"; return "in"; }
        catch (error) { return error.name; } }"""
    assert await view.page.evaluate(tries) == "TypeError"


async def test_a_thousand_cells_are_there_at_once(tmp_path: Path, view: View) -> None:
    """A thousand films: painted within two seconds, and only those near the screen are loaded."""
    rows = [
        {"prompt": f"Prompt number {place // 10}", "seed": place % 10, "width": 96, "height": 64}
        for place in range(1000)
    ]
    begun = evening(tmp_path, rows)
    (tmp_path / "film.mp4").write_bytes(b"")
    for job in begun.jobs:
        begun.done(job)
    begun.tell()
    await view.page.goto((tmp_path / "index.html").as_uri())
    await view.until("document.querySelectorAll('.tile').length === 1000")
    painted = await view.page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
    )
    assert painted < 2000
    await view.until("document.querySelectorAll('.frame video').length > 0")
    assert await view.page.locator(".frame video").count() < 300
    await view.page.evaluate("document.querySelector('.row:last-of-type').scrollIntoView()")
    await view.until(
        "document.querySelector('.row:last-of-type video') && !document.querySelector('.row:first-of-type video')"
    )


async def test_a_phone_shows_it_all(tmp_path: Path, view: View) -> None:
    """At 390 pixels nothing is cut off: rows are strips to swipe, and a tap opens a job."""
    await view.page.set_viewport_size({"width": 390, "height": 844})
    await view.open(evening(tmp_path, swept(), films=2))
    assert await view.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    await view.page.locator('.tile[data-state="done"]').first.click()
    assert await view.page.locator("#detail[open] video").count() == 1
    assert await view.page.evaluate("document.querySelector('#detail').scrollWidth") <= 390


async def test_light_and_dark_are_both_readable(tmp_path: Path, view: View) -> None:
    """The page follows the system, and its text stands out from its ground either way."""
    begun = evening(tmp_path, swept())
    lightness = """(name) => { const [r, g, b] = getComputedStyle(document.body)[name].match(/\\d+/g).map(Number);
        return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255; }"""
    seen = {}
    for scheme in ("light", "dark"):
        await view.page.emulate_media(color_scheme=scheme)
        await view.open(begun)
        ground, ink = [await view.page.evaluate(lightness, name) for name in ("backgroundColor", "color")]
        assert abs(ground - ink) > 0.6
        seen[scheme] = ground
    assert seen["light"] > 0.5 > seen["dark"]


async def test_everything_has_a_name(tmp_path: Path, view: View) -> None:
    """Whoever listens hears what every button, choice and tile is; the tab key meets one tile, arrows the others."""
    await view.open(evening(tmp_path, swept(), films=2))
    nameless = """[...document.querySelectorAll("button, input, select, article, dialog, section, main, nav")]
        .filter((node) => !node.hidden)
        .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
        .map((node) => node.outerHTML)"""
    assert await view.page.evaluate(nameless) == []
    assert await view.page.locator('.tile[tabindex="0"]').count() == 1
    await view.page.locator('.tile[tabindex="0"]').focus()
    first = await view.page.evaluate("document.activeElement.dataset.job")
    await view.press("ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft")
    assert await view.page.evaluate("document.activeElement.dataset.job") == first


async def test_pictures_and_sounds_are_shown_too(tmp_path: Path, view: View) -> None:
    """A batch of images and audio is a gallery as well."""
    begun = evening(tmp_path, swept())
    (tmp_path / "a.png").write_bytes(PIXEL)
    (tmp_path / "a.flac").write_bytes(b"")
    begun.done(begun.jobs[0], "a.png")
    begun.done(begun.jobs[1], "a.flac")
    begun.tell()
    await view.open(begun)
    await view.until("document.querySelector('.frame img')?.naturalWidth === 1")
    await view.until("document.querySelector('.frame audio')")
    assert await view.page.locator(".tile[data-kind=audio]").count() == 1


async def test_an_input_picture_heads_its_row(tmp_path: Path, view: View) -> None:
    """A row whose jobs all read one picture shows it; a copy that is not there yet leaves no gap."""
    rows = [{"image": image, "seed": seed} for image in ("a.png", "b.png") for seed in (1, 2)]
    begun = evening(tmp_path, rows)
    begun.jobs = [replace(job, uploads={"image": str(job.params["image"])}) for job in begun.jobs]
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "a.png").write_bytes(PIXEL)
    begun.tell()
    await view.open(begun)
    await view.until("document.querySelectorAll('h2 img.input').length === 1")
    await view.until("document.querySelector('h2 img.input').naturalWidth === 1")
    assert await view.texts("h2 .label") == ["a.png", "b.png"]


async def test_rows_of_one_tile_stand_side_by_side(tmp_path: Path, view: View) -> None:
    """Thirty prompts of one job each share lines, an input video heads its row, and at 600 pixels nothing is cut."""
    rows = [
        {"prompt": str(place), "mood": "calm" if place % 3 else "wild", "clip": f"{place}.mp4"} for place in range(30)
    ]
    begun = evening(tmp_path, rows)
    begun.jobs = [replace(job, uploads={"clip": str(job.params["clip"])}) for job in begun.jobs]
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "0.mp4").write_bytes(film("", 1))
    begun.tell()
    await view.open(begun)
    await view.until("document.querySelectorAll('h2 video.input').length === 1")
    assert await view.page.evaluate("document.scrollingElement.scrollHeight") < 2 * 800
    await view.page.set_viewport_size({"width": 600, "height": 800})
    assert await view.page.evaluate("document.scrollingElement.scrollWidth") <= 600
    assert await view.page.evaluate("document.querySelector('#export').getBoundingClientRect().right") <= 600


async def test_another_version_is_said(tmp_path: Path, view: View) -> None:
    """Data of a later batchrunner than the page's is not guessed at."""
    evening(tmp_path, swept())
    write_data(tmp_path, {"version": 99})
    await view.page.goto((tmp_path / "index.html").as_uri())
    await view.until("document.querySelector('#standing').textContent.includes('another version')")
    assert view.said == CLEAN


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc0000003010100"
    "18dd8db00000000049454e44ae426082"
)
