"""What this run knows of one server's websocket, which says «poll now» and nothing else.

A `status` with a smaller `queue_remaining` means that a prompt has ended and that the history can be read
(docs/comfyui.md §20). What ended is for the poll to find out. Nothing depends on the socket: where it is not live,
polls come as often as without one. Records are frozen; all times are seconds on the loop's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from batchrunner.core.notes import SocketClosed, StatusHeard

HINT_PAUSE = 0.05
"""Seconds between the starts of two polls that hints ask for."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0
_MOST_DROPS = 16
_LASTED = 10.0
"""Seconds after which a connection that ends was a good one: a proxy that cuts it now and then is no refusal."""


@dataclass(frozen=True, slots=True)
class Hint:
    """One server's socket."""

    live: bool = False
    """A `status` came over this connection, after the one that greets whoever connects: it is not deaf."""
    drops: tuple[float, ...] = ()
    """When a prompt fewer was heard of since the last good poll began; the last few."""
    failures: int = 0
    """Connections in a row that ended at once."""
    again_at: float = -inf
    """No connection before then."""

    def heard(self, note: StatusHeard) -> Hint:
        """Take in a `status`."""
        drops = (*self.drops, *(note.now,) * min(note.dropped, _MOST_DROPS))[-_MOST_DROPS:]
        return replace(self, live=self.live or not note.greeting, drops=drops)

    def polled(self, began: float, *, ended: bool) -> Hint:
        """Take in a good poll that began at `began`; `ended`: what ran at the one before is gone.

        If no hint told of it, the socket is deaf, as all are while somebody does not read his (docs/comfyui.md §20).
        """
        deaf = ended and not self.drops
        return replace(self, live=self.live and not deaf, drops=tuple(at for at in self.drops if at > began))

    def closed(self, server: str, note: SocketClosed) -> Hint:
        """Take in the end of a connection, or of the attempt to make one."""
        good = self.live or note.now - note.began >= _LASTED
        failures = 1 if good else self.failures + 1
        pause = backoff(f"{server}/socket", failures, _FIRST_PAUSE, _LONGEST_PAUSE)
        return replace(self, live=False, failures=failures, again_at=note.now + pause)
