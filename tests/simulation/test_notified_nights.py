"""Somebody to notify who does not listen: the batch is done at the same time as without."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from sick import sick

from batchrunner.notify import Kind, Notifier, Target, Timing, Undelivered
from tests.lab.clock import VirtualLoop
from tests.lab.nights.calm_run import CalmRun, simulate

if TYPE_CHECKING:
    from tests.lab.nights.report import Report

OUTAGE = 600.0
JITTER = 3.0
"""Seconds: polls fall a little otherwise, as soon as anything else happens on the loop."""


class Phone:
    """A place to post to, in memory, that is of no use until a second of the loop's clock."""

    name = "phone"

    def __init__(self, trouble: str, until: float) -> None:
        self._trouble = trouble
        self._until = until
        self._runner: web.AppRunner | None = None
        self.tries = 0
        self.heard: list[str] = []

    async def deliver(self, body: bytes, limit: float) -> Undelivered | None:
        """POST once, as a webhook does."""
        self.tries += 1
        if self._runner is None:
            await self._plug_in()
        timeout = aiohttp.ClientTimeout(total=limit)
        try:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(self.name), timeout=timeout) as http:
                answer = await http.post("http://phone/", data=body)
        except (aiohttp.ClientError, TimeoutError):
            return Undelivered("can't be reached", retry=True)
        return None if answer.status == 200 else Undelivered(f"answered {answer.status}", retry=True)

    async def _plug_in(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        link = loop.network.link(self.name)
        if self._trouble == "refuses":
            link.refuses_until = self._until
        if self._trouble == "hangs":
            link.silent_until = self._until
        application = web.Application()
        application.router.add_post("/", self._answer)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, self.name).start()

    async def _answer(self, request: web.Request) -> web.Response:
        if self._trouble == "answers 500" and asyncio.get_running_loop().time() < self._until:
            return web.Response(status=500)
        self.heard.append(json.loads(await request.read())["event"])
        return web.Response()


def night(*phones: Phone) -> Report:
    """Let a night pass whose server is ill for five minutes: its rest is news, and so is the end."""
    targets = [Target(phone.name, phone.deliver, frozenset(Kind)) for phone in phones]
    return simulate(CalmRun(2, jobs=4, machine=sick(300.0), notifier=lambda tell: Notifier("quiet", targets, tell)))


@pytest.fixture(scope="module")
def alone() -> Report:
    """Return the same night with nobody to tell."""
    return night()


@pytest.mark.parametrize("trouble", ["hangs", "refuses", "answers 500"])
def test_who_does_not_listen_for_ten_minutes_delays_nothing(alone: Report, trouble: str) -> None:
    """A target that hangs, refuses or answers 500 for ten minutes costs the batch no time; then it hears the end."""
    phone = Phone(trouble, OUTAGE)
    told = night(phone)
    assert len(told.saved_at) == 4
    assert told.saved_at[-1] == pytest.approx(alone.saved_at[-1], abs=JITTER)
    assert told.ended == pytest.approx(alone.ended, abs=JITTER)
    assert phone.tries == 4 + 1
    assert phone.heard == ["finished"]


def test_who_never_listens_costs_the_drain(alone: Report) -> None:
    """A target that never listens costs the batch no time, and the last word the ten seconds of the drain."""
    told = night(Phone("hangs", 1e9))
    assert told.saved_at[-1] == pytest.approx(alone.saved_at[-1], abs=JITTER)
    assert told.ended <= alone.ended + Timing().drain + JITTER
    assert "2 of 2 messages did not reach phone" in " ".join(event.message for _, event in told.news)
