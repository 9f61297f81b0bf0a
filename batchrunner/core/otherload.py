"""What others do on one server, as our looks see it: how long what they run takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, slots=True)
class OtherUsersLoad:
    """Prompts of others, on one server. Times in seconds on the loop's clock."""

    running: Mapping[str, float] = field(default_factory=dict)
    """Those that run, with the start of the look that first saw them."""
    ran: int = 0
    took: float = 0.0
    """How many were seen to begin and to end, and how long they took together: from one look to another."""

    def updated(self, running: Collection[str], began: float) -> OtherUsersLoad:
        """Take in a good poll that began at `began` and saw others' prompts `running`."""
        ended = [began - since for prompt, since in self.running.items() if prompt not in running]
        return OtherUsersLoad(
            {prompt: self.running.get(prompt, began) for prompt in running},
            self.ran + len(ended),
            self.took + sum(ended),
        )

    def left(self, queued: int, guess: float, now: float) -> float:
        """Return how long their `queued` prompts will still take, if one takes `guess` where none was seen yet."""
        each = self.took / self.ran if self.ran else guess
        ran = sum(min(each, now - since) for since in self.running.values())
        return max(0.0, queued * each - ran)
