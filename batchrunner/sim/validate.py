"""What `POST /prompt` says of a workflow before queueing it, and values as ComfyUI takes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.sim.machine import TroubleError

if TYPE_CHECKING:
    from collections.abc import Collection

    from batchrunner.core.job import Json
    from batchrunner.sim.nodes import Catalogue, Input, NodeClass

# -- Values as ComfyUI takes them: turned into the type of their input, then held against its range (PROTOCOL.md §3).


_SHOWN_CHOICES = 20


def complaint_about(key: str, wanted: Input, value: Json, *, strict: bool) -> tuple[dict[str, Json] | None, Json]:
    """Return (what is wrong or None, the value as it will be used). `strict` checks late choices too."""
    extra: dict[str, Json] = {"input_name": key, "input_config": wanted.described(), "received_value": value}
    try:
        value = _turned(wanted.type, value)
    except (ValueError, TypeError, OverflowError) as raised:
        extra["exception_message"] = str(raised)
        message = f"Failed to convert an input value to a {wanted.type} value"
        return complaint("invalid_input_type", message, f"{key}, {value}, {raised}", extra), value
    extra["received_value"] = value
    if isinstance(value, int | float) and wanted.low is not None and value < wanted.low:
        message = f"Value {value} smaller than min of {wanted.low}"
        return complaint("value_smaller_than_min", message, key, extra), value
    if isinstance(value, int | float) and wanted.high is not None and value > wanted.high:
        message = f"Value {value} bigger than max of {wanted.high}"
        return complaint("value_bigger_than_max", message, key, extra), value
    if wanted.type == "COMBO" and (strict or not wanted.late) and value not in wanted.choices:
        return _unlisted(key, wanted, value, extra), value
    return None, value


def _turned(kind: str, value: Json) -> Json:
    if kind == "INT":
        return int(value)  # type: ignore[arg-type] # what int() says of anything else is part of the answer
    if kind == "FLOAT":
        return float(value)  # type: ignore[arg-type] # the same
    if kind == "STRING":
        return str(value)
    return bool(value) if kind == "BOOLEAN" else value


def _unlisted(key: str, wanted: Input, value: Json, extra: dict[str, Json]) -> dict[str, Json]:
    shown = str(list(wanted.choices))
    if len(wanted.choices) > _SHOWN_CHOICES:
        shown = f"(list of length {len(wanted.choices)})"
        extra["input_config"] = None
    return complaint("value_not_in_list", "Value not in list", f"{key}: '{value}' not in {shown}", extra)


def complaint(kind: str, message: str, details: str, extra: dict[str, Json]) -> dict[str, Json]:
    """Return one entry of a node's `errors`."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra}


# -- What `POST /prompt` says of a workflow before queueing it (PROTOCOL.md §3). Values are coerced in place, as
# there.


Complaint: TypeAlias = "dict[str, Json]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What validation found: the outputs that can run, and the body of a 400 if there are none."""

    outputs: list[str]
    node_errors: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None


class _RaisedError(Exception):
    """ComfyUI's own validation raises here; it reports the exception's type and text."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(text)


class Validation:
    """One prompt against a catalogue. `strict` also checks the choices that 0.3.64 leaves to run time."""

    def __init__(self, catalogue: Catalogue, prompt: dict[str, Json], *, strict: bool = False) -> None:
        self._catalogue = catalogue
        self._prompt = prompt
        self._strict = strict
        self._open: set[str] = set()
        self._found: dict[str, tuple[bool, list[Complaint]]] = {}

    def verdict(self, only: Collection[str] | None) -> Verdict:
        """Judge the prompt; `only` are the output nodes asked for (`partial_execution_targets`), None for all.

        Raises TroubleError where ComfyUI answers 500.
        """
        outputs: list[str] = []
        for name in self._prompt:
            refused, node = self._class_of(name)
            if refused is not None or node is None:
                return Verdict([], {}, refused)
            if node.saves and (only is None or name in only):
                outputs.append(name)
        if not outputs:
            return Verdict([], {}, error("prompt_no_outputs", "Prompt has no outputs"))
        return self._judge(outputs)

    def _class_of(self, name: str) -> tuple[dict[str, Json] | None, NodeClass | None]:
        raw = self._prompt[name]
        if raw is None or isinstance(raw, bool | int | float):
            raise TroubleError
        if not isinstance(raw, dict) or "class_type" not in raw:
            message = "Cannot execute because a node is missing the class_type property."
            return error("invalid_prompt", message, f"Node ID '#{name}'"), None
        class_type = raw["class_type"]
        node = self._catalogue.get(class_type) if isinstance(class_type, str) else None
        if node is None:
            kind = "missing_node_type" if self._strict else "invalid_prompt"
            message = f"Cannot execute because node {class_type} does not exist."
            return error(kind, message, f"Node ID '#{name}'"), None
        return None, node

    def _judge(self, outputs: list[str]) -> Verdict:
        good: list[str] = []
        lines: list[str] = []
        node_errors: dict[str, Json] = {}
        for output in outputs:
            valid, reasons = self._output(output)
            if valid:
                good.append(output)
                continue
            lines += [f"{reason['message']}: {reason['details']}" for reason in reasons]
            self._blame(output, node_errors)
        if good:
            return Verdict(good, node_errors)
        failed = error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines))
        return Verdict([], node_errors, failed)

    def _output(self, output: str) -> tuple[bool, list[Complaint]]:
        try:
            return self._node(output)
        except _RaisedError as raised:
            extra: dict[str, Json] = {"exception_type": raised.kind, "traceback": _traceback(raised)}
            reason = complaint("exception_during_validation", "Exception when validating node", raised.text, extra)
            self._found[output] = (False, [reason])
            return self._found[output]

    def _blame(self, output: str, node_errors: dict[str, Json]) -> None:
        """List every node found wrong so far, and `output` among what depends on it."""
        for name, (valid, reasons) in self._found.items():
            if valid or not reasons:
                continue
            shown = node_errors.get(name)
            dependents = shown["dependent_outputs"] if isinstance(shown, dict) else []
            dependents = [*dependents, output] if isinstance(dependents, list) else [output]
            raw = self._prompt[name]
            class_type = raw["class_type"] if isinstance(raw, dict) else None
            errors: list[Json] = list(reasons)
            node_errors[name] = {"errors": errors, "dependent_outputs": dependents, "class_type": class_type}

    def _node(self, name: str) -> tuple[bool, list[Complaint]]:
        if name in self._found:
            return self._found[name]
        if name in self._open:
            return False, []
        self._open.add(name)
        node, inputs = self._opened(name)
        reasons: list[Complaint] = []
        valid = True
        for key, wanted in node.inputs.items():
            if key not in inputs:
                if not wanted.optional:
                    extra: dict[str, Json] = {"input_name": key}
                    reasons.append(complaint("required_input_missing", "Required input is missing", key, extra))
                continue
            reason, sound = self._input(key, wanted, inputs)
            reasons += [reason] if reason is not None else []
            valid = valid and sound
        self._open.discard(name)
        self._found[name] = (valid and not reasons, reasons)
        return self._found[name]

    def _opened(self, name: str) -> tuple[NodeClass, dict[str, Json]]:
        raw = self._prompt.get(name)
        if not isinstance(raw, dict):
            raise _RaisedError("KeyError", repr(name))
        if "inputs" not in raw:
            raise _RaisedError("KeyError", "'inputs'")
        inputs = raw["inputs"]
        if not isinstance(inputs, dict):
            raise _RaisedError("TypeError", f"argument of type '{_python_type(inputs)}' is not iterable")
        return self._catalogue[str(raw["class_type"])], inputs

    def _input(self, key: str, wanted: Input, inputs: dict[str, Json]) -> tuple[Complaint | None, bool]:
        """Return what is wrong with one input itself, and whether what it leads to is sound."""
        value = inputs[key]
        if isinstance(value, list):
            return self._link(key, wanted, value)
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[key] = value["__value__"]
        reason, inputs[key] = complaint_about(key, wanted, value, strict=self._strict)
        return reason, True

    def _link(self, key: str, wanted: Input, value: list[Json]) -> tuple[Complaint | None, bool]:
        if len(value) != 2:
            extra: dict[str, Json] = {"input_name": key, "input_config": wanted.described(), "received_value": value}
            said = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return complaint("bad_linked_input", said, key, extra), True
        source, given = self._given(value)
        if given != wanted.type:
            return _mismatch(key, wanted, value, given), True
        try:
            valid, _ = self._node(source)
        except _RaisedError as raised:
            self._found[source] = (False, [_inner(key, wanted, value, raised)])
            return None, False
        return None, valid

    def _given(self, value: list[Json]) -> tuple[str, str]:
        """Return (node id, type) of what a link leads to. Raises where ComfyUI's validation raises."""
        source, slot = value
        if not isinstance(source, str) or source not in self._prompt:
            raise _RaisedError("KeyError", repr(source))
        raw = self._prompt[source]
        outputs = self._catalogue[str(raw["class_type"])].outputs if isinstance(raw, dict) else ()
        if not isinstance(slot, int):
            said = f"tuple indices must be integers or slices, not {_python_type(slot)}"
            raise _RaisedError("TypeError", said)
        if not -len(outputs) <= slot < len(outputs):
            raise _RaisedError("IndexError", "list index out of range")
        return source, outputs[slot]


def error(kind: str, message: str, details: str = "") -> dict[str, Json]:
    """Return the `error` of a 400's body."""
    return {"type": kind, "message": message, "details": details, "extra_info": {}}


def _mismatch(key: str, wanted: Input, value: list[Json], given: str) -> Complaint:
    details = f"{key}, received_type({given}) mismatch input_type({wanted.type})"
    extra: dict[str, Json] = {
        "input_name": key,
        "input_config": wanted.described(),
        "received_type": given,
        "linked_node": value,
    }
    return complaint("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)


def _inner(key: str, wanted: Input, value: list[Json], raised: _RaisedError) -> Complaint:
    extra: dict[str, Json] = {
        "input_name": key,
        "input_config": wanted.described(),
        "exception_message": raised.text,
        "exception_type": raised.kind,
        "traceback": _traceback(raised),
        "linked_node": value,
    }
    return complaint("exception_during_inner_validation", "Exception when validating inner node", raised.text, extra)


def _traceback(raised: _RaisedError) -> list[Json]:
    return [f'  File "execution.py", in validate_inputs\n    {raised.kind}: {raised.text}\n']


def _python_type(value: Json) -> str:
    return type(value).__name__
