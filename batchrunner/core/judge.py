"""What follows from the end of an action: the facts to note, and what we now think of the server.

Trouble says nothing about a job. It is the server's (one shared back-off), the token's (a look confirms it) or our own
disk's (stop submitting, go on downloading); the job stays where it is and the next look tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.attempts import Attempt, accept, lose, refusal
from batchrunner.core.facts import Broke, Rendered, Saved, Why
from batchrunner.core.lifecycle import Fetching, Queued, Sending
from batchrunner.core.polls import give_up, reconcile
from batchrunner.core.results import Cause, Downloaded, Failure, NotFound, PollResult, Refused, Rejected, Seen, Taken
from batchrunner.core.server import Leaving

if TYPE_CHECKING:
    from batchrunner.core.actions import Download, Poll, Submit, Withdraw
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.results import DownloadEnd, PollEnd, PostEnd
    from batchrunner.core.server import Server

_TEMPLATE_JOBS = 3
_NO_ETAG = "no etag"
_OUR_PAUSE = 5.0
"""Seconds until a server is asked again after this machine had no room to."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Hears the ends of actions at one moment."""

    board: Board
    now: float
    """Loop's clock."""
    at: float
    """Wall clock, for facts."""

    def look(self, action: Poll, end: PollEnd) -> list[Fact]:
        """Return the facts of a look that has ended."""
        server = self.board.servers[action.server]
        if isinstance(end, PollResult):
            self.board.sockets.worked()
            return reconcile(self.board, Seen(action, end, self.board.in_flight[action], self.now, self.at))
        if end.cause is Cause.UNAUTHORIZED:
            server.denied(end, self.now, self.board.rules)
        else:
            self._ailed(server, end)
        return []

    def post(self, action: Submit, end: PostEnd) -> list[Fact]:
        """Return the facts of a POST that has ended; none if nobody knows whether it arrived."""
        server = self.board.servers[action.server]
        server.posted_at[action.job] = self.now
        case = self._case(action)
        match end:
            case Failure():
                self._post_trouble(server, action, end)
                return []
            case Refused() if case:
                server.fruitless_at = None
                self.board.verdicts.append(end.says)
                return [lose(case, Why.REFUSED, end.says)]
            case Taken() if case:
                server.accepted(end.number, self.board.in_flight[action], self.now, self.board.rules)
                return self._taken(server, case, end)
        return []

    def _taken(self, server: Server, case: Attempt, end: Taken) -> list[Fact]:
        accepted = accept(case.job, case.state.prompt, end.prompt, self.at)
        says = refusal(end.complaints, self.board.outputs)
        self.board.verdicts.append(says)
        if not says:
            self._foremost(server, case.job, end.prompt)
            return [accepted]
        server.twins.add(end.prompt)
        return [accepted, lose(case, Why.REFUSED, says)]

    def _foremost(self, server: Server, job: str, prompt: str) -> None:
        """Note a prompt that nothing is in front of: it runs at once, and may end the server before a look sees it."""
        if not server.foreign and self.board.open_on(server.url)[0][0] == job:
            server.ran.add(prompt)

    def _post_trouble(self, server: Server, action: Submit, trouble: Failure) -> None:
        """Keep the claim. If nothing can have left us, nothing has to settle: the next good look decides."""
        server.fruitless(self.now)
        if not trouble.sent or trouble.cause is Cause.UNAUTHORIZED:
            server.posted_at[action.job] = server.good_at - self.board.rules.settle
        if trouble.cause is Cause.UNAUTHORIZED:
            server.denied_post(trouble, self.board.in_flight[action], self.now)
        else:
            self._ailed(server, trouble)

    def withdraw(self, action: Withdraw, trouble: Failure | None) -> list[Fact]:
        """Take in that pending prompts of ours were deleted by id, or could not be; the next look tells the rest."""
        server = self.board.servers[action.server]
        if trouble is not None:
            self._ailed(server, trouble)
            return []
        server.twins.difference_update(action.prompts)
        server.untwinned.update(action.prompts)
        if server.leaving is Leaving.TAKING:
            server.withdrawn.update(action.prompts)
            server.leaving = Leaving.CONFIRMING
            server.look_at = self.now
        return []

    def fetch(self, action: Download, end: DownloadEnd) -> list[Fact]:
        """Return the facts of a download that has ended."""
        server = self.board.servers[action.server]
        case = self._case(action)
        if case is None:
            return []
        if isinstance(end, Failure):
            return self._fetch_trouble(server, action, case, end)
        if isinstance(end, Downloaded) or not action.probe:
            server.fruitless_at = (
                None  # the 404 of a guess brought nothing: else no failing POST would ever be given up
            )
        server.doubted.pop((action.job, action.file.key), None)
        if isinstance(end, Downloaded):
            self.board.disk.worked()
            return self._home(server, action, case, end)
        if action.probe:
            return self._probed(server, case)
        return [self._unfit(action, case, end)]

    def _home(self, server: Server, action: Download, case: Attempt, got: Downloaded) -> list[Fact]:
        saved = Saved(case.job, action.attempt, self.at, action.file.key, got.path, got.size, got.sha256)
        if not action.probe:
            return [saved]
        server.settled(case.job)
        if isinstance(case.state, Fetching):
            return [saved] if action.file in (item.file for item in case.state.items) else []
        rendered = Rendered(case.job, action.attempt, self.at, (action.file,), None)
        if isinstance(case.state, Queued):
            return [rendered, saved]
        return [accept(case.job, case.state.prompt, case.state.prompt.id, self.at), rendered, saved]

    def _probed(self, server: Server, case: Attempt) -> list[Fact]:
        """Judge a prompt whose predictable file is not there: unless a look found it meanwhile, it is gone."""
        if case.job not in server.probes:
            return []
        server.probes[case.job] = True
        return give_up(server, case)

    def _unfit(self, action: Download, case: Attempt, end: NotFound | Rejected) -> Fact:
        if isinstance(end, NotFound):
            if case.state.prompt.id in self.board.inherited:
                return lose(case, Why.FORGOTTEN, "the built-in ComfyUI ended with its run", burns=False)
            return lose(case, Why.EXPIRED, "404: clean-up deleted the file before it was home")
        if end.never:
            return lose(case, Why.UNUSABLE, end.says)
        if end.foreign:
            return lose(case, Why.FOREIGN, end.says)
        etag = end.etag or _NO_ETAG
        if _whole_before(case, action.file.key) == etag:
            return lose(case, Why.UNUSABLE, f"{end.says}; twice the same")
        return Broke(case.job, action.attempt, self.at, action.file.key, end.says, whole=etag)

    def _fetch_trouble(self, server: Server, action: Download, case: Attempt, trouble: Failure) -> list[Fact]:
        """Note that a download broke. Whether the server is away is for the next look to say; it comes at once."""
        if trouble.cause is Cause.LOCAL:
            self.board.disk.failed(trouble.says, self.now)
        else:
            server.fruitless(self.now)
            server.look_at = min(server.look_at, self.now)
        if action.probe:
            server.probes.pop(action.job, None)
            return []
        if trouble.cause is Cause.UNAUTHORIZED and self._is_file_trouble(server, action):
            return [lose(case, Why.UNUSABLE, f"{trouble.says}, though the queue answers")]
        return [Broke(case.job, action.attempt, self.at, action.file.key, trouble.says)]

    def _is_file_trouble(self, server: Server, action: Download) -> bool:
        """Whether a file was denied before, and a look since then was not."""
        where = (action.job, action.file.key)
        first = server.doubted.setdefault(where, self.now)
        return server.is_up() and server.good_at > first

    def _case(self, action: Submit | Download) -> Attempt | None:
        """Return the attempt that `action` was for, None if it is over."""
        state = self.board.states[action.job]
        if not isinstance(state, Sending | Queued | Fetching) or state.prompt.attempt != action.attempt:
            return None
        return Attempt(action.job, state, self.at, self.board.rules)

    def _ailed(self, server: Server, trouble: Failure) -> None:
        if trouble.cause is Cause.LOCAL:
            self.board.sockets.failed(trouble.says, self.now)
            server.look_at = self.now + _OUR_PAUSE
            return
        server.ailed(trouble, self.now, self.board.rules, racing=self.board.is_racing(server.url))


def _whole_before(case: Attempt, key: str) -> str:
    items = case.state.items if isinstance(case.state, Fetching) else ()
    return next((item.whole for item in items if item.file.key == key), "")


def template_refusal(board: Board) -> str:
    """Return the refusal that the first three jobs of this run share, or "": then it is the workflow, not the job."""
    first = board.verdicts[:_TEMPLATE_JOBS]
    alike = len(first) == _TEMPLATE_JOBS and len(set(first)) == 1
    return first[0] if alike else ""
