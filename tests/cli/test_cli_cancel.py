"""`cancel`: which prompts count as removed, as rendered, and as still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.cancel import prompt_ends
from batchrunner.core.actions import Cause, Ended, Entry, Failure, PollResult, Row
from batchrunner.core.lifecycle import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = {"job": Prompt(1, "id", "cats-job-a1", "http://gpu", claimed=True)}
UNREAD = Failure(Cause.UNAVAILABLE, "GET /history/id answered 502")


@pytest.mark.parametrize(
    ("queue", "history", "end"),
    [
        ((), {"id": None}, "removed"),
        ((), {"id": Entry("id", Ended.ERROR)}, "removed"),
        ((), {"id": Entry("id", Ended.INTERRUPTED)}, "removed"),
        ((), {"id": Entry("id", Ended.SUCCESS)}, "rendered"),
        ((), {}, "left"),
        ((), {"other": None}, "left"),
        ((Row("id", 1, running=True),), {}, "left"),
        ((Row("id", 1, running=True, prefixes=("cats-job-a1",), digest="rewritten"),), {}, "left"),
        ((Row("chosen", 1, running=False, prefixes=("cats-job-a1",), digest="job"),), {"id": None}, "left"),
        ((Row("theirs", 1, running=False, prefixes=("cats-job-a1",), digest="changed"),), {"id": None}, "removed"),
        ((Row("other", 1, running=False, prefixes=("cats-job-a2",)),), {"id": None}, "removed"),
    ],
)
def test_what_became_of_a_prompt(queue: tuple[Row, ...], history: Mapping[str, Entry | None], end: str) -> None:
    """A prompt is removed only if queue and history were read and show none; what could not be read may be there.

    Another workflow under its prefix, in a prompt of another id, is somebody else's.
    """
    poll = PollResult(queue, history, unread=None if "id" in history else UNREAD)
    assert prompt_ends(poll, OURS, lambda job: job) == {"job": end}
