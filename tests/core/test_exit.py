"""When a run is over, and with which exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from boards import (
    JOB,
    JOBS,
    LOCAL,
    OTHER,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    done,
    fetch,
    fetching,
    gone,
    health,
    ident,
    interpret,
    lost,
    new_board,
    note,
    post,
    prefix,
    queued,
    ready_board,
    row,
    saved,
    sending,
    stranger,
    submit,
    take_poll,
)

from batchrunner.core.actions import Download, LocalFile, NodeError, NotFound, Poll, Refused, Submit, Taken, Withdraw
from batchrunner.core.exit import exit_decision
from batchrunner.core.facts import File, Why
from batchrunner.core.scheduler import plan, survey_limit

if TYPE_CHECKING:
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact

PATIENCE = 8 * 3600.0
C = "http://unnamed:8188"


def ended(board: Board, now: float) -> int | None:
    """Return the exit code, None while it goes on."""
    ending = exit_decision(board, now)
    return ending.exit if ending else None


def message(board: Board, now: float) -> str:
    """Return what a person is told at the end."""
    ending = exit_decision(board, now)
    assert ending is not None
    return ending.message


def failed(job: str = JOB) -> list:  # type: ignore[type-arg]
    """Return the facts of a job that failed."""
    return [*queued(job), lost(job, why=Why.ERROR, final=True)]


def test_all_done() -> None:
    """Every job done is exit 0, before anybody is asked."""
    assert ended(new_board(done(), jobs=1), 0.0) == 0


def test_some_failed() -> None:
    """Finished with failures is exit 1, and says how many."""
    board = new_board([*done(), *failed(OTHER)], jobs=2)
    assert ended(board, 0.0) == 1
    assert message(board, 0.0) == "1 of 2 jobs failed"


def test_only_what_was_asked_for() -> None:
    """A run of some jobs ends when they do; what others have under way is seen through first."""
    board = new_board(done(), jobs=3, chosen=frozenset({JOB}))
    assert ended(board, 0.0) == 0
    under_way = new_board([*done(), *queued(OTHER)], jobs=3, chosen=frozenset({JOB}))
    assert ended(under_way, 0.0) is None
    note(under_way, [lost(OTHER)])
    assert ended(under_way, 0.0) == 0


def test_nothing_wanted() -> None:
    """A run that may submit nothing is done."""
    assert ended(new_board(chosen=frozenset()), 0.0) == 0


def test_while_there_is_work() -> None:
    """A run goes on while anything is waiting, under way or to be fetched."""
    for facts in ([], sending(), queued(), fetching()):
        assert ended(ready_board(facts, jobs=1), 0.0) is None


def test_a_refused_prompt_is_taken_off_first() -> None:
    """The last job's refused prompt is deleted before we go; a server that does not answer is not waited for."""
    board = ready_board(jobs=1)
    post(board, Taken("chosen", 1, (NodeError("SaveVideo #15", "format", "no"),)), submit(), now=1.0)
    assert board.is_settled()
    assert ended(board, 1.0) is None
    (action,) = [one for one in plan(board, 1.0) if isinstance(one, Withdraw)]
    board.start(action, 1.0)
    assert ended(board, 1.0) is None
    interpret(board, action, UNAVAILABLE, 2.0)
    board.end(action, 2.0)
    assert ended(board, 2.0) == 1


# -- the server


def test_answering_and_getting_nothing_through() -> None:
    """A server whose polls are good while every POST and download fails is not called silent."""
    board = ready_board(queued())
    take_poll(board, queue=[row(running=True)], now=PATIENCE)
    health(board, A, failing_since=0.0)
    assert ended(board, PATIENCE) == 3
    assert message(board, PATIENCE).startswith(f"{A} answers, but no prompt and no file gets through; it holds 1")


def test_away_for_longer_than_patience() -> None:
    """A server that never answers is exit 3 after `patience`, saying so; before, it is waited for."""
    board = new_board(queued())
    take_poll(board, trouble=UNAVAILABLE, now=5.0)
    assert ended(board, PATIENCE - 1) is None
    assert ended(board, PATIENCE) == 3
    assert (
        message(board, PATIENCE) == f"{A} does not answer (502); it holds 1 of our prompts: run it again when it does"
    )


def test_what_holds_nothing_is_not_said_to_hold_anything() -> None:
    """Where nothing of ours is on a server, its last word is about the server alone."""
    board = new_board()
    take_poll(board, trouble=UNAVAILABLE, now=1.0)
    assert message(board, PATIENCE + 1) == f"{A} does not answer (502): run it again when it does"


def test_never_heard_of() -> None:
    """A server that no poll came back from is said not to answer."""
    assert "(no answer)" in message(new_board(), PATIENCE)


def test_patience_counts_from_the_last_good_answer() -> None:
    """One good poll and the waiting begins anew."""
    board = ready_board()
    take_poll(board, trouble=UNAVAILABLE, now=1000.0)
    take_poll(board, now=2000.0)
    take_poll(board, trouble=UNAVAILABLE, now=3000.0)
    assert ended(board, 2000.0 + PATIENCE - 1) is None
    assert ended(board, 2000.0 + PATIENCE) == 3


def test_looks_alone_are_no_progress() -> None:
    """A server whose polls are good but whose every POST fails is given up after `patience` too."""
    board = ready_board()
    post(board, UNAVAILABLE, submit(), now=10.0)
    take_poll(board, now=PATIENCE)
    assert ended(board, PATIENCE + 9) is None
    assert ended(board, PATIENCE + 10) == 3


def test_a_wedged_server() -> None:
    """A server that runs nothing for `patience` while prompts wait is exit 3 with the cure."""
    board = ready_board(queued(), jobs=1)
    for now in (10.0, PATIENCE):
        take_poll(board, queue=[row()], now=now)
    assert ended(board, PATIENCE) is None
    assert "restart ComfyUI" in message(board, PATIENCE + 10)


def test_a_refused_token_before_anything_is_out() -> None:
    """A 401 when nothing of the batch is out anywhere is exit 3 at once, and says what to do. Nothing is failed."""
    board = new_board()
    take_poll(board, trouble=UNAUTHORIZED, now=0.0)
    assert ended(board, 0.0) == 3
    advice = "correct BATCHRUNNER_TOKEN or the token file, and run it again"
    assert message(board, 0.0) == f"{A} refuses the token (401): {advice}"
    assert board.tally()["failed"] == 0


@pytest.mark.parametrize("facts", [sending(), queued(), fetching()])
def test_a_refused_token_while_something_is_out(facts: list[Fact]) -> None:
    """A challenge page must not end the night: once anything is out, a refusal counts after `grace`."""
    board = new_board(facts)
    for now in (10.0, 11.1):
        take_poll(board, trouble=UNAUTHORIZED, now=now)
    assert ended(board, 69.9) is None
    assert ended(board, 70.0) == 3
    assert message(board, 70.0).startswith(
        f"{A} refuses the token (401); it holds 1 of our prompts: correct BATCHRUNNER_TOKEN"
    )


def test_a_token_that_only_posts_refuse() -> None:
    """Polls are good and POSTs are refused: what is out comes home first, and then it is exit 3."""
    board = ready_board(queued(), jobs=2)
    post(board, UNAUTHORIZED, submit(OTHER), now=10.0)
    take_poll(board, queue=[row(running=True)], now=71.0)
    assert ended(board, 71.0) is None
    note(board, [*fetching()[2:], saved()], 72.0)
    take_poll(board, now=73.0)
    fetch(board, NotFound(), job=OTHER, now=74.0, probe=True)
    note(board, [lost(OTHER, burns=False)], 75.0)
    assert ended(board, 75.0) == 3
    assert "refuses the token (401)" in message(board, 75.0)


def test_a_good_poll_clears_a_denial() -> None:
    """A 401 that passes is forgotten."""
    board = ready_board()
    for now in (1.0, 3.0):
        take_poll(board, trouble=UNAUTHORIZED, now=now)
        take_poll(board, now=now + 1)
        assert ended(board, now + 1) is None


@pytest.mark.parametrize("action", [Download(JOB, 1, prefix(), A, File("x")), submit()])
def test_open_downloads_finish(action: Download | Submit) -> None:
    """Files that are open come home before a run with a refused token ends; so do POSTs under way."""
    board = new_board(fetching() if isinstance(action, Download) else sending())
    board.start(action, 0.0)
    take_poll(board, trouble=UNAUTHORIZED, now=0.0)
    assert ended(board, 60.0) is None
    board.end(action, 61.0)
    assert ended(board, 61.0) == 3


def test_the_other_server_goes_on() -> None:
    """While one server works, one that refuses us ends nothing: what it holds is rendered there after ten minutes."""
    board = ready_board([*queued(server=B)], jobs=2, servers=(A, B))
    for now in (1.0, 2.0):
        take_poll(board, B, trouble=UNAUTHORIZED, now=now)
    note(board, done(OTHER))
    assert ended(board, 61.0) is None
    assert ended(board, 599.0) is None
    gone(board, B, now=600.0)
    assert ended(board, 600.0) is None
    note(board, done(attempt=2, server=A))
    assert ended(board, 700.0) == 0


def test_no_other_server_is_left() -> None:
    """When the last server that works fails too, the last message names each."""
    board = ready_board([*queued(server=B)], jobs=2, servers=(A, B))
    for url in (A, B):
        take_poll(board, url, trouble=UNAUTHORIZED, now=1.0)
    assert ended(board, 60.9) is None
    assert ended(board, 61.0) == 3
    assert message(board, 61.0).splitlines()[1].startswith(f"{B} refuses the token (401); it holds 1 of our prompts")


def test_a_server_that_was_never_asked_and_refuses_to_tell() -> None:
    """A server that refuses our token holds up nobody: what it turns out to hold is adopted when it comes back."""
    board = new_board(servers=(A, B))
    take_poll(board, A)
    assert not any(isinstance(action, Submit) for action in plan(board, 1.0))
    take_poll(board, B, trouble=UNAUTHORIZED, now=1.0)
    assert {action.server for action in plan(board, 1.0) if isinstance(action, Submit)} == {A}
    assert ended(board, 1.0) is None


def test_every_server_refuses_the_token() -> None:
    """Exit 3, with a line for each."""
    board = new_board(servers=(A, B))
    for url in (A, B):
        take_poll(board, url, trouble=UNAUTHORIZED, now=1.0)
    assert ended(board, 1.0) == 3
    assert [line.split()[0] for line in message(board, 1.0).splitlines()] == [A, B]


def test_an_unnamed_server_is_waited_for_while_it_holds_something() -> None:
    """What a server out of the manifest still holds is waited for; what it does not is not held against it."""
    board = ready_board(queued(server=C), jobs=1)
    take_poll(board, C)
    assert ended(board, 0.0) is None
    waiting = ready_board(queued(server=C), jobs=2)
    take_poll(waiting, C)
    note(waiting, [lost(final=True)])
    take_poll(waiting, A, trouble=UNAUTHORIZED, now=1.0)
    assert message(waiting, 1.0).splitlines() == [message(waiting, 1.0)]
    assert A in message(waiting, 1.0)


def test_the_template_is_refused() -> None:
    """The first three jobs refused alike are exit 3, once nothing is under way; the rest stays waiting."""
    board = ready_board(jobs=5)
    for job in JOBS[:3]:
        post(board, Refused("KSampler #3, input cfg: too big"), submit(job), now=1.0)
    board.start(action := submit(JOBS[3]), 1.0)
    assert ended(board, 1.0) is None
    board.end(action, 2.0)
    assert ended(board, 2.0) == 3
    assert "KSampler #3, input cfg: too big" in message(board, 2.0)
    assert board.tally() == {"waiting": 2, "sending": 0, "queued": 0, "fetching": 0, "done": 0, "failed": 3}


def test_three_jobs_refused_alike() -> None:
    """A batch of just three jobs, all refused alike, is the template's fault too."""
    board = ready_board(jobs=3)
    for job in JOBS[:3]:
        post(board, Refused("no such node"), submit(job), now=1.0)
    assert ended(board, 1.0) == 3


# -- this machine


def test_a_full_disk() -> None:
    """Trouble with our own disk that downloads meet for `grace` is exit 5; one that is over is not."""
    board = ready_board(fetching(), jobs=2)
    fetch(board, LOCAL, now=1.0)
    assert ended(board, 61.0) is None
    fetch(board, LOCAL, now=61.0)
    assert ended(board, 61.0) == 5
    assert "no space left on device: free some space" in message(board, 61.0)


def test_one_fault_does_not_end_the_night() -> None:
    """A single fault, followed by a download that simply takes long, ends nothing."""
    board = ready_board(fetching(), jobs=2)
    fetch(board, LOCAL, now=1.0)
    board.start(Download(JOB, 1, prefix(), A, File("x")), 2.0)
    assert ended(board, 500.0) is None


# -- on the way out


def test_leaving_an_idle_batch() -> None:
    """With nothing pending and nothing to fetch we leave after one more poll."""
    board = ready_board()
    board.leave(1.0)
    assert ended(board, 1.0) is None
    take_poll(board, now=1.5)
    assert ended(board, 1.5) == 130


def test_leaving_waits_for_what_is_rendered() -> None:
    """Everything rendered comes home first, through trouble too, no longer than `ttl`."""
    board = ready_board(fetching(), jobs=2)
    board.leave(1.0)
    take_poll(board, now=1.5)
    assert ended(board, 1.5) is None
    take_poll(board, now=2.0, trouble=UNAVAILABLE)
    assert ended(board, 2.0) is None
    assert ended(board, 600.9) is None
    assert ended(board, 601.0) == 130
    fetch(board, NotFound(), now=3.0)
    assert ended(board, 3.0) is None
    take_poll(board, now=4.0)
    assert ended(board, 4.0) == 130


def test_leaving_a_server_that_is_away() -> None:
    """A server that does not answer has nothing to tell: we do not wait for it."""
    board = new_board(queued())
    board.leave(1.0)
    board.start(action := Poll(A), 1.0)
    assert ended(board, 1.0) is None
    interpret(board, action, UNAVAILABLE, 2.0)
    board.end(action, 2.0)
    assert ended(board, 2.0) == 130


def test_leaving_waits_for_posts_and_open_files() -> None:
    """A POST or a download under way is heard first."""
    for action in (submit(), Download(JOB, 1, prefix(), A, File("x"))):
        board = ready_board()
        board.leave(1.0)
        take_poll(board, now=1.5)
        board.start(action, 1.5)
        assert ended(board, 2.0) is None
        board.end(action, 3.0)
        assert ended(board, 3.0) == 130


def test_leaving_pending_prompts() -> None:
    """We go when the pending prompts are deleted and a poll has confirmed it."""
    board = ready_board(queued(), jobs=2)
    board.leave(1.0)
    take_poll(board, queue=[stranger(running=True), row()], now=1.5)
    assert ended(board, 1.5) is None
    (action,) = [one for one in plan(board, 1.5) if isinstance(one, Withdraw)]
    board.start(action, 1.5)
    interpret(board, action, None, 1.6)
    board.end(action, 1.6)
    assert ended(board, 1.6) is None
    take_poll(board, now=1.7)
    assert ended(board, 1.7) == 130


def test_leaving_a_server_nobody_names() -> None:
    """A server that nobody names and that holds nothing any more keeps nobody."""
    board = ready_board(queued(server=C), jobs=2)
    take_poll(board, C)
    note(board, [lost()])
    board.leave(1.0)
    take_poll(board, A, now=1.5)
    assert ended(board, 1.5) == 130


def test_all_done_on_the_way_out() -> None:
    """If the last file came home while we were leaving, the batch is done."""
    board = ready_board(fetching(), jobs=1)
    board.leave(1.0)
    note(board, [saved()])
    assert ended(board, 1.0) == 0


def test_this_machine_has_no_connection_left() -> None:
    """Out of handles, no server is called away and nothing is posted; the run ends with 5 if that lasts for `grace`."""
    board = ready_board()
    take_poll(board, trouble=LOCAL, now=10.0)
    post(board, LOCAL, submit(), now=12.0)
    assert board.servers[A].health.failures == 0
    assert board.servers[A].poll_at == 17.0
    assert not [action for action in plan(board, 16.0) if isinstance(action, Submit)]
    assert ended(board, 69.0) is None
    take_poll(board, trouble=LOCAL, now=70.0)
    assert ended(board, 70.0) == 5
    assert "close" in message(board, 70.0)


def test_a_connection_again() -> None:
    """The first good poll says that there is room again."""
    board = ready_board()
    take_poll(board, trouble=LOCAL, now=10.0)
    take_poll(board, now=15.0)
    take_poll(board, trouble=LOCAL, now=80.0)
    assert ended(board, 80.0) is None
    take_poll(board, now=85.0)
    assert [action for action in plan(board, 85.0) if isinstance(action, Submit)]


def test_no_last_word_on_a_server_that_is_being_asked() -> None:
    """A poll that is under way may tell why nothing got through, or that it does again: it is heard first."""
    board = ready_board(fetching())
    for second in (1.0, PATIENCE + 1.0):
        fetch(board, UNAVAILABLE, now=second)
    board.start(Poll(A), PATIENCE + 1.0)
    assert ended(board, PATIENCE + 2.0) is None
    note(board, interpret(board, Poll(A), UNAVAILABLE, PATIENCE + 3.0), PATIENCE + 3.0)
    board.end(Poll(A), PATIENCE + 3.0)
    assert "does not answer" in message(board, PATIENCE + 3.0)


def test_a_refused_template_is_taken_off_first() -> None:
    """What a server queued of a workflow that it refuses is deleted before the run stops."""
    board = ready_board(jobs=5)
    for job in JOBS[:3]:
        post(board, Taken(ident(job), 1, (NodeError("SaveVideo #15", "format", "no"),)), submit(job), now=1.0)
    assert ended(board, 1.0) is None
    (action,) = [one for one in plan(board, 1.0) if isinstance(one, Withdraw)]
    assert set(action.prompts) == {ident(job) for job in JOBS[:3]}
    board.start(action, 1.0)
    assert ended(board, 1.0) is None
    interpret(board, action, None, 2.0)
    board.end(action, 2.0)
    assert ended(board, 2.0) is None  # one may have started just before: then it is interrupted
    take_poll(board, now=3.0)
    assert ended(board, 3.0) == 3


# -- out of time

LEFT = "2 jobs are left for the next run: they would not have been finished in time"


def test_out_of_time_and_nothing_failed() -> None:
    """A run that `--until` ends is exit 0 and says how many jobs are left, and why."""
    board = ready_board(done(), jobs=3)
    board.until = 1.0
    assert ended(board, 0.5) == 0
    assert message(board, 0.5) == LEFT


def test_out_of_time_and_some_failed() -> None:
    """A run that `--until` ends after failures is exit 1 and tells those first, then what is left."""
    board = ready_board([*done(), *failed(OTHER)], jobs=4)
    board.until = 1.0
    assert ended(board, 0.5) == 1
    assert message(board, 0.5) == f"1 of 4 jobs failed\n{LEFT}"


def test_what_was_left_out_is_not_called_done() -> None:
    """With `--limit` or `--only` the jobs that this run may not submit are counted as waiting, not as done."""
    board = new_board([*done(JOBS[0]), *done(JOBS[1])], jobs=5, chosen=frozenset(JOBS[:2]))
    ending = exit_decision(board, 1.0)
    assert ending is not None
    assert (ending.exit, ending.message) == (0, "2 jobs are done; 3 more wait for another run")


def test_what_failed_elsewhere_is_not_called_done() -> None:
    """Where others failed, a run that is through with its own jobs says so; once nothing waits, that is exit 1."""
    facts = [*done(JOBS[0]), *failed(JOBS[1])]
    own = frozenset(JOBS[:1])
    some = exit_decision(new_board(facts, jobs=3, chosen=own), 1.0)
    assert some is not None
    assert (some.exit, some.message) == (0, "1 job is done; 1 more waits for another run; 1 more failed")
    last = exit_decision(new_board(facts, jobs=2, chosen=own), 1.0)
    assert last is not None
    assert (last.exit, last.message) == (1, "1 of 2 jobs failed")
    both = exit_decision(new_board(facts, jobs=3, chosen=frozenset(JOBS[:2])), 1.0)
    assert both is not None
    assert (both.exit, both.message) == (1, "1 of 2 jobs failed; 1 more waits for another run")


@pytest.mark.parametrize(("missing", "told"), [(("a.mp4",), "1 file is"), (("a.mp4", "b.mp4"), "2 files are")])
def test_a_file_that_is_gone_is_told_at_the_end(missing: tuple[str, ...], told: str) -> None:
    """A batch whose files are not all in the folder any more is not called done without saying so."""
    board = new_board(done(), jobs=1)
    board.missing_files = missing
    assert (ended(board, 0.0), message(board, 0.0)) == (0, f"every job was done, but {told} missing or changed on disk")


def test_one_job_out_of_time() -> None:
    """One job that is left is told as one."""
    board = ready_board(done(), jobs=2)
    board.until = 1.0
    assert message(board, 0.5) == "1 job is left for the next run: it would not have been finished in time"


def test_out_of_time_takes_over_what_is_there_first() -> None:
    """Without a state, what servers hold and what lies on this disk is taken over before time decides; no longer."""
    board = new_board([], jobs=2)
    board.until = 1.0
    assert exit_decision(board, 0.5) is None
    assert ended(board, survey_limit(board)) == 0
    board = ready_board([], jobs=2)
    board.until = 1.0
    board.local_files = {JOB: (1, (LocalFile("prefix", "a.mp4", 1, ""),))}
    assert exit_decision(board, 0.5) is None
    board.local_files = {}
    assert ended(board, 0.5) == 0
