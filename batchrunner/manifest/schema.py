"""The manifest's JSON Schema (draft 2020-12), for editors: completion, hints and most mistakes while typing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from batchrunner.manifest.forms import EVENTS, Form, Listing, Range, Sample, Seeds, Settings, Target
from batchrunner.manifest.names import BUILT_IN
from batchrunner.workflow.ltx2 import DESCRIPTIONS

if TYPE_CHECKING:
    from batchrunner.core.job import Json

    Schema: TypeAlias = dict[str, Json]

_DURATION: Schema = {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?(ms|s|m|h|d)$"}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_OWN = "Your own variable, for `${…}` and file names; it stays out of the workflow."


def manifest_schema() -> dict[str, Json]:
    """Return the schema; every key has a description."""
    described = {key: _described(Settings, key) for key in Settings.model_fields}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "batchrunner manifest",
        "description": "What to render: a batch of ComfyUI jobs.",
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "server", "workflow", "sweep"],
        "properties": {key: {**described[key], **rest} for key, rest in _top().items()},
        "$defs": {
            "values": _values_of_a_block(),
            "fixed": _names("$defs/scalar", "Values without axes: one for each name."),
            "block": _block(),
            "scalar": _SCALAR,
            "list": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/scalar"}},
            "range": _form(Range, [["from", "to", "step"], ["from", "to", "count"]]),
            "seeds": _form(Seeds, [["count"]]),
            "listing": _form(Listing, [["file"]]),
            "target": _target(),
        },
    }


def _top() -> dict[str, Schema]:
    """Return each key's type; its description and default come from the model."""
    own = {key: _typed(key) for key in ("order", "attempts", "depth", "max_jobs")}
    text: Schema = {"type": "string"}
    exclusion: Schema = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _one_or_many(_SCALAR),
    }
    return {
        "name": {"type": "string", "pattern": "^(?!.*\\.\\.)[A-Za-z0-9._-]{1,64}$"},
        "server": _one_or_many({"type": "string", "pattern": "^(sim|https?://.+)$"}),
        "ttl": {"anyOf": [_DURATION, {"const": "none"}], "default": "10m"},
        "workflow": {**text, "examples": ["ltx2", "workflow_api.json"]},
        "params": {"type": "object", "additionalProperties": _one_or_many(text)},
        "prefix": _one_or_many(text),
        "outputs": _one_or_many({"type": ["string", "integer"]}),
        "presets": {
            "type": "object",
            "additionalProperties": {"type": "object", "additionalProperties": {"$ref": "#/$defs/fixed"}},
        },
        "defaults": {"$ref": "#/$defs/fixed"},
        "sweep": _one_or_many({"$ref": "#/$defs/block"}),
        "exclude": _one_or_many(exclusion),
        "sample": _form(Sample, [["count"]]),
        "files": {**text, "default": "{prompt}-s{seed}-{job}", "maxLength": 500},
        "patience": {**_DURATION, "default": "8h"},
        "settle": {**_DURATION, "default": "70s"},
        "grace": {**_DURATION, "default": "60s"},
        "until": {**text, "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"},
        "notify": _one_or_many({"$ref": "#/$defs/target"}),
        "poll": {"anyOf": [_DURATION, {"const": "adaptive"}], "default": "adaptive"},
        "stuck": {"anyOf": [{"type": "number", "minimum": 1, "maximum": 1000}, {"const": "off"}], "default": 3},
        **own,
    }


def _target() -> Schema:
    variable: Schema = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$"}
    types: dict[str, Schema] = {
        "url_env": variable,
        "topic": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "apprise_env": variable,
        "command": {"type": "array", "minItems": 1, "items": {"type": "string"}},
        "on": _one_or_many({"enum": [*EVENTS]}),
    }
    return {
        "description": (Target.__doc__ or "").strip(),
        "type": "object",
        "additionalProperties": False,
        "properties": {key: {**_described(Target, key), **rest} for key, rest in types.items()},
        "oneOf": [{"required": ["url_env"]}, {"required": ["apprise_env"]}, {"required": ["command"]}],
    }


def _block() -> Schema:
    axes: list[Json] = [{"$ref": f"#/$defs/{name}"} for name in ("list", "range", "seeds", "listing")]
    lists: Schema = {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": axes}}
    rows: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/fixed"}}]}
    block = _names("$defs/values", "A block: its axes multiply.")
    properties = block["properties"]
    zipped: Schema = {"zip": {"description": "One axis: lists of equal length, walked together.", **lists}}
    tabled: Schema = {"rows": {"description": "One axis: each row sets several parameters.", **rows}}
    known = properties if isinstance(properties, dict) else {}
    return {**block, "minProperties": 1, "properties": {**known, **zipped, **tabled}}


def _values_of_a_block() -> Schema:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("scalar", "list", "range", "seeds", "listing")]}


def _names(reference: str, description: str) -> Schema:
    """Return a mapping of ltx2's parameters, the presets and any other name to what `reference` describes."""
    value: Schema = {"$ref": f"#/{reference}"}
    known: Schema = {name: {"description": text, **value} for name, text in DESCRIPTIONS.items()}
    for group, options in BUILT_IN.items():
        sets = ", ".join(next(iter(options.values())))
        known[group] = {"description": f"A preset for {sets}: {', '.join(options)}.", **value}
    own: Schema = {"description": _OWN, **value}
    other: Schema = {"description": "A parameter of your workflow, or a preset of your own.", **value}
    return {
        "description": description,
        "type": "object",
        "properties": known,
        "patternProperties": {"^_": own},
        "additionalProperties": other,
    }


def _form(form: type[Form], required: list[list[str]]) -> Schema:
    """Return a form's schema; `required` lists the sets of keys of which one must be there whole."""
    fields: dict[str, Json] = {}
    for key, field in form.model_fields.items():
        fields[field.alias or key] = {**_described(form, key), **_pure(form, field.alias or key)}
    ways: list[Json] = [{"required": [*keys]} for keys in required]
    wanted: Schema = {"anyOf": ways} if len(ways) > 1 else {"required": [*required[0]]}
    return {
        "description": (form.__doc__ or "").strip(),
        "type": "object",
        "additionalProperties": False,
        "properties": fields,
        **wanted,
    }


def _typed(key: str) -> Schema:
    return _pure(Settings, key)


def _pure(form: type[Form], key: str) -> Schema:
    """Return what pydantic says about a key's type, without its title and description."""
    found = form.model_json_schema(by_alias=True)["properties"][key]
    return {name: value for name, value in found.items() if name not in {"title", "description"}}


def _described(form: type[Form], key: str) -> Schema:
    return {"description": form.model_fields[key].description or ""}


def _one_or_many(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}
