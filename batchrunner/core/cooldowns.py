"""Who waits how long before the next try: a job after an execution error, a file after a broken download."""

from __future__ import annotations

from typing import TypeAlias

from batchrunner.core.priority import PriorityQueue

CooldownKey: TypeAlias = "tuple[str, str]"
"""A job and one of its files; the job itself if the file is empty."""


class Cooldowns:
    """The rests of a run. They end by themselves: nothing has to be taken back when the reason is gone."""

    def __init__(self) -> None:
        self._until: dict[CooldownKey, float] = {}
        self._agenda: PriorityQueue[CooldownKey] = PriorityQueue()

    def rest(self, job: str, file: str, until: float) -> None:
        """Let a job, or one file of it, rest."""
        self._until[job, file] = until
        self._agenda.add(until, (job, file))

    def is_over(self, job: str, file: str, now: float) -> bool:
        """Whether a job, or one file of it, may go on."""
        return self._until.get((job, file), now) <= now

    def over(self, now: float) -> list[str]:
        """Take out and return the jobs that have rested long enough, or a file of which has."""
        rested = self._agenda.due(now)
        for sleeper in rested:
            if self._until[sleeper] <= now:
                del self._until[sleeper]
            else:
                self._agenda.add(self._until[sleeper], sleeper)
        return [job for job, file in rested if self.is_over(job, file, now)]

    def next_at(self) -> float | None:
        """Return when the first rest ends, None if nobody rests."""
        return self._agenda.next_at()
