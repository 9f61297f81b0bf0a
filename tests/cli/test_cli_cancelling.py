"""`cancel`: what counts as gone, as rendered, and as still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.cancel import _queued, _Tally
from batchrunner.core.actions import Cause, Ended, Entry, Failure, PollResult, Row
from batchrunner.core.lifecycle import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = {"job": Prompt(1, "id", "cats-job-a1", "http://gpu", claimed=True)}
UNREAD = Failure(Cause.UNAVAILABLE, "GET /history/id answered 502")


@pytest.mark.parametrize(
    ("queue", "history", "counted"),
    [
        ((), {"id": None}, "gone"),
        ((), {"id": Entry("id", Ended.ERROR)}, "gone"),
        ((), {"id": Entry("id", Ended.INTERRUPTED)}, "gone"),
        ((), {"id": Entry("id", Ended.SUCCESS)}, "rendered"),
        ((), {}, "left"),
        ((), {"other": None}, "left"),
        ((Row("id", 1, running=True),), {}, "left"),
        ((Row("id", 1, running=True, prefixes=("cats-job-a1",), digest="rewritten"),), {}, "left"),
        ((Row("chosen", 1, running=False, prefixes=("cats-job-a1",), digest="job"),), {"id": None}, "left"),
        ((Row("theirs", 1, running=False, prefixes=("cats-job-a1",), digest="changed"),), {"id": None}, "gone"),
        ((Row("other", 1, running=False, prefixes=("cats-job-a2",)),), {"id": None}, "gone"),
    ],
)
def test_what_became_of_a_prompt(queue: tuple[Row, ...], history: Mapping[str, Entry | None], counted: str) -> None:
    """A prompt is gone only if queue and history were read and show none; what could not be read may be there.

    Another workflow under its prefix, in a prompt of another id, is somebody else's.
    """
    tally, poll = _Tally(), PollResult(queue, history, unread=None if "id" in history else UNREAD)
    tally.sort(poll, OURS, _queued(poll, OURS, lambda job: job))
    found = {"gone": tally.gone, "rendered": tally.rendered, "left": tally.left}
    assert found == {"gone": [], "rendered": [], "left": [], counted: ["job"]}
