"""`POST /prompt`: numbering, ids, validation, queueing, in the order ComfyUI does them (PROTOCOL.md §2, §3)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from batchrunner.sim.failures import TroubleError
from batchrunner.sim.prompts import Prompt
from batchrunner.sim.record import What
from batchrunner.sim.validate import Validation, Verdict, error

if TYPE_CHECKING:
    from batchrunner.core.identity import Json
    from batchrunner.sim.server import Simulator

_NO_PROMPT = error("no_prompt", "No prompt provided", "No prompt provided")
_BAD_ID = error("invalid_prompt_id", "The prompt id is no canonical lowercase UUID")


def intake(simulator: Simulator, body: Json, peer: str) -> tuple[int, dict[str, Json]]:
    """Return the status and the body of the answer; the prompt is queued when the status is 200.

    Raises TroubleError where ComfyUI answers 500, which may be after the prompt was queued (PROTOCOL.md §1, 8).
    """
    given = _members(body)
    number = _number(simulator, given)
    if "prompt" not in given:
        return _refuse(simulator, peer, _NO_PROMPT)
    prompt_id = _prompt_id(simulator, given)
    if prompt_id is None:
        return _refuse(simulator, peer, _BAD_ID)
    workflow, verdict = _judged(simulator, given)
    extra_data = _extra_data(simulator, given)
    if verdict.error is not None:
        return _refuse(simulator, peer, verdict.error, verdict.node_errors)
    simulator.accept(Prompt(number, prompt_id, workflow, extra_data, verdict.outputs), peer)
    return 200, {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}


def _refuse(
    simulator: Simulator, peer: str, why: dict[str, Json], node_errors: dict[str, Json] | None = None
) -> tuple[int, dict[str, Json]]:
    simulator.record.add(What.REFUSED, peer=peer, note=str(why["type"]))
    return 400, {"error": why, "node_errors": node_errors or {}}


def _members(body: Json) -> dict[str, Json]:
    if body is None or isinstance(body, bool | int | float):
        raise TroubleError
    return body if isinstance(body, dict) else {}


def _number(simulator: Simulator, given: dict[str, Json]) -> float:
    """Return the number of the queue: the counter, which refused prompts use up too, or whatever was sent."""
    if "number" not in given:
        return simulator.prompts.next_number(front=bool(given.get("front")))
    sent = given["number"]
    if not isinstance(sent, str | int | float):
        raise TroubleError
    try:
        return float(sent)
    except (ValueError, OverflowError):
        raise TroubleError from None


def _prompt_id(simulator: Simulator, given: dict[str, Json]) -> str | None:
    """Return the id: the client's own as text, or one of the server's; None when a new server refuses it."""
    sent = given.get("prompt_id")
    fresh = "prompt_id" not in given or (simulator.new_server and sent is None)
    if fresh or simulator.own_ids:
        return simulator.fresh_id()
    if simulator.new_server and not _canonical(sent):
        return None
    return str(sent)


def _canonical(sent: Json) -> bool:
    try:
        return isinstance(sent, str) and str(uuid.UUID(sent)) == sent
    except ValueError:
        return False


def _judged(simulator: Simulator, given: dict[str, Json]) -> tuple[dict[str, Json], Verdict]:
    workflow = given["prompt"]
    if workflow in ([], ""):
        workflow = {}
    if not isinstance(workflow, dict):
        raise TroubleError
    targets = given.get("partial_execution_targets")
    only = [name for name in targets if isinstance(name, str)] if isinstance(targets, list) else None
    return workflow, Validation(simulator.catalogue, workflow, strict=simulator.new_server).verdict(only)


def _extra_data(simulator: Simulator, given: dict[str, Json]) -> Json:
    """Return the extra data with the client id in it; 0.3.64 lets anything pass that nothing is put into."""
    extra = given.get("extra_data", {})
    if not isinstance(extra, dict):
        if simulator.new_server or "client_id" in given:
            raise TroubleError
        return extra
    if "client_id" in given:
        extra["client_id"] = given["client_id"]
    if simulator.new_server:
        extra["create_time"] = int(simulator.wall() * 1000)
    return extra
