"""One poll of a ComfyUI: its queue and its history, or our own prompts one by one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from batchrunner.comfy import errors, large, wire
from batchrunner.comfy.exchange import MIB
from batchrunner.core.actions import Cause, Entry, Failure, PollResult, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchrunner.comfy.exchange import Answer, Exchange
    from batchrunner.core.actions import Poll, PollEnd
    from batchrunner.core.job import Json

T = TypeVar("T")

_QUEUE, _ENTRY, _RECENT = 32 * MIB, 4 * MIB, 16 * MIB
_AT_ONCE = 4 * MIB
"""The largest queue or history that is read on the event loop."""


class Polls:
    """The polls of one server. `nodes`: only files of these node ids count."""

    def __init__(self, http: Exchange, nodes: Collection[str] | None) -> None:
        self._http = http
        self._nodes = nodes
        self._unread = 0
        """Polls so far that could not read an id."""
        self._last_queue: tuple[bytes, tuple[Row, ...]] = (b"", ())
        """The sha256 of the last queue that was read, and its rows."""

    async def poll(self, action: Poll) -> PollEnd:
        """Find out what became of our prompts: one by one if that is asked for, else by the queue and the history.

        The same poll goes on with these where one by one does not work, unless no connection is made. They alone tell
        how a prompt ended that did not end well, and that one is not there.
        """
        if not action.ends:
            return await self._whole(action)
        ours = await (self._ended(action) if action.history else self._ours(action))
        if isinstance(ours, PollResult) or (ours is not None and _is_unsent(ours)):
            return ours
        whole = await self._whole(action)
        return whole if isinstance(whole, Failure) or action.history else replace(whole, jobs=ours)

    async def _ours(self, action: Poll) -> PollResult | Failure | None:
        """Ask for our prompts as `Poll.ends` says; None where one of them did not end with a file.

        The server reads queue and history in that order for each answer, so no end slips between (docs/comfyui.md §21).
        """
        ended: dict[str, Entry | None] = {}
        date: float | None = None
        for prompt in action.ids:
            path, read = f"/api/jobs/{_quoted(prompt)}", _job(prompt, self._nodes)
            answer = await self._http.json(path, read, _ENTRY, self._http.waits.job)
            if isinstance(answer, Failure):
                return answer
            job, date = answer
            if not isinstance(job, Entry):
                return None if job is None else PollResult((job,), ended, date=date, own=True, by_jobs=True)
            ended[prompt] = job
            if len(ended) == action.ends:
                break
        return PollResult((), ended, date=date, own=True, by_jobs=True)

    async def _ended(self, action: Poll) -> PollResult | Failure | None:
        """Ask the history for as many of our prompts as should have ended; None where one has not, as far as it says.

        Each was posted once, so that what the history has of it is how it ended.
        """
        ended: dict[str, Entry | None] = {}
        date: float | None = None
        for prompt in action.ids[: action.ends]:
            answer = await self._http.json(f"/history/{_quoted(prompt)}", _one(prompt, self._nodes), _ENTRY)
            if isinstance(answer, Failure):
                return answer
            entry, date = answer
            if entry is None:
                return None
            ended[prompt] = entry
        return PollResult((), ended, date=date, own=True)

    async def _whole(self, action: Poll) -> PollEnd:
        """Read the queue, then the history of each id, then its end: that order, else a finish slips between.

        An id that the queue shows is not asked for again: it lives, whatever an earlier run of it left behind. A
        history that can't be read is `unread`, and the queue counts all the same. After a quick failure the other ids
        are asked for; after the first time-out, or where no connection is made, nothing more is. The next poll begins
        with another id then: a proxy that passes every third request to a dead server must not hide the same id for
        ever, nor an entry that is never answered all behind it.
        """
        seen = await self._queue()
        if isinstance(seen, Failure):
            return seen
        history: dict[str, Entry | None] = {}
        date, failed = seen.date, None
        alive = {row.prompt for row in seen.queue}
        ids = [prompt for prompt in action.ids if prompt not in alive]
        first = self._unread % len(ids) if ids else 0
        for prompt in (*ids[first:], *ids[:first]):
            entry = await self._http.json(f"/history/{_quoted(prompt)}", _one(prompt, self._nodes), _ENTRY)
            if isinstance(entry, Failure):
                failed = failed or entry
                if entry.timed_out or _is_unsent(entry):
                    break
                continue
            found, date = entry
            if found is not None or seen.unread is None:
                history[prompt] = found
        self._unread += failed is not None
        recent: tuple[Entry, ...] = ()
        if action.recent and failed is None:
            last = await self._recent(action.recent)
            recent, failed = ((), last) if isinstance(last, Failure) else (last, None)
        return PollResult(seen.queue, history, recent, date, seen.unread or failed)

    async def _queue(self) -> PollResult | Failure:
        """Read the queue. Of one that is larger than the cap the rows that came count, and the rest is `unread`."""
        answer = await self._http.exchange("/queue", _QUEUE, part=True)
        if isinstance(answer, Failure):
            return answer
        unread = self._http.too_large(_QUEUE) if answer.cut else None
        read = partial(self._once, lambda body: wire.queue(wire.parse(body)))
        rows = await self._rows(answer, read, partial(self._once, partial(large.queue, cut=answer.cut)))
        if isinstance(rows, Failure):
            return unread or rows
        return PollResult(rows, {}, date=answer.date, unread=unread)

    async def _recent(self, items: int) -> tuple[Entry, ...] | Failure:
        """Return the last entries of the history, fewer than asked for where so many are larger than the cap.

        There are none where a single entry is, or where the server has no such list: it is a convenience.
        """
        while items:
            answer = await self._http.exchange(f"/history?max_items={items}", _RECENT)
            if isinstance(answer, Failure):
                return answer
            if answer.status == 404:
                return ()
            if not answer.cut:
                scan = partial(large.recent, nodes=self._nodes)
                return await self._rows(answer, lambda body: wire.recent(wire.parse(body), self._nodes), scan)
            items //= 2
        return ()

    def _once(self, read: Callable[[bytes | bytearray], tuple[Row, ...]], body: bytes | bytearray) -> tuple[Row, ...]:
        """Read a queue, unless it is the last one again: most polls bring the very same while a video renders."""
        digest = sha256(body).digest()
        if digest != self._last_queue[0]:
            self._last_queue = (digest, read(body))
        return self._last_queue[1]

    async def _rows(
        self,
        answer: Answer,
        read: Callable[[bytes | bytearray], T],
        scan: Callable[[bytes | bytearray], T],
    ) -> T | Failure:
        """Read a queue or a history: at once if it is small, else row by row in a thread."""
        failure = self._http.no_json(answer)
        if failure is not None:
            return failure
        try:
            if len(answer.body) <= _AT_ONCE:
                with suppress(wire.TooLargeError):
                    return read(answer.body)
            return await asyncio.get_running_loop().run_in_executor(None, scan, answer.body)
        except wire.WrongShapeError as error:
            return errors.of_answer(self._http.where, str(error))


def _quoted(prompt: str) -> str:
    return quote(prompt, safe="", errors="surrogatepass")


def _is_unsent(failure: Failure) -> bool:
    """Whether no connection was made: another request would not get there either."""
    return not failure.sent or failure.cause is Cause.LOCAL


def _job(prompt: str, nodes: Collection[str] | None) -> Callable[[Json], Row | Entry | None]:
    return lambda value: wire.job(value, prompt, nodes)


def _one(prompt: str, nodes: Collection[str] | None) -> Callable[[Json], Entry | None]:
    return lambda value: wire.history(value, prompt, nodes)
