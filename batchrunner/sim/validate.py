"""What `POST /prompt` checks before it queues a workflow, in place: values are converted to the type of their input.

Errors have the types and texts of a real server (docs/comfyui.md §3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.sim.machine import InternalServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchrunner.core.job import Json
    from batchrunner.sim.nodes import Catalogue, Input, NodeClass

ErrorEntry: TypeAlias = "dict[str, Json]"
_MOST_CHOICES = 20
"""Longer lists of choices are not repeated in an error."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What validation found: the outputs that can run, and the body of a 400 if there are none."""

    outputs: list[str]
    node_errors: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None


class _RaisedError(Exception):
    """ComfyUI's validation raises here, and reports the exception's type and text."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        self.text = text
        super().__init__(text)


class Validation:
    """One prompt against a catalogue. `strict` also checks the choices that 0.3.64 leaves to run time.

    With `any_choice` no choices are checked. `has_file` tells whether the file that a media input names exists.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        prompt: dict[str, Json],
        *,
        strict: bool = False,
        any_choice: bool = False,
        has_file: Callable[[str], bool] = bool,
    ) -> None:
        self._catalogue = catalogue
        self._has_file = has_file
        self._prompt = prompt
        self._strict = strict
        self._any_choice = any_choice
        self._open: set[str] = set()
        self._found: dict[str, tuple[bool, list[ErrorEntry]]] = {}

    def check(self, only: Collection[str] | None) -> Checked:
        """Check the prompt; `only` are the output nodes wanted (`partial_execution_targets`), None for all.

        Raises InternalServerError where ComfyUI answers 500.
        """
        outputs: list[str] = []
        for name in self._prompt:
            refused, node = self._class_of(name)
            if refused is not None or node is None:
                return Checked([], {}, refused)
            if node.saves and (only is None or name in only):
                outputs.append(name)
        if not outputs:
            return Checked([], {}, error("prompt_no_outputs", "Prompt has no outputs"))
        return self._check_outputs(outputs)

    def _class_of(self, name: str) -> tuple[ErrorEntry | None, NodeClass | None]:
        raw = self._prompt[name]
        if raw is None or isinstance(raw, bool | int | float):
            raise InternalServerError
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

    def _check_outputs(self, outputs: list[str]) -> Checked:
        good: list[str] = []
        lines: list[str] = []
        node_errors: dict[str, Json] = {}
        for output in outputs:
            valid, reasons = self._output(output)
            if valid:
                good.append(output)
                continue
            lines += [f"{reason['message']}: {reason['details']}" for reason in reasons]
            self._list_errors(output, node_errors)
        if good:
            return Checked(good, node_errors)
        failed = error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines))
        return Checked([], node_errors, failed)

    def _output(self, output: str) -> tuple[bool, list[ErrorEntry]]:
        try:
            return self._node(output)
        except _RaisedError as raised:
            extra: dict[str, Json] = {"exception_type": raised.kind, "traceback": _traceback(raised)}
            reason = error("exception_during_validation", "Exception when validating node", raised.text, extra)
            self._found[output] = (False, [reason])
            return self._found[output]

    def _list_errors(self, output: str, node_errors: dict[str, Json]) -> None:
        """List every node found wrong so far, with `output` among those that depend on it."""
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

    def _node(self, name: str) -> tuple[bool, list[ErrorEntry]]:
        if name in self._found:
            return self._found[name]
        if name in self._open:
            return False, []
        self._open.add(name)
        node, inputs = self._inputs(name)
        reasons: list[ErrorEntry] = []
        valid = True
        for key, wanted in node.inputs.items():
            if key not in inputs:
                if not wanted.optional:
                    extra: dict[str, Json] = {"input_name": key}
                    reasons.append(error("required_input_missing", "Required input is missing", key, extra))
                continue
            reason, sound = self._input(key, wanted, inputs)
            reasons += [reason] if reason is not None else []
            valid = valid and sound
        self._open.discard(name)
        self._found[name] = (valid and not reasons, reasons)
        return self._found[name]

    def _inputs(self, name: str) -> tuple[NodeClass, dict[str, Json]]:
        raw = self._prompt.get(name)
        if not isinstance(raw, dict):
            raise _RaisedError("KeyError", repr(name))
        if "inputs" not in raw:
            raise _RaisedError("KeyError", "'inputs'")
        inputs = raw["inputs"]
        if not isinstance(inputs, dict):
            raise _RaisedError("TypeError", f"argument of type '{type(inputs).__name__}' is not iterable")
        return self._catalogue[str(raw["class_type"])], inputs

    def _input(self, key: str, wanted: Input, inputs: dict[str, Json]) -> tuple[ErrorEntry | None, bool]:
        """Return what is wrong with one input itself, and whether the node it links to is valid."""
        value = inputs[key]
        if isinstance(value, list):
            return self._link(key, wanted, value)
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[key] = value["__value__"]
        if wanted.media:
            return self._media(key, wanted, value), True
        late, any_choice = self._strict, self._any_choice
        reason, inputs[key] = _checked_value(key, wanted, value, late=late, any_choice=any_choice)
        return reason, True

    def _media(self, key: str, wanted: Input, value: Json) -> ErrorEntry | None:
        if not isinstance(value, str):
            raise _RaisedError("AttributeError", f"'{type(value).__name__}' object has no attribute 'endswith'")
        if self._has_file(value):
            return None
        details = f"{key} - Invalid {wanted.media} file: {value}"
        return error("custom_validation_failed", "Custom validation failed for node", details, {"input_name": key})

    def _link(self, key: str, wanted: Input, value: list[Json]) -> tuple[ErrorEntry | None, bool]:
        if len(value) != 2:
            extra: dict[str, Json] = {"input_name": key, "input_config": wanted.described(), "received_value": value}
            text = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return error("bad_linked_input", text, key, extra), True
        source, given = self._given(value)
        if given != wanted.type and "*" not in (given, wanted.type):
            return _mismatch(key, wanted, value, given), True
        try:
            valid, _ = self._node(source)
        except _RaisedError as raised:
            self._found[source] = (False, [_inner(key, wanted, value, raised)])
            return None, False
        return None, valid

    def _given(self, value: list[Json]) -> tuple[str, str]:
        """Return the node id and the type that a link leads to. Raises where ComfyUI's validation raises."""
        source, slot = value
        if not isinstance(source, str) or source not in self._prompt:
            raise _RaisedError("KeyError", repr(source))
        raw = self._prompt[source]
        outputs = self._catalogue[str(raw["class_type"])].outputs if isinstance(raw, dict) else ()
        if not isinstance(slot, int):
            text = f"tuple indices must be integers or slices, not {type(slot).__name__}"
            raise _RaisedError("TypeError", text)
        if not -len(outputs) <= slot < len(outputs):
            raise _RaisedError("IndexError", "list index out of range")
        return source, outputs[slot]


def _mismatch(key: str, wanted: Input, value: list[Json], given: str) -> ErrorEntry:
    details = f"{key}, received_type({given}) mismatch input_type({wanted.type})"
    extra: dict[str, Json] = {
        "input_name": key,
        "input_config": wanted.described(),
        "received_type": given,
        "linked_node": value,
    }
    return error("return_type_mismatch", "Return type mismatch between linked nodes", details, extra)


def _inner(key: str, wanted: Input, value: list[Json], raised: _RaisedError) -> ErrorEntry:
    extra: dict[str, Json] = {
        "input_name": key,
        "input_config": wanted.described(),
        "exception_message": raised.text,
        "exception_type": raised.kind,
        "traceback": _traceback(raised),
        "linked_node": value,
    }
    return error("exception_during_inner_validation", "Exception when validating inner node", raised.text, extra)


def _traceback(raised: _RaisedError) -> list[Json]:
    return [f'  File "execution.py", in validate_inputs\n    {raised.kind}: {raised.text}\n']


def _checked_value(
    key: str, wanted: Input, value: Json, *, late: bool, any_choice: bool
) -> tuple[ErrorEntry | None, Json]:
    """Return (what is wrong or None, the value as it will be used). `late` checks late choices too."""
    extra: dict[str, Json] = {"input_name": key, "input_config": wanted.described(), "received_value": value}
    try:
        value = _converted(wanted.type, value)
    except (ValueError, TypeError, OverflowError) as raised:
        extra["exception_message"] = str(raised)
        message = f"Failed to convert an input value to a {wanted.type} value"
        return error("invalid_input_type", message, f"{key}, {value}, {raised}", extra), value
    extra["received_value"] = value
    if isinstance(value, int | float) and wanted.low is not None and value < wanted.low:
        message = f"Value {value} smaller than min of {wanted.low}"
        return error("value_smaller_than_min", message, key, extra), value
    if isinstance(value, int | float) and wanted.high is not None and value > wanted.high:
        message = f"Value {value} bigger than max of {wanted.high}"
        return error("value_bigger_than_max", message, key, extra), value
    checked = wanted.type == "COMBO" and not any_choice and (late or not wanted.late)
    if checked and value not in wanted.choices:
        return _not_listed(key, wanted, value, extra), value
    return None, value


def _converted(kind: str, value: Json) -> Json:
    if kind == "INT":
        return int(value)  # type: ignore[arg-type] # what int() says of anything else is part of the answer
    if kind == "FLOAT":
        return float(value)  # type: ignore[arg-type] # the same
    if kind == "STRING":
        return str(value)
    return bool(value) if kind == "BOOLEAN" else value


def _not_listed(key: str, wanted: Input, value: Json, extra: dict[str, Json]) -> ErrorEntry:
    shown = str(list(wanted.choices))
    if len(wanted.choices) > _MOST_CHOICES:
        shown = f"(list of length {len(wanted.choices)})"
        extra["input_config"] = None
    return error("value_not_in_list", "Value not in list", f"{key}: '{value}' not in {shown}", extra)


def error(kind: str, message: str, details: str = "", extra: dict[str, Json] | None = None) -> dict[str, Json]:
    """Return the `error` of a 400's body, or one entry of a node's `errors`."""
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}
