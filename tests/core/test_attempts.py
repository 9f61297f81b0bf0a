"""What a server's word about one attempt means for its job."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import AT, JOB, RULES, accepted, claimed, failure, ident, interrupted, mp4, prefix, success

from batchrunner.core.actions import Entry, NodeError
from batchrunner.core.attempts import Attempt, accept, burned_loss, classify, lose, refusal
from batchrunner.core.facts import File, Lost, Rendered, Why
from batchrunner.core.health import BurnedLoss
from batchrunner.core.lifecycle import AttemptHistory, Prompt, Queued
from batchrunner.core.settings import Rules


def case(spent: int = 1, error: str = "", rules: Rules = RULES, attempt: int = 1) -> Attempt:
    """Return a queued attempt of a job that has spent so much."""
    prompt = Prompt(attempt, ident(attempt=attempt), prefix(attempt=attempt), claimed().server, claimed=True)
    return Attempt(JOB, Queued(AttemptHistory(attempt, spent, error), prompt), AT, rules)


@pytest.mark.parametrize(
    ("why", "burns"),
    [
        (Why.REFUSED, True),
        (Why.ERROR, True),
        (Why.INTERRUPTED, False),
        (Why.FORGOTTEN, True),
        (Why.EXPIRED, True),
        (Why.WRONG_CONTENT, True),
        (Why.UNUSABLE, True),
        (Why.WITHDRAWN, False),
        (Why.DENIED, False),
        (Why.STUCK, True),
        (Why.SERVER_GONE, False),
    ],
)
def test_what_burns_an_attempt(why: Why, *, burns: bool) -> None:
    """What nobody rendered in vain is free, and what others stopped; all else counts unless it is said not to."""
    assert lose(case(), why, "so").burns is burns
    assert lose(case(), why, "so", burns=not burns).burns is not burns


@pytest.mark.parametrize(("spent", "final"), [(1, False), (2, False), (3, True), (4, True)])
def test_the_last_attempt_is_final(spent: int, *, final: bool) -> None:
    """A loss that counts is final when every attempt is spent, whatever was spent before the rule changed."""
    assert lose(case(spent), Why.EXPIRED, "404").final is final
    assert not lose(case(spent), Why.FORGOTTEN, "restart", burns=False).final


def test_a_refusal_is_final_at_once() -> None:
    """No further attempt helps a workflow that the server refuses."""
    assert lose(case(), Why.REFUSED, "400").final


def test_the_same_error_twice_is_final() -> None:
    """The same error from the same node twice is the workflow, not the weather; another one is not."""
    known = "KSampler #3: ValueError"
    first = classify(case(), failure(), None)
    again = classify(case(error=known), failure(), None)
    other = classify(case(error=known), failure(exception="KeyError"), None)
    assert isinstance(first, Lost)
    assert (first.error, first.final) == (known, False)
    assert first.message == "KSampler #3 raised ValueError: it is too small"
    assert isinstance(again, Lost)
    assert again.final
    assert isinstance(other, Lost)
    assert not other.final


def test_out_of_memory_is_never_the_same_error_twice() -> None:
    """An out of memory may pass: it counts, and only the last attempt makes it final."""
    entry = failure(exception="torch.OutOfMemoryError")
    for spent in (1, 2):
        fact = classify(case(spent, error="KSampler #3: torch.OutOfMemoryError"), entry, None)
        assert isinstance(fact, Lost)
        assert (fact.error, fact.burns, fact.final) == ("", True, False)
    last = classify(case(3), entry, None)
    assert isinstance(last, Lost)
    assert last.final


@pytest.mark.parametrize(
    ("why", "burns", "kind", "may_pass"),
    [
        (Why.REFUSED, True, None, None),
        (Why.INTERRUPTED, False, None, None),
        (Why.WITHDRAWN, False, None, None),
        (Why.SERVER_GONE, False, None, None),
        (Why.FORGOTTEN, False, None, None),
        (Why.FORGOTTEN, True, "forgotten", True),
        (Why.EXPIRED, True, "expired", False),
        (Why.WRONG_CONTENT, True, "wrong content", False),
        (Why.UNUSABLE, True, "unusable", False),
        (Why.STUCK, True, "stuck", True),
        (Why.DENIED, False, "denied", True),
    ],
)
def test_what_a_loss_says_of_its_server(why: Why, kind: str | None, *, burns: bool, may_pass: bool | None) -> None:
    """Every burned loss counts against its server, but for a refusal; and POSTs that something before it denies."""
    found = burned_loss(lose(case(), why, "so", burns=burns))
    assert found == (None if kind is None else BurnedLoss(JOB, kind, "so", may_pass=bool(may_pass)))


@pytest.mark.parametrize(
    ("node", "exception", "kind", "may_pass"),
    [
        ("KSampler #3", "torch.OutOfMemoryError", "out of memory", True),
        ("Pack: Sampler #3", "torch.OutOfMemoryError", "out of memory", True),
        ("KSampler #3", "ValueError", "KSampler #3 raised ValueError", False),
        ("Pack: Sampler #3", "ValueError", "Pack: Sampler #3 raised ValueError", False),
        ("", "", "a node raised an error", False),
    ],
)
def test_classes_of_errors(node: str, exception: str, kind: str, *, may_pass: bool) -> None:
    """Every out of memory is one class, and waiting may help it; other errors are told apart by node and kind."""
    fact = classify(case(), replace(failure(exception=exception), node=node), None)
    assert isinstance(fact, Lost)
    found = burned_loss(fact)
    assert found is not None
    assert (found.kind, found.may_pass) == (kind, may_pass)


def test_a_server_that_only_raises() -> None:
    """An error that is excused is the server's: it is free, leaves no signature, and counts against the server."""
    fact = classify(case(), failure(), None, excused=True)
    assert isinstance(fact, Lost)
    assert (fact.burns, fact.error, fact.final) == (False, "", False)
    assert burned_loss(fact) is not None


def test_a_render_out_of_the_cache_has_no_seconds() -> None:
    """Where only the saving was done, the seconds teach nothing, and are not kept."""
    fact = classify(case(), replace(success(), began=AT + 9.9, from_cache=True), None)
    assert isinstance(fact, Rendered)
    assert fact.seconds is None


def test_an_error_without_words() -> None:
    """An entry that does not say what raised still makes a sentence."""
    fact = classify(case(), replace(failure(), node="", exception="", message="?"), None)
    assert isinstance(fact, Lost)
    assert fact.message == "a node raised an error: ?"


def test_interrupted_by_somebody() -> None:
    """A stranger's interrupt costs nothing."""
    fact = classify(case(), interrupted(), None)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns, fact.final) == (Why.INTERRUPTED, False, False)


def test_success_names_files_a_deadline_and_the_seconds() -> None:
    """The deadline is the end of the render plus `ttl` on the server's clock, or the poll's time without one."""
    entry = replace(success(), began=AT + 4)
    assert classify(case(), entry, AT + 99) == Rendered(JOB, 1, AT, (mp4(),), AT + 610, 6.0)
    timeless = replace(success(), finished=None)
    assert classify(case(), timeless, AT + 99) == Rendered(JOB, 1, AT, (mp4(),), AT + 699)
    assert classify(case(), timeless, None) == Rendered(JOB, 1, AT, (mp4(),), None)
    assert classify(case(rules=Rules(ttl=None)), entry, None) == Rendered(JOB, 1, AT, (mp4(),), None, 6.0)


def test_videos_come_first_and_nodes_in_the_order_of_the_workflow() -> None:
    """However a server lists its outputs, the same files get the same places; unknown nodes come last."""
    names = {"12": "_00001_.png", "9": "_00002_.png", "": "_00003_.png", "20": "_00001_.mp4", "15": "_00002_.WEBM"}
    files = {node: File(f"{prefix()}{name}", node=node) for node, name in names.items()}
    for listed in (list(files), list(reversed(files))):
        entry = replace(success(), files=tuple(files[node] for node in listed))
        fact = classify(replace(case(), nodes=("9", "15", "12", "20")), entry, None)
        assert isinstance(fact, Rendered)
        assert [file.node for file in fact.files] == ["15", "20", "9", "12", ""]


def test_a_clock_that_ran_backwards() -> None:
    """Seconds are never negative."""
    fact = classify(case(), replace(success(), began=AT + 99), None)
    assert isinstance(fact, Rendered)
    assert fact.seconds == 0.0


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (f"{prefix()}_00001_.mp4", True),
        (f"{prefix()}_00001-audio.mp4", True),
        (f"{prefix()}.mp4", True),
        (f"{prefix(attempt=10)}_00001_.mp4", False),
        (f"{prefix(attempt=2)}_00001_.mp4", False),
        ("generated-video_00001_.mp4", False),
    ],
)
def test_whose_file_it_is(name: str, *, ours: bool) -> None:
    """Only a name that begins with this attempt's prefix is ours; the tenth attempt's begins with more."""
    fact = classify(case(), success(files=[File(name)]), None)
    assert isinstance(fact, Rendered if ours else Lost)


def test_a_success_without_a_file_of_ours() -> None:
    """A success from the cache, or one that names nothing, is wrong content, and says what it named."""
    cached = classify(case(), success(files=[File("x.mp4"), File("y.mp4", "sub")]), None)
    empty = classify(case(), success(files=[]), None)
    assert isinstance(cached, Lost)
    assert isinstance(empty, Lost)
    assert (cached.why, cached.message) == (
        Why.WRONG_CONTENT,
        "rendered, but with files of another prompt: x.mp4, sub/y.mp4",
    )
    assert empty.message == "rendered, but its saving nodes left no file of type output to download"


def test_a_prompt_brings_home_a_thousand_files_at_most() -> None:
    """Of 20,000 files of one prompt the first 1,000 come home, and how many do not is said."""
    files = [File(f"{prefix()}_{number:05}_.png") for number in range(20_000)]
    fact = classify(case(), success(files=files), None)
    assert isinstance(fact, Rendered)
    assert fact.files == tuple(files[:1_000])
    assert fact.left_out == 19_000


def test_a_file_listed_twice_is_one_file() -> None:
    """A node that lists its file under two keys does not make a job wait for a second one."""
    fact = classify(case(), success(files=[mp4(), mp4()]), None)
    assert isinstance(fact, Rendered)
    assert fact.files == (mp4(),)


def test_accepting_under_another_id() -> None:
    """The id it goes by on the server is the one that is kept."""
    state = case().state
    assert accept(JOB, state.prompt, "chosen", AT) == replace(accepted(), prompt="chosen")


NODE = NodeError("SaveVideo #15", "format", "no such value", ("15",))


@pytest.mark.parametrize(
    ("node_errors", "wanted", "refused"),
    [
        ((), None, False),
        ((NODE,), None, True),
        ((NODE,), frozenset({"15"}), True),
        ((NODE,), frozenset({"99"}), False),
        ((replace(NODE, outputs=()),), frozenset({"99"}), True),
        ((replace(NODE, outputs=("7",)), NODE), frozenset({"15"}), True),
    ],
)
def test_when_a_200_is_a_refusal(
    node_errors: tuple[NodeError, ...], wanted: frozenset[str] | None, *, refused: bool
) -> None:
    """Node errors refuse our prompt if they touch an output we want, or do not say which outputs they touch."""
    assert bool(refusal(node_errors, wanted)) is refused


def test_a_refusal_names_node_and_input() -> None:
    """A person is told the node, the input and the server's words."""
    assert refusal((NODE,), None) == "SaveVideo #15, input format: no such value"
    assert refusal((replace(NODE, input=""),), None) == "SaveVideo #15, input ?: no such value"


def test_entries_say_nothing_they_do_not_know() -> None:
    """An entry without times has no seconds."""
    fact = classify(case(), Entry(ident(), success().ended, (mp4(),)), None)
    assert isinstance(fact, Rendered)
    assert fact.seconds is None
