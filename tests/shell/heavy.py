"""Poll a server once and say how much memory that took: `python tests/shell/heavy.py URL RECENT ID...`.

Prints one JSON object: the ids found in the queue, in the history and in the list, what is unread, and MiB.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from batchrunner.comfy.client import Client, session
from batchrunner.core.actions import Poll, PollResult


def _most() -> int:
    """Return the most MiB that this process ever had."""
    return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))[0]) // 1024


async def _polled(url: str, recent: int, ids: tuple[str, ...]) -> None:
    async with session() as http:
        client = Client(url, http)
        await client.interrupt("warm up")
        before = _most()
        seen = await client.poll(Poll("s", ids, recent))
        if not isinstance(seen, PollResult):
            raise SystemExit(seen.message)
        found = {
            "queue": [row.prompt for row in seen.queue if row.prompt in ids],
            "prefixes": [row.prefixes for row in seen.queue if row.prompt in ids],
            "rows": len(seen.queue),
            "others": [row.prompt for row in seen.queue if row.prompt not in ids][:3],
            "history": {prompt: entry is not None for prompt, entry in seen.history.items()},
            "recent": [entry.prompt for entry in seen.recent],
            "unread": seen.unread and seen.unread.message,
            "MiB": _most() - before,
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(_polled(sys.argv[1], int(sys.argv[2]), tuple(sys.argv[3:])))
