"""Whatever text a server puts the token into, it leaves the client without it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from answering import TOKEN, answering, client

from batchrunner.comfy.secret import Credentials, Secret, redacted
from batchrunner.core.actions import Ended, Entry, Poll, PollResult, Refused
from batchrunner.core.facts import File

if TYPE_CHECKING:
    from collections.abc import Iterator

PLANTED = f"x{TOKEN}y"
CREDENTIALS = Credentials.bearer(Secret(TOKEN))
WORKFLOW = {"9": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "b-a1", "seed": 1}}}
MESSAGES = [
    ["execution_start", {"prompt_id": "a", "timestamp": 1}],
    [
        "execution_error",
        {
            "prompt_id": "a",
            "node_id": "3",
            "node_type": "KSampler",
            "exception_message": "no",
            "exception_type": "ValueError",
            "timestamp": 2,
        },
    ],
]
ENTRY: dict[str, Any] = {
    "prompt": [0, "a", WORKFLOW, {}, ["9"]],
    "outputs": {"9": {"images": [{"filename": "b-a1_00001_.mp4", "subfolder": "s", "type": "output"}]}},
    "status": {"status_str": "error", "completed": False, "messages": MESSAGES},
}
REFUSAL = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "failed", "details": "d", "extra_info": {}},
    "node_errors": {
        "3": {
            "class_type": "KSampler",
            "dependent_outputs": ["9"],
            "errors": [{"type": "t", "message": "m", "details": "d", "extra_info": {"input_name": "seed"}}],
        }
    },
}
INFO = {"KSampler": {"input": {"required": {"seed": ["INT", {}]}}, "category": "c"}}
ANSWERS: dict[str, Any] = {
    "/queue": {"queue_running": [[1, "b", WORKFLOW, {}, ["9"]]], "queue_pending": []},
    "/history/a": {"a": ENTRY},
    "/history": {"a": ENTRY},
    "/object_info": INFO,
    "/prompt": REFUSAL,
}


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every text in a JSON value."""
    if isinstance(value, str):
        yield above
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _places(one, (*above, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _places(one, (*above, index))


CASES = [(path, place) for path, answer in ANSWERS.items() for place in _places(answer)]


@pytest.mark.parametrize(("path", "place"), CASES, ids=lambda part: "-".join(map(str, part)) if part else "whole")
@pytest.mark.parametrize("status", [200, 400])
async def test_a_token_in_any_text_of_any_answer_comes_out_as_stars(
    path: str, place: tuple[Any, ...], status: int
) -> None:
    """The token in any one text of any answer is in nothing that the client returns."""
    answers = copy.deepcopy(ANSWERS)
    *above, last = place
    inner = answers[path]
    for key in above:
        inner = inner[key]
    inner[last] = PLANTED

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(answers.get(request.path, {}), status=status if request.path == "/prompt" else 200)

    async with answering(answer) as server, client(server) as comfy:
        ends = [await comfy.poll(Poll("s", ("a",), recent=8)), await comfy.submit(b"{}"), await comfy.object_info()]
    assert TOKEN not in repr(ends)


def test_every_text_of_a_value_is_redacted() -> None:
    """Texts are found in nested dataclasses, mappings and tuples; everything else stays as it is."""
    entry = Entry("a", Ended.ERROR, files=(File(PLANTED),), node=PLANTED, exception=PLANTED, message=PLANTED, began=1.5)
    result = redacted(PollResult((), {"a": entry, "b": None}, date=2.0), CREDENTIALS)
    assert TOKEN not in repr(result)
    assert result.date == 2.0
    assert result.history["b"] is None
    assert result.history["a"] is not None
    assert result.history["a"].began == 1.5


def test_a_short_token_is_not_taken_out_of_names() -> None:
    """A token that stands in an id or a file name by chance loses no file; words for people never show it."""
    entry = Entry("abc", Ended.ERROR, files=(File("abc_00001_.mp4"),), message="abc failed")
    seen = redacted(entry, Credentials.bearer(Secret("abc")))
    assert (seen.prompt, seen.files[0].name, seen.message) == ("abc", "abc_00001_.mp4", "*** failed")


@pytest.mark.parametrize("length", range(8, len(TOKEN)))
def test_a_token_that_was_cut_off_with_its_text_is_hidden_too(length: int) -> None:
    """Long texts are cut: the first half of a token at the end of one is a secret as well."""
    assert redacted(Refused(f"said {TOKEN[:length]}"), CREDENTIALS) == Refused("said ***")
