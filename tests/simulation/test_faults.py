"""Every fault happens to a simulator as its script says, and scripts are read strictly."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from batchrunner.errors import YoursError
from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator
from tests.lab.bad_sockets import WAYS
from tests.lab.clock import VirtualLoop, run
from tests.lab.faults import KINDS, Fault, Where, added_faults, basic_faults, jobs_faults, parse, upload_faults, usual
from tests.lab.injector import FaultInjector
from tests.lab.other_user import prompt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

FILM = b"abcdefgh" * 5000
GONE = (aiohttp.ClientError, ConnectionError)
PACE = Pace(step=25.0, save=0.0, noise=0.0, longest=None)
"""A other user's picture takes 13 to 14 seconds."""


class Victim:
    """A simulator that faults happen to, and a client."""

    def __init__(self, loop: VirtualLoop, folder: Path, script: str) -> None:
        self.loop = loop
        self.sim = Simulator(folder, pace=PACE, wall=loop.wall)
        link = loop.network.link("server")
        self.injector = FaultInjector(self.sim, parse(script, "script"), link=link)
        self.film = folder / "output" / "film.mp4"
        self.put_film()
        self.session = aiohttp.ClientSession("http://server", connector=aiohttp.UnixConnector("server"))

    def put_film(self) -> None:
        """Lay a film on the server, as if it had been rendered just now."""
        self.film.write_bytes(FILM)
        os.utime(self.film, (self.loop.wall(), self.loop.wall()))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve, and let the faults happen."""
        runner = web.AppRunner(self.injector.application(), shutdown_timeout=1.0)
        await runner.setup()
        await web.UnixSite(runner, "server").start()
        await self.sim.start()
        faults = self.loop.create_task(self.injector.run())
        await self.loop.elapse(1)
        async with self.session:
            yield
        faults.cancel()
        await self.sim.stop()
        await runner.cleanup()

    async def ask(self, path: str, *, method: str = "GET", body: Any = None, total: float = 400) -> tuple[int, bytes]:
        """Make one request and return status and body."""
        timeout = aiohttp.ClientTimeout(total=total)
        async with self.session.request(method, path, json=body, timeout=timeout) as answer:
            return answer.status, await answer.read()

    async def post(self, number: int = 1, total: float = 400) -> int:
        """Post a picture and return the status."""
        return (await self.ask("/prompt", method="POST", body=prompt(number), total=total))[0]

    async def view(self, headers: dict[str, str] | None = None) -> bytes:
        """Download the film."""
        async with self.session.get("/view?filename=film.mp4", headers=headers) as answer:
            return await answer.read()

    def posted(self) -> int:
        """Return how many prompts were accepted."""
        return len(self.sim.record.of(What.POSTED))


def suffer(folder: Path, script: str, test: Callable[[Victim], Awaitable[None]]) -> None:
    """Run `test` while the faults of `script` happen."""

    async def main(loop: VirtualLoop) -> None:
        victim = Victim(loop, folder, script)
        async with victim.open():
            await test(victim)

    run(main, seed=1)


def test_a_dropped_reply_leaves_the_prompt_queued(tmp_path: Path) -> None:
    """The POST was taken, its sender can't know; the next one is answered."""

    async def test(victim: Victim) -> None:
        with pytest.raises(GONE):
            await victim.post()
        assert victim.posted() == 1
        assert await victim.post(2) == 200

    suffer(tmp_path, "[{do: drop-reply}]", test)


@pytest.mark.parametrize(("do", "status", "queued"), [("bad-gateway", 502, 1), ("lost-post", 502, 0)])
def test_a_bad_gateway_may_or_may_not_have_passed_it_on(tmp_path: Path, do: str, status: int, queued: int) -> None:
    """The same 502 stands for a prompt that is queued and for one that is not."""

    async def test(victim: Victim) -> None:
        assert await victim.post() == status
        assert victim.posted() == queued

    suffer(tmp_path, f"[{{do: {do}}}]", test)


def test_a_gateway_times_out_while_the_server_goes_on(tmp_path: Path) -> None:
    """The prompt is queued at once, the 504 comes after 60 s."""

    async def test(victim: Victim) -> None:
        assert await victim.post() == 504
        assert victim.loop.now > 60
        assert victim.posted() == 1

    suffer(tmp_path, "[{do: gateway-timeout}]", test)


def test_a_late_post_arrives_after_its_sender_has_gone(tmp_path: Path) -> None:
    """A POST given up after 20 s is queued after 90 all the same."""

    async def test(victim: Victim) -> None:
        with pytest.raises(TimeoutError):
            await victim.post(total=20)
        assert victim.posted() == 0
        await victim.loop.elapse(80)
        assert victim.posted() == 1

    suffer(tmp_path, "[{do: late-post, by: 90}]", test)


@pytest.mark.parametrize(
    ("do", "status", "holds"),
    [
        ("unavailable", 503, b"<html>"),
        ("too-many", 429, b"slower"),
        ("login-page", 200, b"sign in"),
        ("unauthorised", 401, b"Unauthorized"),
    ],
)
def test_a_spell_lies_on_every_request_and_ends(tmp_path: Path, do: str, status: int, holds: bytes) -> None:
    """For 30 s every request gets the same wrong answer, then none does."""

    async def test(victim: Victim) -> None:
        for path in ("/queue", "/history/x", "/view?filename=film.mp4"):
            told = await victim.ask(path)
            assert told[0] == status
            assert holds in told[1]
        await victim.loop.elapse(30)
        assert (await victim.ask("/queue"))[0] == 200

    suffer(tmp_path, f"[{{do: {do}, for: 30}}]", test)


def test_a_refused_connection_is_refused_below_http(tmp_path: Path) -> None:
    """In virtual time nobody listens for a while."""

    async def test(victim: Victim) -> None:
        with pytest.raises(aiohttp.ClientConnectorError):
            await victim.ask("/queue")
        await victim.loop.elapse(30)
        assert (await victim.ask("/queue"))[0] == 200

    suffer(tmp_path, "[{do: refuse, for: 30}]", test)


def test_silence_ends(tmp_path: Path) -> None:
    """A request into the silence is answered when it ends, if anybody still waits."""

    async def test(victim: Victim) -> None:
        assert (await victim.ask("/queue"))[0] == 200
        assert victim.loop.now > 50

    suffer(tmp_path, "[{do: silence, for: 50}]", test)


@pytest.mark.parametrize("by", [8, 65])
def test_answers_can_be_slow(tmp_path: Path, by: int) -> None:
    """For a while every answer takes so many seconds longer."""

    async def test(victim: Victim) -> None:
        before = victim.loop.now
        assert (await victim.ask("/queue"))[0] == 200
        assert by <= victim.loop.now - before < by + 1

    suffer(tmp_path, f"[{{do: slow, for: 100, by: {by}}}]", test)


@pytest.mark.parametrize("do", ["reset-film", "truncate-film"])
def test_a_film_breaks_off_and_can_be_resumed(tmp_path: Path, do: str) -> None:
    """So many bytes come, then none; the rest can be had with Range and If-Match, as from a real server."""

    async def test(victim: Victim) -> None:
        with pytest.raises(aiohttp.ClientPayloadError):
            await victim.view()
        async with victim.session.head("/view?filename=film.mp4") as answer:
            etag = answer.headers["ETag"]
        assert await victim.view({"Range": "bytes=1000-", "If-Match": etag}) == FILM[1000:]
        assert await victim.view() == FILM

    suffer(tmp_path, f"[{{do: {do}}}]", test)


def test_a_film_stalls_and_goes_on(tmp_path: Path) -> None:
    """A thousand bytes come, and two minutes later the rest."""

    async def test(victim: Victim) -> None:
        assert await victim.view() == FILM
        assert victim.loop.now > 120

    suffer(tmp_path, "[{do: stall-film}]", test)


def test_a_film_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    """After the break another film stands there: of the same length, with another ETag."""

    async def test(victim: Victim) -> None:
        async with victim.session.head("/view?filename=film.mp4") as answer:
            etag = answer.headers["ETag"]
        with pytest.raises(aiohttp.ClientPayloadError):
            await victim.view()
        async with victim.session.get("/view?filename=film.mp4", headers={"If-Match": etag}) as answer:
            assert answer.status == 412

    suffer(tmp_path, "[{do: replace-film}]", test)


def test_a_restart_forgets_everything(tmp_path: Path) -> None:
    """What was queued is nowhere afterwards, and for a while nobody answers."""

    async def test(victim: Victim) -> None:
        assert await victim.post() == 200
        await victim.loop.elapse(5)
        with pytest.raises(GONE):
            await victim.ask("/queue")
        await victim.loop.elapse(20)
        assert json.loads((await victim.ask("/queue"))[1]) == {"queue_running": [], "queue_pending": []}

    suffer(tmp_path, "[{at: 5, do: restart, for: 20}]", test)


def test_a_cleared_history_has_no_entries(tmp_path: Path) -> None:
    """What was finished is forgotten; its file stays."""

    async def test(victim: Victim) -> None:
        await victim.post()
        await victim.loop.elapse(60)
        assert json.loads((await victim.ask("/history"))[1]) == {}
        assert len(victim.sim.record.of(What.SAVED)) == 1

    suffer(tmp_path, "[{at: 50, do: clear-history}]", test)


def test_a_cleared_queue_loses_what_waits(tmp_path: Path) -> None:
    """The running prompt goes on, those behind it are gone without a trace."""

    async def test(victim: Victim) -> None:
        for number in range(3):
            await victim.post(number)
        await victim.loop.elapse(100)
        assert len(victim.sim.record.of(What.SUCCEEDED)) == 1
        assert len(victim.sim.record.of(What.DELETED)) == 2

    suffer(tmp_path, "[{at: 5, do: clear-queue}]", test)


def test_an_interrupt_ends_what_runs(tmp_path: Path) -> None:
    """The running prompt ends as interrupted."""

    async def test(victim: Victim) -> None:
        await victim.post()
        await victim.loop.elapse(100)
        assert len(victim.sim.record.of(What.INTERRUPTED)) == 1

    suffer(tmp_path, "[{at: 5, do: interrupt}]", test)


def test_a_wedged_server_takes_prompts_and_runs_none(tmp_path: Path) -> None:
    """Everything is answered, nothing is executed, until somebody restarts it."""

    async def test(victim: Victim) -> None:
        await victim.loop.elapse(10)
        assert await victim.post() == 200
        await victim.loop.elapse(300)
        assert not victim.sim.record.of(What.STARTED)
        assert len(json.loads((await victim.ask("/queue"))[1])["queue_pending"]) == 1
        await victim.loop.elapse(300)
        await victim.post()
        await victim.loop.elapse(60)
        assert len(victim.sim.record.of(What.SUCCEEDED)) == 1

    suffer(tmp_path, "[{at: 5, do: wedge, for: 500}]", test)


def test_memory_runs_out_as_often_as_said(tmp_path: Path) -> None:
    """Two prompts fail with an out of memory, the third is rendered."""

    async def test(victim: Victim) -> None:
        for number in range(3):
            await victim.post(number)
        await victim.loop.elapse(100)
        assert [event.note for event in victim.sim.record.of(What.FAILED)] == ["torch.OutOfMemoryError"] * 2
        assert len(victim.sim.record.of(What.SUCCEEDED)) == 1

    suffer(tmp_path, "[{do: out-of-memory, times: 2}]", test)


def test_clean_up_can_be_faster_for_a_while(tmp_path: Path) -> None:
    """Files live a minute instead of ten, and ten again afterwards."""

    async def test(victim: Victim) -> None:
        await victim.loop.elapse(100)
        assert not victim.film.exists()
        await victim.loop.elapse(200)
        victim.put_film()
        await victim.loop.elapse(300)
        assert len(victim.sim.record.of(What.SWEPT)) == 1

    suffer(tmp_path, "[{do: clean-up, by: 60, for: 200}]", test)


def test_other_users_use_the_server_too(tmp_path: Path) -> None:
    """Foreign jobs are queued and executed like any other."""

    async def test(victim: Victim) -> None:
        await victim.loop.elapse(60)
        assert [event.prefix for event in victim.sim.record.of(What.SUCCEEDED)] == ["somebody-else"] * 2

    suffer(tmp_path, "[{do: foreign-jobs, times: 2}]", test)


def test_an_old_server_chooses_its_own_ids(tmp_path: Path) -> None:
    """The client's prompt id is ignored from then on."""

    async def test(victim: Victim) -> None:
        _, answer = await victim.ask("/prompt", method="POST", body={**prompt(1), "prompt_id": "mine"})
        assert json.loads(answer)["prompt_id"] != "mine"

    suffer(tmp_path, "[{do: own-ids}]", test)


PATHS = {"view": "/view?filename=film.mp4", "history": "/history/x", "queue": "/queue"}


@pytest.mark.parametrize(("do", "statuses"), [("page-404", {404}), ("page-403", {403}), ("page-5xx", {500, 502, 503})])
def test_a_proxy_answers_everything_with_its_own_page(tmp_path: Path, do: str, statuses: set[int]) -> None:
    """For 30 s every request gets an HTML page with that status, and no POST is passed on; then all is well."""

    async def test(victim: Victim) -> None:
        told = [await victim.ask(path) for path in PATHS.values()]
        assert {status for status, _ in told} == statuses
        assert all(page.startswith(b"<html><head><title>") for _, page in told)
        assert await victim.post() in {*statuses, 520}
        assert victim.posted() == 0
        await victim.loop.elapse(30)
        assert (await victim.ask("/queue"))[0] == 200

    suffer(tmp_path, f"[{{do: {do}, for: 30}}]", test)


@pytest.mark.parametrize("only", ["view", "post", "history"])
@pytest.mark.parametrize("do", ["page-404", "page-403", "page-5xx"])
def test_a_page_may_be_the_answer_to_one_kind_of_request(tmp_path: Path, do: str, only: str) -> None:
    """With `only` the other requests get through."""

    async def test(victim: Victim) -> None:
        failed = {name for name, path in PATHS.items() if (await victim.ask(path))[0] != 200}
        failed |= {"post"} if await victim.post() != 200 else set()
        assert failed == {only}

    suffer(tmp_path, f"[{{do: {do}, only: {only}}}]", test)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_can_be_refused_with_either_status(tmp_path: Path, status: int) -> None:
    """Every request is refused in JSON for a while."""

    async def test(victim: Victim) -> None:
        told = await victim.ask("/queue")
        assert (told[0], list(json.loads(told[1]))) == (status, ["error"])
        assert await victim.post() == status
        await victim.loop.elapse(30)
        assert await victim.post() == 200

    suffer(tmp_path, f"[{{do: refuse-token, for: 30, status: {status}}}]", test)


@pytest.mark.parametrize("how", ["lost", "taken"])
def test_a_flaky_proxy_fails_a_share_of_all_requests(tmp_path: Path, how: str) -> None:
    """About a third of the requests gets a 502; a POST among them is not passed on, or is, as the script has it."""

    async def test(victim: Victim) -> None:
        polls = [(await victim.ask("/queue"))[0] for _ in range(120)]
        assert set(polls) == {200, 502}
        assert 25 < polls.count(502) < 55
        posts = [await victim.post(number) for number in range(30)]
        assert set(posts) == {200, 502}
        assert victim.posted() == (30 if how == "taken" else posts.count(200))

    suffer(tmp_path, f"[{{do: flaky, for: 60, how: {how}}}]", test)


@pytest.mark.parametrize(("text", "number"), [("a stranger's wish 2", 2), ("somebody-else", 1)])
def test_a_firewall_dislikes_a_text(tmp_path: Path, text: str, number: int) -> None:
    """A POST with the text in its body gets a 403 page for good, other POSTs and polls get through."""

    async def test(victim: Victim) -> None:
        await victim.loop.elapse(10_000)
        told = await victim.ask("/prompt", method="POST", body={**prompt(number), "prompt_id": "mine"})
        assert told[0] == 403
        assert b"<title>Request blocked</title>" in told[1]
        assert (await victim.ask("/queue"))[0] == 200
        assert victim.posted() == 0
        assert await victim.ask("/prompt", method="POST", body={"prompt": {}}) != 403
        assert victim.injector.blocked == {"mine"}

    suffer(tmp_path, json.dumps([{"do": "firewall", "text": text}]), test)


def test_a_firewall_can_be_told_to_stop(tmp_path: Path) -> None:
    """With `for` the text gets through afterwards."""

    async def test(victim: Victim) -> None:
        assert await victim.post() == 403
        await victim.loop.elapse(60)
        assert await victim.post() == 200

    suffer(tmp_path, json.dumps([{"do": "firewall", "text": "wish", "for": 60}]), test)


def test_neighbours_can_be_heavy(tmp_path: Path) -> None:
    """Prompts with 90 to 200 kB of `extra_pnginfo` are in the queue and in the history."""

    async def test(victim: Victim) -> None:
        queue = json.loads((await victim.ask("/queue"))[1])
        rows = [*queue["queue_running"], *queue["queue_pending"]]
        finished = json.loads((await victim.ask("/history"))[1]).values()
        sizes = [len(json.dumps(row[3])) for row in (*rows, *(entry["prompt"] for entry in finished))]
        assert (len(rows), len(finished)) == (4, 8)
        assert all(85_000 < size < 200_000 for size in sizes)
        await victim.loop.elapse(100)
        assert len(victim.sim.record.of(What.SUCCEEDED)) == 4

    suffer(tmp_path, "[{do: heavy-neighbours, times: 12}]", test)


@pytest.mark.parametrize("how", ["empty", "temp", "forbidden"])
def test_a_prompt_can_succeed_without_a_file(tmp_path: Path, how: str) -> None:
    """What succeeds meanwhile has no output, only a temporary one, or one that is never handed out."""

    async def test(victim: Victim) -> None:
        await victim.post(1)
        await victim.loop.elapse(60)
        await victim.post(2)
        await victim.loop.elapse(60)
        spoilt, sound = json.loads((await victim.ask("/history"))[1]).values()
        files = [file for shown in spoilt["outputs"].values() for file in shown["images"]]
        assert spoilt["status"]["status_str"] == "success"
        assert [file["type"] for file in files] == {"empty": [], "temp": ["temp"], "forbidden": ["output"]}[how]
        for file in files:
            told = await victim.ask(f"/view?filename={file['filename']}&type={file['type']}")
            assert told[0] == (403 if how == "forbidden" else 404)
        name = sound["outputs"]["6"]["images"][0]["filename"]
        assert (await victim.ask(f"/view?filename={name}"))[0] == 200

    suffer(tmp_path, f"[{{do: no-output, for: 50, how: {how}}}]", test)


def test_a_prompt_can_hang_until_it_is_interrupted(tmp_path: Path) -> None:
    """It runs for as long as nobody interrupts it by its id; the next one is rendered."""

    async def test(victim: Victim) -> None:
        for number in (1, 2):
            await victim.post(number)
        await victim.loop.elapse(2000)
        running = json.loads((await victim.ask("/queue"))[1])["queue_running"]
        assert [hung.prompt for hung in victim.injector.hung] == [running[0][1]]
        await victim.ask("/interrupt", method="POST", body={"prompt_id": "another"})
        await victim.loop.elapse(10)
        assert not victim.sim.record.of(What.INTERRUPTED)
        await victim.ask("/interrupt", method="POST", body={"prompt_id": running[0][1]})
        await victim.loop.elapse(60)
        assert len(victim.sim.record.of(What.INTERRUPTED)) == len(victim.sim.record.of(What.SUCCEEDED)) == 1
        assert victim.injector.hung[0].ended is not None

    suffer(tmp_path, "[{do: hang}]", test)


def test_a_hanging_prompt_may_hear_nothing(tmp_path: Path) -> None:
    """Interrupts change nothing; at last somebody restarts the server, and all is forgotten."""

    async def test(victim: Victim) -> None:
        await victim.post()
        await victim.loop.elapse(100)
        await victim.ask("/interrupt", method="POST", body={})
        await victim.loop.elapse(300)
        assert len(json.loads((await victim.ask("/queue"))[1])["queue_running"]) == 1
        await victim.loop.elapse(300)
        assert json.loads((await victim.ask("/queue"))[1]) == {"queue_running": [], "queue_pending": []}

    suffer(tmp_path, "[{do: hang, how: deaf, for: 500}]", test)


def test_an_address_can_be_gone_for_good(tmp_path: Path) -> None:
    """From then on no connection is accepted."""

    async def test(victim: Victim) -> None:
        assert (await victim.ask("/queue"))[0] == 200
        for _ in range(3):
            await victim.loop.elapse(40_000)
            with pytest.raises(GONE):
                await victim.ask("/queue")

    suffer(tmp_path, "[{at: 5, do: gone-for-good}]", test)


def test_an_address_can_become_a_proxys(tmp_path: Path) -> None:
    """From then on everything is a 404 page."""

    async def test(victim: Victim) -> None:
        for _ in range(3):
            await victim.loop.elapse(40_000)
            told = await victim.ask("/queue")
            assert (told[0], told[1][:6]) == (404, b"<html>")

    suffer(tmp_path, "[{do: gone-for-good, how: page}]", test)


def test_a_fault_can_wait_for_a_number_of_requests(tmp_path: Path) -> None:
    """`after: 3` strikes with the third request and no earlier."""

    async def test(victim: Victim) -> None:
        told = [(await victim.ask("/queue"))[0] for _ in range(4)]
        assert told == [200, 200, 503, 503]
        assert [fault.do for _, fault in victim.injector.happened] == ["unavailable"]

    suffer(tmp_path, "[{after: 3, do: unavailable}]", test)


@pytest.mark.parametrize(
    ("how", "status", "body"),
    [("error", 500, b"500"), ("page", 404, b"<html>"), ("json", 404, b"{"), ("odd", 200, b"{")],
)
def test_a_jobs_api_that_is_none(tmp_path: Path, how: str, status: int, body: bytes) -> None:
    """Whatever is asked of it gets another answer for a while; everything else is answered as ever."""

    async def test(victim: Victim) -> None:
        victim.sim.jobs_api = True
        answer = await victim.ask("/api/jobs/x")
        assert (answer[0], answer[1][: len(body)]) == (status, body)
        assert (await victim.ask("/api/queue"))[0] == 200
        await victim.loop.elapse(600.0)
        assert await victim.ask("/api/jobs/x") == (404, b'{"error": "Job not found"}')

    suffer(tmp_path, f"[{{do: no-jobs, how: {how}}}]", test)


def test_every_kind_can_be_written_down_and_read_back() -> None:
    """A drawn night, written line by line, is the same script when it is read; so is every kind as it usually is."""
    script = (*basic_faults(3, 100), *added_faults(3, 200), *upload_faults(3, 200), *jobs_faults(3, 100))
    assert {fault.do for fault in script} == {do for do, kind in KINDS.items() if kind.often}
    assert [parse(fault.line(), "line")[0].do for fault in script] == [fault.do for fault in script]
    assert parse("\n".join(fault.line() for fault in parse("[{do: slow, by: 2.5}]", "x")), "x") == (
        Fault("slow", lasts=300, by=2.5),
    )
    for do in KINDS.keys() - {"firewall"}:
        assert parse(f"[{{do: {do}}}]", "x") == parse(usual(do).line(), "x") == (usual(do),)
    blocks = Fault("firewall", at=4, text='a "quoted": wish, }')
    assert parse(blocks.line(), "x") == (blocks,)


def test_added_faults_come_on_top_of_the_others() -> None:
    """A bad night holds none of the new kinds, and they are drawn by themselves, each in all its ways."""
    assert not any(fault.kind.added or fault.kind.uploads or fault.kind.jobs for fault in basic_faults(5, 100))
    ways = KINDS["no-jobs"].words["how"]
    assert {(fault.do, fault.how) for fault in jobs_faults(5, 100)} == {("no-jobs", how) for how in ways}
    assert all(fault.kind.uploads for fault in upload_faults(5, 500))
    assert {fault.do for fault in upload_faults(5, 500)} == {do for do, kind in KINDS.items() if kind.uploads}
    drawn = added_faults(5, 500)
    assert all(fault.kind.added for fault in drawn)
    assert {fault.only for fault in drawn} == {"", "view", "post", "history"}
    ways = {"", "lost", "taken", "empty", "temp", "forbidden", "hears", "deaf", *WAYS}
    assert {fault.how for fault in drawn} == ways
    assert {fault.status for fault in drawn} == {0, 401, 403}


def test_a_night_is_the_same_for_the_same_seed() -> None:
    """A seed draws the same faults every time, in the order of their times."""
    assert basic_faults(5, 8) == basic_faults(5, 8) != basic_faults(6, 8)
    assert list(basic_faults(5, 8)) == sorted(basic_faults(5, 8), key=lambda fault: fault.at)


def test_faults_of_the_runner_do_not_happen_to_a_server(tmp_path: Path) -> None:
    """A script with a kill is refused where there is nobody to kill."""
    simulator = Simulator(tmp_path)
    runners = [do for do, kind in KINDS.items() if kind.where is Where.RUNNER]
    for do in runners:
        with pytest.raises(YoursError, match=do):
            FaultInjector(simulator, parse(f"[{{do: {do}}}]", "script"))
    taken: list[Fault] = []
    FaultInjector(simulator, parse("[{do: kill}]", "script"), runner=taken.append)
    with pytest.raises(YoursError, match="a server's address"):
        FaultInjector(simulator, parse("[{do: moves}]", "script"), runner=taken.append)
    FaultInjector(simulator, parse("[{do: moves}]", "script"), moved=taken.append)


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("{do: restart}", "is a list"),
        ("[restart]", "fault 1: expected a mapping"),
        ("[{at: 3}]", "fault 1: `do` is one of"),
        ("[{do: restrat}]", "fault 1: `do` is one of"),
        ("[{do: restart}, {do: [x]}]", "fault 2: `do` is one of"),
        ("[{do: restart, by: 3}]", "'by' means nothing to restart"),
        ("[{do: restart, at: 3, after: 4}]", "either `at` or `after`"),
        ("[{do: restart, at: soon}]", "`at` is a number"),
        ("[{do: restart, at: true}]", "`at` is a number"),
        ("[{do: restart, at: .nan}]", "`at` is a number"),
        ("[{do: restart, for: -1}]", "`for` is not negative"),
        ("[{do: restart, after: 1.5}]", "`after` is a whole number"),
        ("[{do: refuse-token, status: 401.5}]", "`status` is a whole number"),
        ("[{do: page-404, only: queue}]", "`only` is one of view, post, history"),
        ("[{do: page-404, only: 3}]", "`only` is one of view, post, history"),
        ("[{do: hang, how: loudly}]", "`how` is one of hears, deaf"),
        ("[{do: firewall}]", "`text` is a text"),
        ("[{do: firewall, text: 3}]", "`text` is a text"),
        ("[{do: restart, how: deaf}]", "'how' means nothing to restart"),
        ("- {do: restart}\n- {do: ", "script:2: this is neither YAML nor JSON"),
        ("!!python/object:os.system {}", "neither YAML nor JSON"),
        ("x" * 2_000_000, "larger than"),
    ],
)
def test_a_wrong_script_is_told_in_one_line(script: str, complaint: str) -> None:
    """Whatever is wrong with a script of faults is said in one line that names the place."""
    with pytest.raises(YoursError) as told:
        parse(script, "script")
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_json_is_as_good_as_yaml() -> None:
    """A script may be JSON."""
    assert parse(json.dumps([{"at": 5, "do": "wedge"}]), "script") == (Fault("wedge", at=5, lasts=1200),)
