"""Polls that ask for our prompts one by one: what is asked, and what follows where that does not work."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from answering import TOKEN, answering, client, respond, tells
from films import PREFIX, graph

from batchrunner.comfy import wire
from batchrunner.comfy.client import Client, session
from batchrunner.comfy.exchange import Timeouts
from batchrunner.comfy.wire import WrongShapeError
from batchrunner.core.actions import Ended, Entry, Failure, Poll, PollResult, Row
from batchrunner.core.facts import File
from batchrunner.core.job import attempt_digest
from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Handler

    from batchrunner.core.job import Json

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "sim" / "fixtures" / "jobs.json").read_text("utf-8")
)
IDS = tuple(str(uuid.UUID(int=number)) for number in range(1, 4))
A, B, C = IDS
HEAVY = {"extra_pnginfo": {"workflow": {"nodes": ["x" * 100_000]}}}
JSON = "application/json"


@dataclass
class Here:
    """A simulator, a client, and what it asked for with how many bytes came."""

    sim: Simulator
    client: Client
    asked: list[str] = field(default_factory=list)
    bytes: int = 0

    def post(self, prompt: str, extra_data: Json = None) -> None:
        """Queue a prompt that saves a picture."""
        prefix = f"cats-0123456789ab-a{prompt[-1]}"
        workflow: Json = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
        }
        body: Json = {"prompt": workflow, "prompt_id": prompt, "extra_data": extra_data or {}}
        assert self.sim.submit(body)[0] == 200

    async def poll(self, *ids: str, ends: int = 9, history: bool = False) -> PollResult:
        """Poll for these."""
        self.asked.clear()
        result = await self.client.poll(Poll("s", ids, ends=ends, history=history))
        assert isinstance(result, PollResult)
        return result


@asynccontextmanager
async def simulator(folder: Path, *, jobs_api: bool = True) -> AsyncIterator[Here]:
    """Run a simulator on which the second prompt takes for ever."""
    sim = Simulator(folder, pace=Pace.instant(), jobs_api=jobs_api, strict=False)

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        here.asked.append(request.path)
        response = await handler(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            here.bytes += len(response.body)
        return response

    application = sim.application()
    application.middlewares.insert(0, watch)
    async with serve(sim, application=application) as url, session() as http:
        here = Here(sim, Client(url, http))
        yield here


def hold_second(here: Here) -> None:
    """Let the second prompt hang."""

    async def hold(prompt: Any, _node: str) -> None:
        if prompt.id == B:
            await asyncio.Event().wait()

    here.sim.machine.hold = hold


async def test_a_finished_job_is_one_request(tmp_path: Path) -> None:
    """Its files, its times and what it rendered, as the history has them; no queue, no list, nobody else's workflow."""
    async with simulator(tmp_path) as here:
        hold_second(here)
        for prompt in IDS:
            here.post(prompt)
        here.post("somebody-else", HEAVY)
        await here.sim.record.until(What.SUCCEEDED)
        one = await here.poll(*IDS, ends=1)
        assert here.asked == [f"/api/jobs/{A}"]
        assert here.bytes < 4_000
        assert (one.own, one.queue, one.jobs, list(one.history)) == (True, (), None, [A])
        before = here.bytes
        whole = await here.poll(*IDS, ends=0)
        assert here.asked == ["/queue", f"/history/{A}"]
        assert here.bytes - before > 100_000
        assert not whole.own
        assert one.history == whole.history
        entry = one.history[A]
        assert isinstance(entry, Entry)
        assert [file.name for file in entry.files] == [f"{PREFIX}_00001_.png"]
        assert entry.digest
        assert (one.date is None) is (whole.date is None) is False


async def test_no_more_is_asked_for_than_until_one_that_has_not_ended(tmp_path: Path) -> None:
    """Behind a prompt that runs or waits nothing can have ended."""
    async with simulator(tmp_path) as here:
        hold_second(here)
        for prompt in IDS:
            here.post(prompt)
        await here.sim.record.until(What.SUCCEEDED)
        result = await here.poll(*IDS)
        assert here.asked == [f"/api/jobs/{A}", f"/api/jobs/{B}"]
        assert (result.queue, list(result.history)) == ((Row(B, 1.0, running=True),), [A])
        assert (await here.poll(C, ends=1)).queue == (Row(C, 2.0, running=False),)


async def test_an_unknown_id_is_looked_for_in_queue_and_history(tmp_path: Path) -> None:
    """`Job not found` proves nothing alone: the same poll reads the rest, and says that nobody has it."""
    async with simulator(tmp_path) as here:
        result = await here.poll(A)
        assert here.asked == [f"/api/jobs/{A}", "/queue", f"/history/{A}"]
        assert (result.own, result.history) == (False, {A: None})
        assert result.jobs is not None
        assert result.jobs.not_found


async def test_a_told_end_is_one_request_to_the_history(tmp_path: Path) -> None:
    """Where there is no such route, `/history/{id}` alone tells of an end; of one that has not come all is read."""
    async with simulator(tmp_path, jobs_api=False) as here:
        hold_second(here)
        for prompt in IDS:
            here.post(prompt)
        here.post("somebody-else", HEAVY)
        await here.sim.record.until(What.SUCCEEDED)
        one = await here.poll(*IDS, ends=1, history=True)
        assert here.asked == [f"/history/{A}"]
        assert (one.own, one.by_jobs, one.queue, list(one.history)) == (True, False, (), [A])
        whole = await here.poll(*IDS, ends=2, history=True)
        assert here.asked == [f"/history/{A}", f"/history/{B}", "/queue", f"/history/{A}"]
        assert (whole.own, whole.jobs, whole.history) == (False, None, one.history)


async def test_a_history_that_fails_is_read_behind_the_queue() -> None:
    """The same poll goes on with the queue, and nothing is told of a route that was not asked."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/queue":
            return web.json_response({"queue_running": [], "queue_pending": []})
        return web.Response(status=500)

    async with answering(answer) as place, client(place) as comfy:
        result = await comfy.poll(Poll("s", (A,), ends=1, history=True))
    assert [asked.path for asked in place.asked] == [f"/history/{A}", "/queue", f"/history/{A}"]
    assert isinstance(result, PollResult)
    assert (result.own, result.jobs) == (False, None)
    assert result.unread is not None


async def test_a_bad_end_is_read_in_the_history(tmp_path: Path) -> None:
    """A job that failed, or left no file, may be an earlier run of one that is queued again: the queue decides."""
    async with simulator(tmp_path) as here:
        here.post(A)
        await here.sim.idle()
        kept: Any = here.sim.prompts.history[A]
        kept["outputs"] = {}
        assert (await here.poll(A)).jobs is None
        kept["status"]["messages"][-1][0] = "execution_error"
        hold_second(here)
        here.post(B)
        here.post(A)
        result = await here.poll(A)
        assert here.asked == [f"/api/jobs/{A}", "/queue"]
        assert (result.jobs, result.history) == (None, {})
        assert [row.prompt for row in result.queue] == [B, A]


async def test_an_older_server_costs_one_request_more(tmp_path: Path) -> None:
    """0.3.64 answers 404; the same poll goes on with queue and history, and tells why."""
    async with simulator(tmp_path, jobs_api=False) as here:
        here.post(A)
        await here.sim.idle()
        result = await here.poll(A)
        assert here.asked == [f"/api/jobs/{A}", "/queue", f"/history/{A}"]
        assert isinstance(result.history[A], Entry)
        assert result.jobs is not None
        assert (result.jobs.status, result.jobs.page) == (404, False)


JOBS: dict[str, tuple[Callable[[web.Request], Awaitable[web.StreamResponse]], int | None, bool]] = {
    "405": (respond(405, b"405: Method Not Allowed", Content_Type="text/plain"), 405, False),
    "500": (respond(500, b"500 Internal Server Error", Content_Type="text/plain"), 500, False),
    "403": (respond(403, b"{}", Content_Type=JSON), 403, False),
    "302": (respond(302, Location="/login"), 302, False),
    "a 404 page": (respond(404, b"<html>", Content_Type="text/html"), 404, True),
    "a 200 page": (respond(200, b"<html>", Content_Type="text/html"), 200, True),
    "no JSON": (respond(200, b"{", Content_Type=JSON), None, False),
    "the list": (tells({"jobs": [], "pagination": {}}), None, False),
    "another job": (tells(RECORDED["pending"]), None, False),
    "a new status": (tells({"id": A, "status": 7}), None, False),
    "no workflow": (tells({**RECORDED["completed"], "id": A, "workflow": None}), None, False),
    "no outputs": (tells({**RECORDED["completed"], "id": A, "outputs": None}), None, False),
}


@pytest.mark.parametrize("what", JOBS)
async def test_whatever_else_comes_the_same_poll_goes_on(what: str) -> None:
    """Queue and history are read at once, nothing has failed, and what came is told."""
    jobs, status, page = JOBS[what]

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api/jobs"):
            return await jobs(request)
        return web.json_response({"queue_running": [], "queue_pending": []} if request.path == "/queue" else {})

    async with answering(answer) as place, client(place) as comfy:
        result = await comfy.poll(Poll("s", (A, B), ends=1))
    assert [asked.path for asked in place.asked] == [f"/api/jobs/{A}", "/queue", f"/history/{A}", f"/history/{B}"]
    assert isinstance(result, PollResult)
    assert result.jobs is not None
    assert (result.jobs.status, result.jobs.page, result.unread, result.own) == (status, page, None, False)
    assert TOKEN not in repr(result)


async def test_a_job_is_not_waited_for_as_long_as_a_queue() -> None:
    """A route that hangs costs a few seconds, and no poll."""

    async def silent(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api/jobs"):
            await asyncio.Event().wait()
        return web.json_response({"queue_running": [[1, A, {}, {}, []]], "queue_pending": []})

    async with answering(silent) as place, client(place, waits=Timeouts(job=0.05)) as comfy:
        end = await comfy.poll(Poll("s", (A,), ends=1))
    assert isinstance(end, PollResult)
    assert end.jobs is not None
    assert end.jobs.timed_out
    assert [row.prompt for row in end.queue] == [A]


async def test_where_nothing_is_answered_the_poll_ends() -> None:
    """Without a connection nothing more is tried; a queue that can't be read is a failed poll."""
    async with session() as http:
        end = await Client("http://127.0.0.1:9", http).poll(Poll("s", (A,), ends=1))
    assert isinstance(end, Failure)
    assert not end.sent
    async with answering(respond(502, b"{}", Content_Type=JSON)) as place, client(place) as comfy:
        assert isinstance(await comfy.poll(Poll("s", (A,), ends=1)), Failure)
    assert [asked.path for asked in place.asked] == [f"/api/jobs/{A}", "/queue"]


# -- what an answer means


def job(status: str = "completed", **changes: Any) -> dict[str, Any]:
    """Return a recorded job with a workflow of ours in it."""
    made = {"images": [{"filename": f"{PREFIX}_00001_.mp4", "subfolder": "", "type": "output"}], "animated": [True]}
    whole = {**RECORDED[status], "id": A}
    if status == "completed":
        whole |= {"workflow": {"prompt": graph(PREFIX), "extra_data": {}}, "outputs": {"9": made}}
    return {**whole, **changes}


def test_a_completed_job_is_the_entry_of_its_history() -> None:
    """Ended, files, prefixes, times and digest come out of the one answer."""
    entry = wire.job(job(), A)
    assert isinstance(entry, Entry)
    assert (entry.prompt, entry.ended, entry.files) == (A, Ended.SUCCESS, (File(f"{PREFIX}_00001_.mp4"),))
    assert (entry.prefixes, entry.began, entry.finished) == ((PREFIX,), 1795828715.88, 1795828715.902)
    assert entry.digest == attempt_digest(graph(PREFIX), (PREFIX,)) != ""
    assert wire.job(job(), A, nodes={"7"}) is None


def test_what_has_not_ended_is_a_row() -> None:
    """A running job and a waiting one, with its number; newer servers add its workflow, which nobody needs."""
    assert wire.job(job("in_progress"), A) == Row(A, 388.0, running=True)
    assert wire.job(job("pending", workflow={"prompt": {}}), A) == Row(A, 389.0, running=False)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_any_other_end_is_not_told(status: str) -> None:
    """The history tells more of it, and the queue whether it is there once more."""
    assert wire.job(job(status), A) is None
    assert wire.job(job(outputs={}), A) is None
    odd = {"status_str": "success", "messages": [["execution_interrupted", {}]]}
    assert wire.job(job(execution_status=odd), A) is None
    assert wire.job({**job(), "status": "archived"}, A) is None


@pytest.mark.parametrize(
    "value",
    [[], {}, job(id=B), {**job(), "status": None}, job(workflow={}), job(outputs=[]), job(execution_status=None)],
)
def test_a_job_of_another_shape_is_not_believed(value: Any) -> None:
    """Nothing is concluded from what is not a job, or not this one."""
    with pytest.raises(WrongShapeError):
        wire.job(value, A)
