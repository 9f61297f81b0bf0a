"""Delivers messages to people beside the engine, and never delays or harms the batch.

Three ways, each a function that tries once and returns what went wrong: `post` to a webhook, `run_program` for the
user's own command, `run_apprise` for every other service. A `Notifier` watches the batch: receiving an event only puts
a message into one bounded `Outbox` per target; the end of a run waits for the outboxes no longer than `Timing.drain`.

A URL to post to is a secret, since whoever knows it may post there: it stands in no message, error, traceback, log or
command line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import aiohttp
from yarl import URL

from batchrunner.errors import BatchrunnerError, BusyError, YoursError
from batchrunner.notify.messages import EventFilter
from batchrunner.text import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from batchrunner.manifest.batch import Recipient
    from batchrunner.notify.messages import Message
    from batchrunner.show.events import RunEvent

# -- The ways to deliver a message. Each call is one try.


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A try that failed."""

    reason: str
    """What to say after the target's name; holds no secret."""
    retry: bool = False
    """Whether another try may help, and can do no harm."""


Deliver: TypeAlias = Callable[[bytes, float], Awaitable[Undelivered | None]]
"""Hands over a message as JSON within so many seconds; returns what went wrong, None if nothing did."""

_CONNECTION_ERRORS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "can't be found: its name does not resolve"),
    (aiohttp.ClientSSLError, "has a certificate that can't be verified, or does not speak TLS"),
    (aiohttp.ClientConnectorError, "can't be reached"),
    (TimeoutError, "did not answer in time"),
    (Exception, "closed the connection without a valid answer"),
)
"""From the special to the general. The errors' own texts are never shown: aiohttp's quote the whole URL."""


async def post(url: URL, body: bytes, limit: float) -> Undelivered | None:
    """POST to a webhook, without a proxy or netrc of the environment.

    A redirect is not followed: the message is not meant for the server it leads to.
    """
    try:
        async with aiohttp.request(
            "POST",
            url,
            data=body,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=limit),
            allow_redirects=False,
        ) as answer:
            status = answer.status
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Undelivered(next(text for kind, text in _CONNECTION_ERRORS if isinstance(error, kind)), retry=True)
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Undelivered(f"answered with a redirect ({status}), which is not followed")
    return Undelivered(f"answered {status}", retry=status >= 500 or status in {408, 425, 429})


async def run_program(
    command: Sequence[str], environment: Mapping[str, str], content: bytes, limit: float, *, retry_exit: int = 0
) -> Undelivered | None:
    """Run a program, without a shell, with `content` on its input; only exit `retry_exit` is worth another try.

    It gets a process group of its own, and is killed with everything it started after `limit` seconds, or when this
    call is cancelled.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its arguments can't be passed on"
        return Undelivered(f"can't be started: {reason}")
    try:
        async with asyncio.timeout(limit):
            await child.communicate(content)
            code = await child.wait()
    except TimeoutError:
        return Undelivered(f"did not end within {limit:g} s and was killed")
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if child.stdin is not None:
                child.stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await child.wait()
    if code < 0:
        return Undelivered(f"was ended by signal {-code}")
    return Undelivered(f"ended with exit {code}", retry=code == retry_exit) if code else None


_APPRISE = (sys.executable, "-P", "-X", "utf8", "-c", "from apprise.cli import main; main()", "--storage-mode=memory")


async def run_apprise(url: str, environment: Mapping[str, str], body: bytes, limit: float) -> Undelivered | None:
    """Have apprise's own command tell title and text to the services of `url`.

    A command can be killed; inside this process apprise could not be stopped, and would delay the end of the run.
    Exit 1 says that it could not deliver; after the others another try would repeat what was delivered, or be in vain.
    """
    message = json.loads(body)
    command = (*_APPRISE, f"--title={message['title']}")
    # Other users can read a command line, but not an environment.
    environment = {**environment, "APPRISE_URLS": url}
    return await run_program(command, environment, message["message"].encode("utf-8"), limit, retry_exit=1)


# -- Whom to tell.


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go, and which."""

    name: str
    """What to call it in messages to people: no secret."""
    deliver: Deliver
    on: frozenset[str]
    """The kinds of message it gets."""
    topic: str = ""
    """For ntfy."""


def targets(
    recipients: Iterable[Recipient], environment: Mapping[str, str], secrets: tuple[str, ...] = ()
) -> tuple[Target, ...]:
    """Return the targets that a manifest's recipients name; sends nothing.

    No program is given a variable that holds one of `secrets`, which are for the servers alone. Raises YoursError, with
    a line per problem and no URL, if a variable is not set or holds no URL, or if apprise is wanted and not installed.
    """
    shared = shared_environment(environment, secrets)
    found: list[Target] = []
    problems: dict[str, None] = {}
    for recipient in recipients:
        try:
            name, deliver = _way(recipient, environment, shared)
            found.append(Target(name, deliver, recipient.on, recipient.topic))
        except ValueError as error:
            problems[f"notify: {error}"] = None
    if problems:
        raise YoursError("\n".join(problems))
    return tuple(found)


def shared_environment(environment: Mapping[str, str], secrets: tuple[str, ...]) -> Mapping[str, str]:
    """Return the environment for a program: without the variables that hold one of `secrets`."""
    return {name: value for name, value in environment.items() if not any(secret in value for secret in secrets)}


def _way(recipient: Recipient, environment: Mapping[str, str], shared: Mapping[str, str]) -> tuple[str, Deliver]:
    """Return the name of a target and how to deliver to it. Raises ValueError, without the URL."""
    if command := recipient.command:
        name = printable(Path(command[0]).name or command[0], 60)
        return name, lambda body, limit: run_program(command, shared, body, limit)
    variable = recipient.url_env or recipient.apprise_env
    text = environment.get(variable, "").strip()
    if not text:
        raise ValueError(f"the environment variable {variable} is not set")
    if recipient.apprise_env:
        if find_spec("apprise") is None:
            raise ValueError("apprise is not installed: pip install 'batchrunner[notify]'")
        return f"apprise ({variable})", lambda body, limit: run_apprise(text, shared, body, limit)
    with suppress(ValueError):
        url = URL(text)
        if url.scheme in ("http", "https") and url.host and url.port and text.isprintable() and " " not in text:
            return url.host, lambda body, limit: post(url, body, limit)
    raise ValueError(f"the environment variable {variable} is not a URL that begins with http:// or https://")


# -- The messages that wait for each target.


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take; all in seconds."""

    delivery: float = 10.0
    """One try."""
    retries: tuple[float, ...] = (1.0, 10.0, 60.0)
    """The pause before each further try, where one may help."""
    gather: float = 60.0
    """Between two messages about failed jobs."""
    drain: float = 10.0
    """At the end of the run, for everything that is left."""


_MAX_WAITING = 32
"""Messages that wait for one target; a further one replaces the oldest, which is the most out of date."""


class Outbox:
    """The messages that wait for one target, delivered one after the other; no target waits for another's.

    `tell` is called with the first failure, and by `account` with how many messages did not arrive; it must not raise.
    """

    def __init__(self, target: Target, timing: Timing, tell: Callable[[str], None]) -> None:
        self._target = target
        self._timing = timing
        self._tell = tell
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(_MAX_WAITING)
        self._ending = asyncio.Event()
        self._put = self._delivered = self._told = 0

    def put(self, message: Message) -> None:
        """Take in a message if the target asked for its kind; never waits."""
        if message.kind(self._target.on) is None:
            return
        if self._waiting.full():
            self._waiting.get_nowait()
            self._waiting.task_done()
        self._waiting.put_nowait(message)
        self._put += 1

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            message = await self._waiting.get()
            try:
                await self._deliver(message)
            finally:
                self._waiting.task_done()

    async def empty(self) -> None:
        """Return once everything is delivered or given up; from now on pauses are short."""
        self._ending.set()
        await self._waiting.join()

    def account(self) -> None:
        """Tell how many messages did not arrive, unless that was told."""
        missed = self._put - self._delivered
        if missed > self._told:
            self._told = missed
            self._tell(f"notify: {missed} of {self._put} messages did not reach {self._target.name}")

    async def _deliver(self, message: Message) -> None:
        failure = await self._try(message)
        for pause in self._timing.retries:
            # At the end, only the last message is worth further tries: it tells how the run ended.
            if failure is None or not failure.retry or (self._ending.is_set() and not self._waiting.empty()):
                break
            await self._pause(pause)
            failure = await self._try(message)
        if failure is None:
            self._delivered += 1
        elif not self._told:
            self._told = 1
            self._tell(f"notify: {self._target.name} {failure.reason}; the batch goes on")

    async def _try(self, message: Message) -> Undelivered | None:
        try:
            body = message.body(self._target.on, self._target.topic)
            return await self._target.deliver(body, self._timing.delivery)
        except Exception as error:  # noqa: BLE001 - no failed message may cost a video
            return Undelivered(f"got no message, by a bug in batchrunner ({type(error).__name__})")

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
            await asyncio.sleep(min(seconds, self._timing.retries[0]))


# -- The listener of a run that sends messages.

_DEFAULT = Timing()


class Notifier:
    """Watches one batch on behalf of `targets`; a `show.listeners.Listener`.

    `tell` is called, with one line that holds no secret, once per target that can't be reached, and at the end with
    how many messages did not arrive. `wall` is the wall clock, in seconds since the epoch.
    """

    def __init__(
        self,
        batch: str,
        targets: Iterable[Target],
        tell: Callable[[str], None],
        timing: Timing = _DEFAULT,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._filter = EventFilter(batch)
        self._outboxes = [Outbox(target, timing, tell) for target in targets]
        self._timing = timing
        self._wall = wall
        self._failed = asyncio.Event()
        self._drained = False

    def event(self, event: RunEvent) -> None:
        """Receive an event, until drained. Quick: nothing is sent here."""
        if self._drained:
            return
        self._put(self._filter.event(event))
        if self._filter.failed:
            self._failed.set()

    def tick(self, view: object) -> None:
        """Do nothing: only events are told."""

    def close(self) -> None:
        """Do nothing: `drain` delivers what is left."""

    async def drain(self) -> None:
        """Deliver what is left, within `Timing.drain` seconds; then tell what did not arrive. Once is enough.

        Drain before the other listeners receive `finished`, so that `finished` is the last line they print.
        """
        if self._drained:
            return
        self._drained = True
        self._put(self._filter.failures(self._wall()))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.drain):
                await asyncio.gather(*(outbox.empty() for outbox in self._outboxes))
        for outbox in self._outboxes:
            outbox.account()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Notifier]:
        """Deliver while the block runs, and drain after it. An error that ends the block is told too, and raised."""
        delivering = asyncio.create_task(self._run())
        try:
            yield self
        except (YoursError, BusyError):
            raise  # Nothing was started, and whoever typed the command sees the error.
        except Exception as error:
            bug = BatchrunnerError(f"a bug in batchrunner ({type(error).__name__})")
            told = error if isinstance(error, BatchrunnerError) else bug
            self._put(self._filter.broken_off(self._wall(), told.exit_code, str(told)))
            await self.drain()
            raise
        else:
            await self.drain()
        finally:
            delivering.cancel()
            await asyncio.wait([delivering])

    async def _run(self) -> None:
        """Deliver until cancelled, to every target at its own pace."""
        async with asyncio.TaskGroup() as task_group:
            task_group.create_task(self._tell_failures())
            for outbox in self._outboxes:
                task_group.create_task(outbox.run())

    async def _tell_failures(self) -> None:
        """Tell the first failed job at once, and those of the following minute together."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            self._put(self._filter.failures(self._wall()))
            await asyncio.sleep(self._timing.gather)

    def _put(self, message: Message | None) -> None:
        if message is not None:
            for outbox in self._outboxes:
                outbox.put(message)
