"""The life of a job: every state meets every fact, of the attempt that counts, of an earlier and of a later one."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from boards import AT, accepted, claimed, lost, mp4, rendered, saved
from hypothesis import given, strategies as st

from batchrunner.core.facts import DownloadFailed, Dropped, Fact, File, Opened, Reopened, Saved, Why, fact_name
from batchrunner.core.lifecycle import (
    AttemptHistory,
    Contradiction,
    Done,
    Failed,
    Fetching,
    Item,
    Prompt,
    Queued,
    Sending,
    State,
    Unwanted,
    Waiting,
    advance,
    folded,
)

JOB = claimed().job
PAST = AttemptHistory(highest=2, spent=1)
PROMPT = Prompt(2, claimed(attempt=2).prompt, claimed(attempt=2).prefix, claimed().server, claimed=True)
NOW, BEFORE, AFTER = 2, 1, 3
"""The attempt that counts in every state below, an earlier one, and one that nobody claimed yet."""

STATES: dict[str, State] = {
    "waiting": Waiting(PAST),
    "sending": Sending(PAST, PROMPT),
    "queued": Queued(PAST, PROMPT),
    "fetching": Fetching(PAST, PROMPT, (Item(mp4(attempt=2)),), AT + 600),
    "done": Done(PAST, PROMPT, (saved(attempt=2),)),
    "failed": Failed(PAST, Why.REFUSED, "no"),
    "unwanted": Unwanted(PAST),
}
SAME, LOUD = "unchanged", "Contradiction"

# Columns: waiting, sending, queued, fetching, done, failed, unwanted.
TABLE: dict[str, tuple[str, ...]] = {
    "claimed now":       (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "claimed before":    (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "claimed after":     ("sending", LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "accepted now":      ("queued", "queued", SAME, SAME, SAME, SAME, SAME),
    "accepted before":   ("queued", SAME, SAME, SAME, SAME, SAME, SAME),
    "accepted after":    ("queued", LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "rendered now":      (SAME, "fetching", "fetching", SAME, SAME, SAME, SAME),
    "rendered before":   (SAME, SAME, SAME, SAME, SAME, SAME, SAME),
    "rendered after":    (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "opened now":        (SAME, LOUD, LOUD, "fetching", SAME, SAME, SAME),
    "opened before":     (SAME, SAME, SAME, SAME, SAME, SAME, SAME),
    "opened after":      (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "saved now":         (SAME, LOUD, LOUD, "done", SAME, SAME, SAME),
    "saved before":      (SAME, SAME, SAME, SAME, SAME, SAME, SAME),
    "saved after":       (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "broke now":         (SAME, LOUD, LOUD, "fetching", SAME, SAME, SAME),
    "broke before":      (SAME, SAME, SAME, SAME, SAME, SAME, SAME),
    "broke after":       (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "lost now":          (SAME, "waiting", "waiting", "waiting", SAME, SAME, SAME),
    "lost before":       (SAME, SAME, SAME, SAME, SAME, SAME, SAME),
    "lost after":        (LOUD, LOUD, LOUD, LOUD, LOUD, LOUD, LOUD),
    "lost for good now": (SAME, "failed", "failed", "failed", SAME, SAME, SAME),
    "reopened now":      ("waiting", LOUD, LOUD, LOUD, "waiting", "waiting", "waiting"),
    "reopened before":   ("waiting", LOUD, LOUD, LOUD, "waiting", "waiting", "waiting"),
    "reopened after":    ("waiting", LOUD, LOUD, LOUD, "waiting", "waiting", "waiting"),
    "dropped now":       ("unwanted", LOUD, LOUD, LOUD, LOUD, "unwanted", SAME),
    "dropped before":    ("unwanted", LOUD, LOUD, LOUD, LOUD, "unwanted", SAME),
    "dropped after":     ("unwanted", LOUD, LOUD, LOUD, LOUD, "unwanted", SAME),
}  # fmt: skip


def fact_of(kind: str, attempt: int) -> Fact:
    """Return an example of a fact of one attempt."""
    name = mp4(attempt=attempt)
    return {
        "claimed": claimed(attempt=attempt),
        "accepted": accepted(attempt=attempt),
        "rendered": rendered(attempt=attempt),
        "opened": Opened(JOB, attempt, AT, name.key, '"etag"', 9, "x.part", "boot"),
        "saved": saved(attempt=attempt),
        "broke": DownloadFailed(JOB, attempt, AT, name.key, "reset"),
        "lost": lost(attempt=attempt),
        "lost for good": lost(attempt=attempt, final=True),
        "reopened": Reopened(JOB, attempt, AT),
        "dropped": Dropped(JOB, attempt, AT, "cancelled"),
    }[kind]


CELLS = [
    pytest.param(state, fact, expected, id=f"{state}, {fact}: {expected}")
    for fact, row in TABLE.items()
    for state, expected in zip(STATES, row, strict=True)
]


@pytest.mark.parametrize(("state", "fact", "expected"), CELLS)
def test_every_state_meets_every_fact(state: str, fact: str, expected: str) -> None:
    """Each cell of the table is what `advance` does: the next state, no change, or a Contradiction."""
    before = STATES[state]
    kind, _, when = fact.rpartition(" ")
    news = fact_of(kind, {"now": NOW, "before": BEFORE, "after": AFTER}[when])
    if expected == LOUD:
        with pytest.raises(Contradiction):
            advance(before, news)
        return
    after = advance(before, news)
    if expected == SAME:
        assert after == before
    else:
        assert type(after).__name__.lower() == expected


def test_the_table_is_whole() -> None:
    """No state and no kind of fact is left out of the table."""
    assert {type(state) for state in STATES.values()} == set(get_args(State))
    met = {type(fact_of(fact.rpartition(" ")[0], 1)) for fact in TABLE}
    assert met == set(get_args(Fact))


KINDS = ("claimed", "accepted", "rendered", "opened", "saved", "broke", "lost", "lost for good", "reopened", "dropped")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 4)), max_size=30))
def test_whatever_is_heard_twice_changes_nothing_more(news: list[tuple[str, int]]) -> None:
    """After any story, numbers only grow, what counts is never negative, and the world's word repeated is no news."""
    state: State = Waiting()
    for kind, attempt in news:
        fact = fact_of(kind, attempt)
        try:
            after = advance(state, fact)
        except Contradiction:
            continue
        assert after.past.highest >= state.past.highest
        assert after.past.spent >= 0
        if kind not in ("claimed", "broke", "accepted"):
            assert advance(after, fact) == after
        state = after


def test_a_claim_counts_at_once_and_a_free_loss_gives_it_back() -> None:
    """An attempt counts from its claim on; lost through nobody's fault it is given back, its number never."""
    sent = advance(Waiting(), claimed())
    assert sent.past == AttemptHistory(highest=1, spent=1)
    assert advance(sent, lost(burns=False)).past == AttemptHistory(highest=1, spent=0)
    assert advance(sent, lost()).past == AttemptHistory(highest=1, spent=1)


def test_an_adopted_attempt_does_not_count() -> None:
    """What this ledger did not send costs it no attempt, free loss or not."""
    adopted = advance(Waiting(), accepted(attempt=4, highest=7))
    assert adopted.past == AttemptHistory(highest=7, spent=0)
    assert advance(adopted, lost(attempt=4, burns=False)).past == AttemptHistory(highest=7, spent=0)
    assert advance(adopted, lost(attempt=4)).past == AttemptHistory(highest=7, spent=0)


def test_an_old_server_names_the_prompt() -> None:
    """The id that a server chose replaces ours; prefix and server stay."""
    after = advance(advance(Waiting(), claimed()), replace(accepted(), prompt="chosen"))
    assert isinstance(after, Queued)
    assert after.prompt == replace(Prompt(1, "chosen", claimed().prefix, claimed().server, claimed=True))


def test_reopening_forgets_what_was_spent_but_no_number() -> None:
    """A job that a person wants again has all its attempts before it and goes on counting their numbers."""
    failed = Failed(AttemptHistory(3, 3, "KSampler: ValueError"), Why.ERROR, "raised")
    assert advance(failed, Reopened(JOB, 3, AT)) == Waiting(AttemptHistory(3))


def test_the_last_error_is_remembered() -> None:
    """An error's signature stays until another one replaces it; a loss without one does not."""
    sent = advance(Waiting(), claimed())
    raised = advance(sent, replace(lost(), error="KSampler: ValueError"))
    again = advance(advance(raised, claimed(attempt=2)), lost(attempt=2))
    assert again.past.error == "KSampler: ValueError"


def test_the_attempt_that_was_given_up_is_remembered() -> None:
    """A server that is given up may still render the attempt; once that is lost by proof, nothing is expected of it."""
    given_up = advance(advance(Waiting(), claimed()), lost(why=Why.SERVER_GONE, burns=False))
    assert given_up == Waiting(AttemptHistory(highest=1, spent=0, given_up=1))
    later = advance(advance(given_up, claimed(attempt=2)), lost(attempt=2))
    assert later.past.given_up == 1
    found = advance(later, accepted(attempt=1))
    assert advance(found, lost(why=Why.EXPIRED)).past == AttemptHistory(highest=2, spent=1)


def test_where_it_got_stuck_is_remembered() -> None:
    """The next attempt prefers a server on which none got stuck."""
    stuck = advance(advance(Waiting(), claimed()), lost(why=Why.STUCK))
    assert stuck.past == AttemptHistory(highest=1, spent=1, stuck_on=claimed().server)


def test_success_without_a_file_is_no_render() -> None:
    """A Rendered that names no file is a Contradiction: who notes it has not judged it."""
    with pytest.raises(Contradiction):
        advance(STATES["queued"], replace(rendered(attempt=2), files=()))


def test_news_of_no_file_of_the_job() -> None:
    """A download of a file that the prompt does not have is a Contradiction."""
    with pytest.raises(Contradiction):
        advance(STATES["fetching"], saved(attempt=2, file=File("other.mp4")))


def test_several_files_are_done_together() -> None:
    """A job is done with its last file; what is home stays home, whatever is heard of it later."""
    one, two = mp4(), File("two.mp4", "sub")
    state: State = folded([JOB], [claimed(), accepted(), rendered(files=[one, two])])[JOB]
    state = advance(state, saved(file=one))
    assert isinstance(state, Fetching)
    assert advance(state, DownloadFailed(JOB, 1, AT, one.key, "reset")) == state
    ended = advance(state, saved(file=two))
    assert isinstance(ended, Done)
    assert [file.file for file in ended.files] == [one.key, "sub/two.mp4"]


def test_a_broken_download_is_counted_and_remembers_a_whole_one() -> None:
    """Every broken download counts; the ETag under which a file came whole stays through one that broke off."""
    state = folded([JOB], [claimed(), accepted(), rendered()])[JOB]
    state = advance(state, DownloadFailed(JOB, 1, AT, mp4().key, "no film", whole="etag"))
    state = advance(state, DownloadFailed(JOB, 1, AT, mp4().key, "reset"))
    assert isinstance(state, Fetching)
    assert (state.items[0].broken, state.items[0].whole) == (2, "etag")


def test_the_life_of_a_job_from_end_to_end() -> None:
    """Folding a ledger gives every job its state, of jobs that nobody named too."""
    other = "f" * 12
    states = folded([JOB], [claimed(), accepted(), rendered(), saved(), claimed(other)])
    assert isinstance(states[JOB], Done)
    assert isinstance(states[other], Sending)


def test_facts_are_named_as_they_are_stored() -> None:
    """The state file and events call a kind of fact by its class in small letters, words joined by underscores."""
    assert [fact_name(kind) for kind in (Saved, DownloadFailed)] == ["saved", "download_failed"]
