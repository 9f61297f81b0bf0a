"""Values as ComfyUI takes them: turned into the type of their input, then held against its range (PROTOCOL.md §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.core.identity import Json
    from batchrunner.sim.catalogue import Input

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
