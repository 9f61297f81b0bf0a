"""The queues of the board: by urgency, by rest, and the trouble with our own disk."""

from __future__ import annotations

from hypothesis import given, strategies as st

from batchrunner.core.localfault import LocalFault
from batchrunner.core.queues import Attention, Cooldowns, PriorityQueue

STEPS = st.lists(st.tuples(st.sampled_from(["add", "drop", "first", "due"]), st.integers(0, 9), st.integers(0, 9)))


@given(STEPS)
def test_an_agenda_is_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is added, moved forward and forgotten, an agenda answers as a sorted list would."""
    agenda: PriorityQueue[int] = PriorityQueue()
    model: dict[int, tuple[int, int]] = {}
    unwanted: set[int] = set()
    for turn, (step, item, number) in enumerate(steps):
        ranked = sorted(model, key=model.__getitem__)
        match step:
            case "add":
                unwanted.discard(item)
                agenda.add(number, item)
                if item not in model or number < model[item][0]:
                    model[item] = number, turn
            case "drop":
                unwanted.add(item)
            case "first":
                assert (
                    agenda.first(number, lambda one: one not in unwanted)
                    == [one for one in ranked if one not in unwanted][:number]
                )
                model = _kept(model, ranked, unwanted, number)
            case "due":
                due = [one for one in ranked if model[one][0] <= number]
                assert agenda.due(number) == due
                model = {one: rank for one, rank in model.items() if one not in due}
        assert agenda.next_at() == min((rank[0] for rank in model.values()), default=None)


def _kept(
    model: dict[int, tuple[int, int]], ranked: list[int], unwanted: set[int], limit: int
) -> dict[int, tuple[int, int]]:
    """Forget the unwanted that are met before the limit is reached."""
    found = 0
    kept = dict(model)
    for one in ranked:
        if found >= limit:
            break
        if one in unwanted:
            del kept[one]
        else:
            found += 1
    return kept


def test_moved_forward_and_asked_in_every_way() -> None:
    """What is left behind when an item moves forward is never seen again."""
    for ask in ("first", "due", "next"):
        agenda: PriorityQueue[str] = PriorityQueue()
        agenda.add(9.0, "late")
        agenda.add(5.0, "moved")
        agenda.add(1.0, "moved")
        assert agenda.due(1.0) == ["moved"]
        if ask == "first":
            assert agenda.first(9, lambda _: True) == ["late"]
        elif ask == "due":
            assert agenda.due(9.0) == ["late"]
        assert agenda.next_at() == (None if ask == "due" else 9.0)


def test_asking_twice_changes_nothing() -> None:
    """What was asked for stays where it stands, in the same order."""
    agenda: PriorityQueue[str] = PriorityQueue()
    for item in "abc":
        agenda.add(1.0, item)
    assert agenda.first(2, lambda _: True) == agenda.first(2, lambda _: True) == ["a", "b"]


def test_rests_end_when_the_last_one_does() -> None:
    """A rest made longer holds; one of another file ends for itself."""
    rests = Cooldowns()
    rests.rest("job", "one", 5.0)
    rests.rest("job", "one", 9.0)
    rests.rest("job", "two", 6.0)
    assert rests.over(5.0) == []
    assert rests.over(6.0) == ["job"]
    assert not rests.is_over("job", "one", 8.9)
    assert rests.is_over("job", "two", 6.0)
    assert rests.next_at() == 9.0
    assert rests.over(9.0) == ["job"]
    assert rests.next_at() is None
    assert rests.is_over("job", "one", 9.0)


def test_a_disk_fails_for_good_only_when_tried_again() -> None:
    """One fault is no full disk, however long ago; a second one after `grace` is."""
    disk = LocalFault()
    assert disk.calms_at() is None
    assert not disk.is_out(60.0)
    disk.failed("no space", 0.0)
    assert not disk.is_out(60.0)
    disk.failed("no space left", 59.0)
    assert not disk.is_out(60.0)
    disk.failed("still no space", 60.0)
    assert disk.is_out(60.0)
    assert disk.message == "still no space"
    assert disk.calms_at() == 180.0
    disk.worked()
    assert not disk.is_out(60.0)


def test_a_server_is_visited_when_touched_and_when_its_time_has_come() -> None:
    """A server filed away for a moment is touched then and not before; a moment that was replaced does not count."""
    attention = Attention()
    attention.touch("a")
    attention.touch("b")
    assert attention.names() == ["a", "b"]
    attention.file_away("a", 5.0)
    attention.file_away("a", 5.0)
    attention.file_away("b", 3.0)
    attention.file_away("b", 9.0)
    assert attention.names() == []
    assert attention.next_at() == 5.0
    attention.call_up(4.9)
    assert attention.names() == []
    attention.call_up(5.0)
    assert (attention.names(), attention.next_at()) == (["a"], 9.0)
    attention.file_away("b", None)
    attention.call_up(9.0)
    assert (attention.names(), attention.next_at()) == (["a"], None)
