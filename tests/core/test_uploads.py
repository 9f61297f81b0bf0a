"""Input files: brought to a server before the prompt that reads them, again when it lost them, and never for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    LOCAL,
    OTHER,
    RULES,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    claimed,
    failure,
    gone,
    health,
    ident,
    interpret,
    new_board,
    note,
    post,
    prefix,
    queued,
    ready_board,
    row,
    sending,
    submit,
    success,
    take_poll,
    track,
)

from batchrunner.core.actions import (
    Cause,
    Failure,
    NodeError,
    NotUploaded,
    Refused,
    Submit,
    Taken,
    Upload,
    Uploaded,
)
from batchrunner.core.exit import exit_decision
from batchrunner.core.facts import Claimed, Lost, Reopened, Why
from batchrunner.core.job import InputFile, upload_name, with_stored_names
from batchrunner.core.lifecycle import Failed, Waiting
from batchrunner.core.notes import GivenUp
from batchrunner.core.scheduler import file_away, plan, wake
from batchrunner.core.uploads import fail_refused_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchrunner.core.actions import Action, UploadEnd
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact


def picture(number: int) -> InputFile:
    """Return an input file."""
    digest = f"{number:064x}"[::-1]
    return InputFile(digest, 9, upload_name(digest, ".png"))


CAT, DOG, SOUND = picture(1), picture(2), picture(3)
STORED = CAT.name.replace(".png", " (1).png")
PAGE = Failure(Cause.UNAUTHORIZED, "403: Request blocked", page=True, status=403)
TOO_MANY = Failure(Cause.UNAVAILABLE, "429", status=429, retry_after=20.0)
TOO_LARGE = NotUploaded("the proxy takes no file of 3.2 MB")


def with_inputs(
    inputs: Mapping[str, tuple[InputFile, ...]],
    facts: Sequence[Fact] = (),
    *,
    jobs: int = 3,
    servers: Sequence[str] = (A,),
) -> Board:
    """Return a board whose servers have answered, and whose jobs need these files."""
    board = new_board(jobs=jobs, servers=servers)
    board.input_files = inputs
    board.load(JOBS[:jobs], facts, 0.0)
    for url in servers:
        take_poll(board, url)
    return board


def planned(board: Board, now: float = 0.0) -> list[Action]:
    """Return the POSTs and uploads that would be started."""
    return [action for action in plan(board, now) if isinstance(action, Submit | Upload)]


def upload(board: Board, end: UploadEnd, action: Upload, *, now: float = 0.0) -> None:
    """Upload a file, and hear how that ended."""
    board.start(action, now)
    assert interpret(board, action, end, now) == []
    board.end(action, now)


def bring(board: Board, *files: InputFile, server: str = A, now: float = 0.0) -> None:
    """Have files lie on a server."""
    for file in files:
        upload(board, Uploaded(file.name, '"e"'), Upload(server, file), now=now)


def missing(file: InputFile = CAT) -> Refused:
    """Return a 400 that names a file that is not there."""
    error = NodeError("LoadImage #1", "image", f"Custom validation failed (image - Invalid image file: {file.name})")
    return Refused(f"LoadImage #1: {error.message}", (error,))


def refused(board: Board, now: float = 0.0) -> list[Fact]:
    """Return and apply what becomes of jobs whose files nobody takes."""
    return [fact for outcome in fail_refused_jobs(board, now, AT + now) for fact in note(board, outcome.facts, now)]


# -- before the POST


def test_a_job_is_posted_once_its_files_are_there() -> None:
    """First the upload, then the POST, with the name under which the server has the file."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    assert planned(board) == [Upload(A, CAT)]
    board.start(Upload(A, CAT), 0.0)
    assert planned(board) == []
    interpret(board, Upload(A, CAT), Uploaded(STORED, '"e"'), 1.0)
    board.end(Upload(A, CAT), 1.0)
    assert planned(board, 1.0) == [replace(submit(), inputs=((CAT.name, STORED),))]


def test_every_file_of_a_job_must_be_there() -> None:
    """A job with two files waits for both, and a file that two jobs need is uploaded once."""
    board = with_inputs({JOB: (CAT, DOG), OTHER: (CAT,)}, jobs=2)
    assert planned(board) == [Upload(A, CAT), Upload(A, DOG)]
    bring(board, CAT)
    assert planned(board) == [Upload(A, DOG), replace(submit(OTHER), inputs=((CAT.name, CAT.name),))][::-1]
    bring(board, DOG)
    assert [type(action) for action in planned(board)] == [Submit, Submit]


def test_a_job_that_is_ready_does_not_wait_for_one_that_is_not() -> None:
    """While a file is on its way, jobs without one, or with one that is there, are posted."""
    board = with_inputs({JOB: (CAT,)}, jobs=4)
    assert planned(board) == [submit(OTHER), submit(JOBS[2]), Upload(A, CAT)]


def test_what_is_ready_is_found_behind_many_that_are_not() -> None:
    """However many jobs wait for their files, one that needs none is posted, and no more files are asked for."""
    board = with_inputs({job: (picture(number),) for number, job in enumerate(JOBS[:9])}, jobs=10)
    assert planned(board) == [submit(JOBS[9]), Upload(A, picture(0)), Upload(A, picture(1))]


def test_uploads_at_once_are_bounded() -> None:
    """Two to a server, eight in all, whatever the room."""
    servers = [f"http://gpu-{number}" for number in range(6)]
    files = [picture(number) for number in range(12)]
    board = with_inputs(dict(zip(JOBS, ((file,) for file in files), strict=True)), jobs=12, servers=servers)
    first = planned(board)
    assert len(first) == 8
    for action in first:
        board.start(action, 0.0)
    assert planned(board) == []
    board = with_inputs({JOB: tuple(files[:5])}, jobs=1)
    assert planned(board) == [Upload(A, files[0]), Upload(A, files[1])]


def test_the_next_job_s_file_is_there_before_there_is_room() -> None:
    """A full server gets the file of one job more, and what is there already is not looked for again."""
    full = [*queued(JOBS[0]), *queued(JOBS[1])]
    inputs = {JOBS[2]: (CAT,), JOBS[3]: (DOG,)}
    board = with_inputs(inputs, full, jobs=4)
    take_poll(board, queue=[row(JOBS[0]), row(JOBS[1])])
    assert planned(board) == [Upload(A, CAT)]
    bring(board, CAT)
    assert planned(board, 1.0) == []
    assert planned(board, 9999.0) == []


def test_a_file_that_was_seen_long_ago_is_looked_for_once_more() -> None:
    """Five minutes after it was seen, or after the server was away, a HEAD comes before the next POST."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    bring(board, CAT)
    known = Upload(A, CAT, CAT.name, '"e"')
    assert planned(board, 299.0) == [replace(submit(), inputs=((CAT.name, CAT.name),))]
    assert planned(board, 300.0) == [known]
    take_poll(board, trouble=UNAVAILABLE, now=10.0)
    take_poll(board, now=20.0)
    assert planned(board, 20.0) == [known]
    upload(board, Uploaded(CAT.name, '"e"'), known, now=21.0)
    assert [type(action) for action in planned(board, 21.0)] == [Submit]


def test_a_restart_may_have_emptied_the_input_folder() -> None:
    """A queue number that falls back, or a finished prompt that is forgotten, clears what is known of a server."""
    board = with_inputs({JOB: (CAT,), OTHER: (CAT,)})
    bring(board, CAT)
    post(board, Taken(ident(JOBS[2]), 7), submit(JOBS[2]), now=1.0)
    assert CAT.name in board.servers[A].inputs.stored
    post(board, Taken(ident(JOB), 1), submit(JOB), now=2.0)
    assert board.servers[A].inputs.stored == {}
    assert planned(board, 2.0) == [Upload(A, CAT)]
    bring(board, CAT, now=3.0)
    take_poll(board, history=[success(JOB)], queue=[row(JOBS[2])], now=3.0)
    assert CAT.name in board.servers[A].inputs.stored
    take_poll(board, queue=[], now=4.0)
    take_poll(board, queue=[], now=5.0)
    assert board.servers[A].memory.restarted_at is not None
    assert board.servers[A].inputs.stored == {}


def test_nothing_is_uploaded_on_the_way_out() -> None:
    """Who leaves submits nothing, and uploads nothing."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    board.leave(0.0)
    assert planned(board) == []
    board.refused_files[CAT.name] = None
    assert refused(board) == []


def test_a_post_that_is_sent_again_needs_its_files_too() -> None:
    """After a crash, or where the server lost them, a claimed prompt's files are uploaded before it is posted again."""
    board = with_inputs({JOB: (CAT,)}, sending(), jobs=1)
    track(board, resend=True)
    assert planned(board) == [Upload(A, CAT)]
    bring(board, CAT)
    assert planned(board) == [replace(submit(again=True), inputs=((CAT.name, CAT.name),))]


def test_names_are_replaced_wherever_they_stand() -> None:
    """The server's name takes the place of ours in the inputs, also within lists and objects; nothing else changes."""
    graph = {"1": {"class_type": "X", "inputs": {"a": CAT.name, "b": [CAT.name, 0], "c": {"d": DOG.name}, "e": 5}}}
    pairs = [(CAT.name, STORED), (DOG.name, DOG.name)]
    assert with_stored_names(graph, pairs) == {
        "1": {"class_type": "X", "inputs": {"a": STORED, "b": [STORED, 0], "c": {"d": DOG.name}, "e": 5}}
    }
    assert with_stored_names(graph, pairs[1:]) == graph


# -- uploads that fail


def test_a_failed_upload_is_tried_again_after_a_pause() -> None:
    """It doubles to a minute, or is as long as the server asks; a poll comes at once, and other jobs go on."""
    board = with_inputs({JOB: (CAT,)}, jobs=2)
    upload(board, UNAVAILABLE, Upload(A, CAT), now=100.0)
    assert board.servers[A].poll_at == 10.0
    board.servers[A].poll_at = 130.0
    upload(board, UNAVAILABLE, Upload(A, DOG), now=120.0)
    assert board.servers[A].poll_at == 120.0
    assert board.servers[A].health.uploads_failing_since == 100.0
    assert planned(board, 100.5) == [submit(OTHER)]
    bring(board, DOG, now=100.0)
    file_away(board, 100.0)
    due = wake(board, 100.5)
    assert due is not None
    assert 100.8 < due < 101.2
    assert Upload(A, CAT) in planned(board, due)
    assert board.servers[A].inputs.trouble() is None
    for _ in range(8):
        upload(board, UNAVAILABLE, Upload(A, CAT), now=200.0)
    trouble = board.servers[A].inputs.trouble()
    assert trouble is not None
    assert (trouble.since, trouble.message) == (100.0, "502")
    assert 252.0 < board.servers[A].inputs.rests_until(CAT.name) <= 260.0
    bring(board, CAT, now=300.0)
    assert board.servers[A].inputs.next_at(300.0) is None


def test_an_upload_that_works_ends_the_trouble_of_uploads_alone() -> None:
    """Hours after uploads failed a server is as good as any once one works; POSTs that fail are their own trouble."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    upload(board, UNAVAILABLE, Upload(A, CAT), now=100.0)
    assert board.servers[A].health.stuck_since() == 100.0
    bring(board, CAT, now=9000.0)
    assert board.servers[A].health.stuck_since() is None
    health(board, failing_since=9100.0)
    upload(board, UNAVAILABLE, Upload(A, CAT), now=9200.0)
    bring(board, CAT, now=9300.0)
    assert board.servers[A].health.stuck_since() == 9100.0


def test_a_job_whose_upload_fails_goes_elsewhere() -> None:
    """While a file rests for one server, another gets it."""
    board = with_inputs({JOB: (CAT,)}, jobs=1, servers=(A, B))
    upload(board, UNAVAILABLE, Upload(A, CAT))
    assert planned(board) == [Upload(B, CAT)]


def test_who_wants_no_uploads_for_now() -> None:
    """429 postpones every POST as told; a 403 page is the file's; a refused token the server's; ours is ours."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    upload(board, TOO_MANY, Upload(A, CAT))
    assert board.servers[A].health.posts_at == 20.0
    upload(board, PAGE, Upload(A, CAT))
    assert board.servers[A].health.refused_since is None
    upload(board, UNAUTHORIZED, Upload(A, CAT))
    assert board.servers[A].health.refused_since == 0.0
    upload(board, replace(LOCAL, handles=True), Upload(A, CAT))
    assert board.sockets.failed_at == 0.0


def hopeless(
    end: Failure, *, other: UploadEnd | None = None, tries: int = 7, every: float = 120.0
) -> Mapping[str, str]:
    """Return which files are given up after so many failed uploads of one; `other` is how that of another ends."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    for number in range(tries):
        if other and number == 1:
            upload(board, other, Upload(A, DOG), now=1.0)
        upload(board, end, Upload(A, CAT), now=number * every)
    return board.servers[A].inputs.refused


def test_a_file_that_never_gets_there_is_its_own_failure() -> None:
    """Six failures in ten minutes are the file's if another got there, else the server's; a denied one's, if alone."""
    stored = Uploaded(DOG.name)
    assert "does not get there: 502" in hopeless(UNAVAILABLE, other=stored)[CAT.name]
    assert "does not get there: 403" in hopeless(PAGE)[CAT.name]
    assert hopeless(UNAVAILABLE) == hopeless(PAGE, other=PAGE) == {}
    assert hopeless(UNAVAILABLE, other=stored, tries=5, every=200.0) == {}
    assert hopeless(UNAVAILABLE, other=stored, every=90.0) == {}


def test_a_file_that_was_only_seen_is_no_upload() -> None:
    """A HEAD that finds what was there says nothing of uploads."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    bring(board, CAT, now=5.0)
    bring(board, CAT, now=9.0)
    assert board.servers[A].inputs.uploaded_at == 5.0
    upload(board, Uploaded(STORED, '"f"'), Upload(A, CAT), now=10.0)
    assert board.servers[A].inputs.uploaded_at == 10.0


def test_a_file_that_nobody_takes_fails_its_jobs_alone() -> None:
    """413 fails the jobs that need the file, with a claim that was never sent, and no other."""
    board = with_inputs({JOB: (CAT,), OTHER: (DOG,)}, jobs=3)
    upload(board, TOO_LARGE, Upload(A, CAT))
    claim, lost = refused(board, 5.0)
    assert isinstance(claim, Claimed)
    assert (claim.job, claim.attempt, claim.server, claim.body) == (JOB, 1, A, "")
    assert isinstance(lost, Lost)
    assert (lost.why, lost.final, lost.message) == (Why.INPUT_REFUSED, True, TOO_LARGE.message)
    assert isinstance(board.states[JOB], Failed)
    assert board.refusals == []
    assert refused(board, 5.0) == []
    assert planned(board) == [submit(JOBS[2]), Upload(A, DOG)]


def test_a_file_that_one_server_refuses_goes_to_another() -> None:
    """As long as a server is waited for that did not refuse it, the job waits for that one; then it fails."""
    board = with_inputs({JOB: (CAT,)}, jobs=1, servers=(A, B))
    upload(board, TOO_LARGE, Upload(A, CAT))
    assert refused(board) == []
    assert planned(board) == [Upload(B, CAT)]
    board.apply(GivenUp(B, 0.0))
    assert len(refused(board)) == 2
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    upload(board, TOO_LARGE, Upload(A, CAT))
    board.apply(GivenUp(A, 0.0))
    assert refused(board) == []


def test_a_prompt_whose_file_is_refused_before_it_is_sent_again_is_taken_back() -> None:
    """It was never acknowledged and is nowhere: it costs no attempt, and may go elsewhere."""
    board = with_inputs({JOB: (CAT,)}, sending(), jobs=1, servers=(A, B))
    upload(board, TOO_LARGE, Upload(A, CAT))
    assert refused(board) == []
    track(board, resend=True)
    (lost,) = refused(board)
    assert isinstance(lost, Lost)
    assert (lost.burns, lost.final) == (False, False)
    assert planned(board) == [Upload(B, CAT)]
    board = with_inputs({JOB: (CAT,)}, sending(server=B), jobs=1, servers=(A, B))
    track(board, resend=True)
    upload(board, TOO_LARGE, Upload(A, CAT))
    assert refused(board) == []
    board = with_inputs({JOB: (CAT,)}, queued(), jobs=1)
    upload(board, TOO_LARGE, Upload(A, CAT))
    assert refused(board) == []


def test_a_copy_that_can_t_be_read_ends_the_run_at_last() -> None:
    """Our own disk's trouble holds up nobody else; only when nothing is out there any more, it is exit 5."""
    board = with_inputs({JOB: (CAT,)}, jobs=2)
    post(board, Taken(ident(OTHER), 1), submit(OTHER))
    for second in (0.0, 30.0, 60.0):
        upload(board, LOCAL, Upload(A, CAT), now=second)
    assert exit_decision(board, 60.0) is None
    note(board, [Lost(OTHER, 1, AT, Why.REFUSED, "no", final=True)])
    ending = exit_decision(board, 60.0)
    assert ending is not None
    assert (ending.exit, "no space left on device: check it" in ending.message) == (5, True)
    board.tick(200.0, AT + 200)
    assert board.inputs.failed_at is None
    upload(board, LOCAL, Upload(A, CAT), now=300.0)
    bring(board, CAT, now=301.0)
    assert board.inputs.failed_at is None


# -- files that a server lost


def test_a_400_that_names_our_file_costs_no_attempt() -> None:
    """The file is uploaded again, whatever was known, and the job gets another attempt; it accuses no workflow."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    bring(board, CAT)
    (lost,) = post(board, missing(), replace(submit(), inputs=((CAT.name, CAT.name),)))
    assert isinstance(lost, Lost)
    assert (lost.why, lost.burns, lost.final) == (Why.INPUT_LOST, False, False)
    assert isinstance(board.states[JOB], Waiting)
    assert board.states[JOB].past.spent == 0
    assert board.refusals == []
    assert planned(board) == [Upload(A, CAT)]
    bring(board, CAT)
    (again,) = planned(board)
    assert isinstance(again, Submit)
    assert again.attempt == 2


def test_a_200_that_leaves_out_what_needs_our_file_is_the_same() -> None:
    """Its prompt is taken off the server, and nothing is spent."""
    board = with_inputs({JOB: (CAT,)}, jobs=1)
    error = replace(missing().node_errors[0], outputs=("15",))
    facts = post(board, Taken(ident(), 1, (error,)), submit())
    assert isinstance(facts[-1], Lost)
    assert facts[-1].why is Why.INPUT_LOST
    assert board.servers[A].unwanted == {ident()}
    assert board.refusals == []


@pytest.mark.parametrize("exception", ["FileNotFoundError", "av.error.FileNotFoundError"])
def test_a_file_that_is_gone_when_its_prompt_runs_costs_no_attempt(exception: str) -> None:
    """It was cleaned up while the prompt waited; the node that misses it need not be the loader."""
    board = with_inputs({JOB: (CAT,)}, queued(), jobs=1)
    bring(board, CAT)
    entry = replace(failure(exception=exception), message=f"[Errno 2] No such file or directory: '/input/{STORED}'")
    (lost,) = take_poll(board, history=[entry], now=30.0)
    assert isinstance(lost, Lost)
    assert (lost.why, lost.burns, lost.error) == (Why.INPUT_LOST, False, "")
    assert board.servers[A].breaker.jobs == frozenset()
    assert planned(board, 30.0) == [Upload(A, CAT)]


def test_another_files_absence_is_an_error_like_any_other() -> None:
    """A model that is not there, or a picture that can't be read, burns the attempt."""
    for exception, message in (
        ("FileNotFoundError", "no such model: x.safetensors"),
        ("PIL.UnidentifiedImageError", f"cannot identify image file '{CAT.name}'"),
    ):
        board = with_inputs({JOB: (CAT,)}, queued(), jobs=1)
        (lost,) = take_poll(board, history=[replace(failure(exception=exception), message=message)], now=30.0)
        assert isinstance(lost, Lost)
        assert (lost.why, lost.burns) == (Why.ERROR, True)
    board = ready_board()
    (lost,) = post(board, missing(), submit())
    assert isinstance(lost, Lost)
    assert lost.why is Why.REFUSED


def test_a_server_that_always_says_so_has_the_last_word() -> None:
    """The fourth time, earlier runs counted, it is a refusal in the server's own words; a retry begins anew."""
    before = [one for number in (1, 2) for one in (claimed(attempt=number), lost_input(number))]
    board = with_inputs({JOB: (CAT,)}, before, jobs=1)
    (third,) = post(board, missing(), submit(attempt=3))
    assert isinstance(third, Lost)
    assert third.why is Why.INPUT_LOST
    (fourth,) = post(board, missing(), submit(attempt=4))
    assert isinstance(fourth, Lost)
    assert (fourth.why, fourth.final, fourth.message) == (Why.REFUSED, True, missing().message)
    assert board.refusals == [missing().message]
    note(board, [Reopened(JOB, 4, AT)])
    (fifth,) = post(board, missing(), submit(attempt=5))
    assert isinstance(fifth, Lost)
    assert fifth.why is Why.INPUT_LOST


def lost_input(attempt: int) -> Lost:
    """Return that an attempt was lost with its input file."""
    return Lost(JOB, attempt, AT, Why.INPUT_LOST, "gone", burns=False)


def test_what_a_lost_ledger_finds_failed_for_want_of_its_file_is_free_too() -> None:
    """A history entry that is adopted is judged as one that was sent."""
    board = new_board(jobs=1)
    board.input_files = {JOB: (CAT,)}
    entry = replace(failure(exception="FileNotFoundError"), message=f"'{CAT.name}'")
    facts = take_poll(board, history=[entry])
    assert isinstance(facts[-1], Lost)
    assert facts[-1].why is Why.INPUT_LOST


def test_a_given_up_server_s_files_are_nobodys_business() -> None:
    """What a server that is not known any more lost changes nothing here."""
    board = with_inputs({JOB: (CAT,)}, queued(), jobs=1, servers=(A, B))
    health(board, uploads_failing_since=0.0)
    track(board, sent_at=0.0)
    assert RULES.patience > 0
    assert [type(fact) for fact in gone(board, now=RULES.patience)] == [Lost]
    assert planned(board, RULES.patience) == [Upload(B, CAT)]
    assert SOUND.is_named_in(f"/input/{prefix()}/{SOUND.name}")
