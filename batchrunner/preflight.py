"""What is checked before the first POST: whether the servers can run the batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anyio import create_task_group, current_time, move_on_after

from batchrunner.core.actions import Failure, Poll
from batchrunner.core.server import SIM
from batchrunner.text import size

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.comfy.client import Client
    from batchrunner.manifest import Batch

LIMIT = 15.0
"""Seconds in which every server must have answered."""
AFTER_GOOD = 3.0
"""Seconds that the others get once one server has answered well: a server that hangs does not hold up the start."""
_MAX_FINDINGS = 20
"""Findings on one server: more say nothing new."""


async def check_servers(
    batch: Batch, client: Callable[[str], Client], *, first: bool = False
) -> tuple[list[str], list[str]]:
    """Ask every server, all at once, whether it can run the batch; return what stops the run, and what to warn of.

    `first`: none of the batch's prompts was ever sent. Then an address without a queue, a name that does not resolve
    and a certificate that is not trusted stop the run as long as no server answers well. No server is waited for
    longer than `LIMIT`, nor much longer than the first good one. The built-in simulator is not asked.
    """
    servers = [_Check(url, client(url)) for url in batch.servers if url != SIM]
    with move_on_after(LIMIT) as scope:

        async def ask(server: _Check) -> None:
            await server.ask(batch, first=first)
            if server.good:
                scope.deadline = min(scope.deadline, current_time() + AFTER_GOOD)

        async with create_task_group() as tasks:
            for server in servers:
                tasks.start_soon(ask, server)
    missing = [f"{server.url}: {each}" for server in servers for each in server.missing]
    wrong = [f"{server.url}: {server.wrong}" for server in servers if server.wrong]
    unchecked = [
        f"{server.url}: couldn't check nodes and models: {server.unchecked}"
        for server in servers
        if server.unchecked and not server.wrong
    ]
    if any(server.good for server in servers):
        return missing, wrong + unchecked
    return missing + wrong, unchecked


@dataclass(slots=True)
class _Check:
    """One server, and what asking it has shown."""

    url: str
    client: Client
    good: bool = False
    """It answered as a ComfyUI does."""
    missing: list[str] = field(default_factory=list)
    """What the batch needs and it does not have."""
    unchecked: str = "no answer in time"
    """Why its nodes and models could not be checked; empty if they were."""
    wrong: str = ""
    """What a person must correct about its address."""

    async def _too_large(self, batch: Batch) -> list[str]:
        """Return which input files it takes no upload of, where it tells its limit; a proxy's shows only then."""
        most = await self.client.largest_upload() if batch.inputs else None
        return [
            f"{batch.sources[file.name].path.name} has {size(file.size)}, and it takes uploads of {size(round(most))}: "
            "start its ComfyUI with a larger --max-upload-size"
            for file in batch.inputs
            if most is not None and file.size > most
        ]

    async def ask(self, batch: Batch, *, first: bool) -> None:
        """Ask for its nodes and models, and where it does not list them in a first run, for its queue."""
        answer = await self.client.object_info()
        if not isinstance(answer, Failure):
            self.good, self.unchecked = True, ""
            self.missing = [*batch.refusals(answer), *await self._too_large(batch)][:_MAX_FINDINGS]
            return
        self.unchecked = answer.message
        if first:
            end = answer if answer.needs_person else await self.client.poll(Poll(self.url))
            self.good = not isinstance(end, Failure)
            if isinstance(end, Failure) and end.not_found:
                self.wrong = f"no ComfyUI at this address: {self.url}/queue answered 404; check the URL"
            elif isinstance(end, Failure) and end.needs_person:
                self.wrong = end.message
