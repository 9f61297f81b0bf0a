"""How fast a file is downloaded, and when that is too slow. Times are seconds on the loop's clock, sizes are bytes."""

from __future__ import annotations

from collections import deque

_MINUTE = 60.0
_SLOWEST, _LONGEST = 1_000, 600.0
"""Under 1,000 bytes a second for ten minutes, a transfer is broken off: the next attempt goes on where it ended."""
_EVERY = 1.0


class TransferSpeed:
    """The progress of one transfer that began at `now` with `got` bytes."""

    def __init__(self, now: float, got: int) -> None:
        self._marks = deque([(now, got)])
        self._told = False

    def take(self, now: float, got: int) -> None:
        """Note that `got` bytes are here."""
        if now - self._marks[-1][0] < _EVERY:
            return
        self._marks.append((now, got))
        while self._marks[1][0] <= now - _LONGEST:
            self._marks.popleft()

    def is_too_slow(self, now: float, got: int) -> bool:
        """Whether so little came for ten minutes that another attempt may do better."""
        began, before = self._marks[0]
        return now - began >= _LONGEST and got - before < _SLOWEST * (now - began)

    def late(self, now: float, got: int, size: int, deadline: float) -> bool:
        """Return True once: when at the speed of the last minute the file won't be whole by `deadline`."""
        past = [mark for mark in self._marks if mark[0] <= now - _MINUTE]
        if self._told or not past or size < 0:
            return False
        began, before = past[-1]
        speed = (got - before) / (now - began)
        self._told = not speed or now + (size - got) / speed > deadline
        return self._told
