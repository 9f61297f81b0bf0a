"""A ComfyUI 0.3.64 without a GPU that behaves as docs/comfyui.md says the real one does, faults included."""

from __future__ import annotations

import asyncio
import contextvars
import shutil
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from random import Random
from typing import TYPE_CHECKING

from aiohttp import web

from batchrunner.sim.execute import Execution
from batchrunner.sim.files import Folders
from batchrunner.sim.graph import NodeCache
from batchrunner.sim.machine import Machine, Pace, WedgedError
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.nodes import Models, catalogue
from batchrunner.sim.prompts import Prompts, post_prompt
from batchrunner.sim.record import Record, What
from batchrunner.sim.routes import BODY_LIMIT, Gateway, Routes
from batchrunner.sim.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine
    from pathlib import Path

    from batchrunner.core.job import Json
    from batchrunner.sim.media import Renderer
    from batchrunner.sim.prompts import SimPrompt
    from batchrunner.sim.record import SimEvent


@dataclass(eq=False)
class Simulator:
    """One server. `folder` holds its output, temp and input; everything else it knows is in memory.

    It waits only on the event loop, reads only the clock `wall` and draws only from `seed`, so it runs in virtual time.
    """

    folder: Path
    _: KW_ONLY
    pace: Pace = field(default_factory=Pace)
    token: str | None = None
    """The bearer token that the proxy in front asks for; may be replaced at any time. None: no proxy."""
    ttl: float | None = 600.0
    """The age in seconds at which an output file is deleted; None keeps files. A change counts from the next sweep."""
    sweep_every: float | None = None
    """Seconds between two sweeps; None sweeps twenty times per `ttl`."""
    renderer: Renderer = field(default_factory=BoxRenderer)
    """PyavRenderer makes real videos."""
    wall: Callable[[], float] = time.time
    listener: Callable[[SimEvent], None] | None = None
    """Called with each new event of the record."""
    cache: NodeCache = field(default_factory=NodeCache)
    models: Models = field(default_factory=Models)
    seed: int = 0
    metadata: bool = True
    """Whether files carry their workflow; False is `--disable-metadata`."""
    new_server: bool = False
    """Behave as newer servers do where they are stricter: ids, choices, extra_data (docs/comfyui.md §1)."""
    jobs_api: bool = False
    """Answer `GET /api/jobs/{id}` as 0.33 does (docs/comfyui.md §21); may be changed at any time."""
    strict: bool = True
    """Refuse unknown node classes, models, input files and other choices; else any workflow runs, to rehearse it."""
    own_ids: bool = False
    """Behave as an old server that ignores the client's `prompt_id`."""

    def __post_init__(self) -> None:
        """Assemble the machine."""
        self.record = Record(self.wall, self.listener)
        self.folders = Folders(self.folder, self.wall)
        self.known = catalogue(self.models, self.folders.inputs)
        """The node classes of a strict server."""
        self.catalogue = dict(self.known)
        """The node classes by now: a server that is not strict learns those of each posted workflow."""
        self.sockets = Sockets()
        self.prompts = Prompts()
        self.machine = Machine(
            self.folders, self.cache, self.pace, self.renderer, self.record, self.sockets, self.catalogue, self.wall
        )
        """What executes prompts; its pace, renderer, fault and hold may be changed at any time."""
        self.machine.metadata, self.machine.strict = self.metadata, self.strict
        self._gateway = Gateway(self)
        self._random = Random(self.seed)  # noqa: S311 - ids of a simulation, which must repeat
        self._execution: Execution | None = None
        self._executing: asyncio.Task[None] | None = None
        self._background: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._freeing = False
        self.wedged = False
        """Whether executing has stopped for good."""
        self._context = contextvars.Context()

    def application(self) -> web.Application:
        """Return an aiohttp application to mount on any site; `start` makes it execute."""
        application = web.Application(client_max_size=BODY_LIMIT, middlewares=[self._gateway.middleware])
        application.on_response_prepare.append(self._gateway.stamp)
        Routes(self).add_to(application)
        return application

    async def start(self) -> None:
        """Begin to execute prompts and to clean up."""
        self._context = contextvars.copy_context()
        self._executing = self._begin(self._execute())
        self._background = [self._begin(self._clean_up()), self._begin(self.sockets.deliver_all())]

    async def stop(self) -> None:
        """Stop both; only files remain. Raises the error that ended either before, which is a bug."""
        ending = [loop for loop in (self._executing, *self._background) if loop is not None]
        self._executing, self._background = None, []
        for loop in ending:
            loop.cancel()
        for result in await asyncio.gather(*ending, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        await self.sockets.close()

    def restart(self, down: float = 0.0) -> None:
        """Kill the server and start it again: queue, running prompt, history, cache and counter are gone, files stay.

        For `down` seconds it answers nothing: resets without a proxy, 502 with one (docs/comfyui.md §8).
        """
        lost = self.prompts.remaining
        was_running = self._executing is not None
        self._kill()
        self.wedged = False
        self.prompts = Prompts()
        self.cache.clear()
        self._execution, self._freeing = None, False
        shutil.rmtree(self.folder / "temp", ignore_errors=True)
        (self.folder / "temp").mkdir(parents=True, exist_ok=True)
        self._gateway.drop_connections()
        self._gateway.down_until = asyncio.get_running_loop().time() + down
        self.record.add(What.RESTARTED, note=f"{lost} prompts lost")
        if was_running:
            self._executing = self._begin(self._execute())

    def lose_inputs(self) -> None:
        """Delete every input file, as a clean-up does, or a container that begins anew."""
        for name in self.folders.inputs():
            (self.folder / "input" / name).unlink()
            self.record.add(What.SWEPT, note=name)

    def wedge(self, why: str = "told to") -> None:
        """Stop executing for good, while HTTP goes on answering (docs/comfyui.md §4); `restart` ends that."""
        self._kill()
        self.wedged = True
        self.record.add(What.WEDGED, note=why)

    def submit(self, body: Json, peer: str = "") -> tuple[int, dict[str, Json]]:
        """Do what POST /prompt does; return the status and the answer. Raises InternalServerError for a 500."""
        return post_prompt(self, body, peer)

    def accept(self, prompt: SimPrompt, peer: str) -> None:
        """Queue a prompt that passed validation. Raises InternalServerError on a tie, which leaves it queued."""
        self.record.add(What.POSTED, prompt.id, prompt.prefix, peer, str(prompt.number))
        self._wake.set()
        self.prompts.push(prompt)
        self.sockets.send("status", self.status())

    def delete(self, ids: Collection[str], peer: str = "") -> None:
        """Take pending prompts out of the queue."""
        for prompt in self.prompts.delete(ids):
            self.record.add(What.DELETED, prompt.id, prompt.prefix, peer)
        self.sockets.send("status", self.status())

    def clear_queue(self, peer: str = "") -> None:
        """Take every pending prompt out of the queue, whoever posted it."""
        pending, self.prompts.pending = self.prompts.pending, []
        for prompt in pending:
            self.record.add(What.DELETED, prompt.id, prompt.prefix, peer)

    def forget(self, ids: Collection[str], peer: str = "") -> None:
        """Drop history entries; unknown ids do no harm."""
        for name in ids:
            if self.prompts.history.pop(name, None) is not None:
                self.record.add(What.FORGOTTEN, name, peer=peer)

    def interrupt(self, prompt_id: str | None = None) -> None:
        """Interrupt this prompt if it runs, or whatever runs; acts at the next node or sampler step."""
        running = self.prompts.running
        if prompt_id is None or (running is not None and running.id == prompt_id):
            self.machine.interrupted = True

    def drop_connections(self) -> None:
        """Reset every open connection, downloads included."""
        self._gateway.drop_connections()

    def free_memory(self) -> None:
        """Drop the node cache, after the running prompt if there is one."""
        self._freeing = True
        if self.prompts.running is None:
            self._free()

    def sweep(self) -> None:
        """Delete old output files now, as the clean-up loop does from time to time."""
        if self.ttl is not None:
            for path in self.folders.sweep(self.ttl):
                self.record.add(What.SWEPT, *self.owner(path), note=path)

    async def idle(self) -> None:
        """Wait until nothing runs and nothing waits, or nothing ever will."""
        while self.prompts.remaining and not self.wedged:
            await self.record.next()

    def status(self) -> dict[str, Json]:
        """Return the `status` message of `/ws`."""
        return {"status": {"exec_info": {"queue_remaining": self.prompts.remaining}}}

    def node_of(self, client_id: str) -> str | None:
        """Return the node that runs now if this client posted its prompt."""
        running = self.prompts.running
        if running is None or self._execution is None or running.client_id != client_id:
            return None
        return self._execution.node

    def fresh_id(self) -> str:
        """Return a prompt id of the server's own."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def owner(self, path: str) -> tuple[str, str]:
        """Return (prompt id, prefix) of the prompt that wrote a file, given below its folder; empty if none did."""
        return self.machine.owners.get(path, ("", ""))

    def _kill(self) -> None:
        if self._executing is not None:
            self._executing.cancel()

    def _begin(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    async def _execute(self) -> None:
        """Execute prompts one at a time, until one ends the thread."""
        while True:
            while not self.prompts.pending:
                self._wake.clear()
                await self._wake.wait()
            try:
                await self._execute_next()
            except WedgedError as wedged:
                self.wedged = True
                self.record.add(What.WEDGED, note=str(wedged))
                return

    async def _execute_next(self) -> None:
        prompt = self.prompts.pop()
        if isinstance(prompt.client_id, dict | list):
            self._die()
        self.record.add(What.STARTED, prompt.id, prompt.prefix)
        self.sockets.send("status", self.status())
        self._execution = Execution(self.machine, prompt)
        entry = await self._execution.run()
        await asyncio.sleep(self.machine.pace.lag)
        for dropped in self.prompts.finish(prompt, entry):
            self.record.add(What.FORGOTTEN, dropped, note="too many entries")
        what, note = self._execution.ending
        self.record.add(what, prompt.id, prompt.prefix, note=note)
        self._execution = None
        self.sockets.send("status", self.status())
        if prompt.client_id is not None:
            self.sockets.send("executing", {"node": None, "prompt_id": prompt.id}, prompt.client_id)
        if self._freeing:
            self._free()

    def _die(self) -> None:
        """End the whole server, as a `client_id` that is no string does (docs/comfyui.md §4)."""
        self._gateway.drop_connections()
        self._gateway.down_until = float("inf")
        raise WedgedError("client_id is no string")

    def _free(self) -> None:
        self._freeing = False
        self.cache.clear()

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(self.sweep_every or (self.ttl or 600.0) / 20)
            self.sweep()


@asynccontextmanager
async def serve(
    simulator: Simulator, host: str = "127.0.0.1", port: int = 0, application: web.Application | None = None
) -> AsyncIterator[str]:
    """Run a simulator on a TCP port, any free one by default, through `application` if given; yield its base URL."""
    runner = web.AppRunner(
        simulator.application() if application is None else application, access_log=None, shutdown_timeout=1.0
    )
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    await simulator.start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await simulator.stop()
        await runner.cleanup()
