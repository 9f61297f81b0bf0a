"""What is under way: every action that was started and has not ended, and what follows from that."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from batchrunner.core.actions import Download, Listen, Submit, Upload

if TYPE_CHECKING:
    from batchrunner.core.actions import Action


class InFlight:
    """The actions under way, each with its start on the loop's clock."""

    def __init__(self) -> None:
        self._began: dict[Action, float] = {}
        self._posts: set[str] = set()
        self._files: set[tuple[str, str]] = set()
        self._uploads: set[tuple[str, str]] = set()
        self._senders: Counter[str] = Counter()
        self._asked: set[str] = set()

    def start(self, action: Action, now: float) -> None:
        """Note that an action has begun; never the same twice."""
        self._began[action] = now
        match action:
            case Submit():
                self._posts.add(action.job)
            case Download():
                self._files.add((action.job, action.file.key))
                self._senders[action.server] += 1
            case Listen():
                pass  # it asks nothing
            case Upload():
                self._uploads.add((action.server, action.file.name))
            case _:
                self._asked.add(action.server)

    def end(self, action: Action) -> float:
        """Note that an action has ended; return when it began."""
        match action:
            case Submit():
                self._posts.discard(action.job)
            case Download():
                self._files.discard((action.job, action.file.key))
                self._senders -= Counter((action.server,))
            case Listen():
                pass
            case Upload():
                self._uploads.discard((action.server, action.file.name))
            case _:
                self._asked.discard(action.server)
        return self._began.pop(action)

    def began(self, action: Action) -> float:
        """Return when an action began that is under way."""
        return self._began[action]

    def __contains__(self, action: Action) -> bool:
        return action in self._began

    def is_posting(self, job: str) -> bool:
        """Whether a POST of a job is under way."""
        return job in self._posts

    def is_fetching(self, job: str, file: str) -> bool:
        """Whether a file is being downloaded."""
        return (job, file) in self._files

    def is_uploading(self, server: str, file: str) -> bool:
        """Whether an input file is on its way to a server."""
        return (server, file) in self._uploads

    def uploads(self) -> Counter[str]:
        """Return how many uploads are under way to each server."""
        return Counter(server for server, _ in self._uploads)

    def concerns(self, job: str) -> bool:
        """Whether a POST or a download of a job is under way."""
        return job in self._posts or any(one == job for one, _ in self._files)

    def is_asking(self, server: str) -> bool:
        """Whether a poll, a deletion or an interrupt is under way to a server: never more than one at a time."""
        return server in self._asked

    def senders(self) -> tuple[str, ...]:
        """Return the servers from which something is downloaded."""
        return tuple(self._senders)

    def downloads(self) -> int:
        """Return how many downloads are under way."""
        return len(self._files)

    def may_bring(self) -> bool:
        """Whether something is under way that may still bring a fact: a POST or a download."""
        return bool(self._posts or self._files)
