"""`docs/json.md` names every document, event and field that programs are given, and no other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from batchrunner.core.facts import Accepted, Claimed, Fact, File, Lost, Rendered, Saved, Why, fact_name
from batchrunner.core.job import InputFile, Job
from batchrunner.core.lifecycle import folded
from batchrunner.notify import EventFilter, saved_json
from batchrunner.show.events import (
    EVENT_FIELDS,
    bug_event,
    event_json,
    fact_event,
    finished_event,
    note_event,
    server_event,
    started_event,
)
from batchrunner.show.listeners import EventDocuments
from batchrunner.show.live import BoardView
from batchrunner.show.runner import ServerState
from batchrunner.show.sidecar import sidecar
from batchrunner.show.status import Plan, Standing, batch_json, plan_json, status_json

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parent.parent / "docs" / "json.md").read_text(encoding="utf-8")
OPEN = frozenset({"params", "counts", "workflow"})
"""Fields whose own fields are a manifest's, a workflow's or the six states."""
GPU = "http://gpu:8188"
FILE = InputFile("e" * 64, 5, "x.png")
JOB = Job("0" * 12, "", {"seed": 1, "image": "me.png"}, "one", 1.0, uploads={"image": "x.png"}, inputs=(FILE,))
OTHER = Job("1" * 12, "", {"seed": 2}, "two", 1.0)
SAVED = Saved(JOB.id, 2, 9.0, "x.mp4", "one.mp4", 5, "f" * 64)
FACTS: list[Fact] = [
    Claimed(JOB.id, 1, 0.0, "id", "p", GPU, ""),
    Lost(JOB.id, 1, 1.0, Why.FORGOTTEN, "no"),
    Claimed(JOB.id, 2, 2.0, "id", "p", GPU, ""),
    Accepted(JOB.id, 2, 3.0, "id", "p", GPU),
    Rendered(JOB.id, 2, 8.0, (File("x.mp4"),), None, 5.0),
    SAVED,
]
STATES = folded([JOB.id, OTHER.id], FACTS)
STANDING = Standing(9.0, 1, 1.0, 99.0, (ServerState(GPU, "away", 5.0, "no"),), missing=("one.mp4",))


def _section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def _named(text: str) -> list[str]:
    """Return the fields that the tables of a section name in their first column."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def _fields(document: Any, above: str = "") -> Iterator[str]:
    """Yield every field of a document by its path, `jobs[].id`; of one that holds fields only those."""
    if isinstance(document, list):
        yield from (field for item in document for field in _fields(item, f"{above}[]"))
    elif isinstance(document, dict) and (not above or above.rpartition(".")[2] not in OPEN):
        for name, value in document.items():
            path = f"{above}.{name}" if above else name
            inner = list(_fields(value, path))
            yield from inner or [path]
    elif above and not above.endswith("[]"):
        yield above


def _assert_page(title: str, *documents: object) -> None:
    """Fail unless the page names exactly the fields of these documents, and each has its version."""
    plain = [json.loads(json.dumps(document)) for document in documents]
    assert all(document["version"] == 1 for document in plain)
    named = _named(_section(title))
    assert len(named) == len(set(named))

    def is_innermost(name: str) -> bool:
        return not any(other.startswith((f"{name}.", f"{name}[")) for other in named)

    found = {field for document in plain for field in _fields(document)}
    assert set(filter(is_innermost, named)) == set(filter(is_innermost, found))


def test_documents() -> None:
    """Each document has the fields that the page names, and no other."""
    _assert_page("`plan --json`", plan_json(Plan("cats", [JOB, OTHER], STATES, warnings=["x"], seconds=1.0)))
    _assert_page("`status --json`", status_json("cats", [JOB, OTHER], STATES, STANDING))
    batches = [batch_json("cats", "/out/cats", [JOB], STATES, STANDING)]
    _assert_page("`status --json` of all batches", {"version": 1, "batches": batches})
    _assert_page("`on_saved`", saved_json("cats", "/out/cats", JOB, SAVED))
    _assert_page("`NAME.json` beside a result", sidecar("cats", JOB, FACTS, SAVED, {"1": {}}))


def test_notifications() -> None:
    """A notification has the fields that the page names, whatever it is about."""
    told = EventFilter("cats")
    told.event(fact_event(Lost(JOB.id, 1, 1.0, Why.ERROR, "no", final=True), "one"))
    messages = [
        told.failures(2.0),
        told.event(server_event(3.0, GPU, "denied", "no")),
        told.event(finished_event(4.0, {"done": 1}, 0)),
    ]
    every = frozenset({"finished", "failed", "stopped", "breaker", "stuck"})
    _assert_page("`notify`", *(json.loads(message.body(every, "cats")) for message in messages if message))


def test_events() -> None:
    """Every kind of event stands on the page with its fields, and each has what all have."""
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", _section("`run --json`"), re.MULTILINE)
    page = {name: re.findall(r"`(\w+)`", fields) for name, fields in rows}
    head = [name for name in _named(_section("`run --json`")) if name not in page]
    heard: list[dict[str, Any]] = []
    EventDocuments(heard.append, "cats").tick(BoardView("cats", 0.0, 61.0, {"done": 1}, left=2.0))
    events = [
        started_event(0.0, "/out/cats"),
        server_event(0.0, GPU, "up"),
        note_event(0.0, "x"),
        bug_event(0.0, ValueError()),
        finished_event(0.0, {"done": 1}, 0),
        *(fact_event(fact) for fact in FACTS),
    ]
    for told in [*heard, *(event_json("cats", event) for event in events)]:
        assert (told["version"], list(told)) == (1, [*head, *page[told["event"]]])
    assert page.keys() == EVENT_FIELDS.keys()
    assert {fact_name(kind) for kind in get_args(Fact)} <= EVENT_FIELDS.keys()
