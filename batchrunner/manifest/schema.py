"""The manifest's JSON Schema (draft 2020-12), for editors: completion, hints and most mistakes while typing.

Everything with fixed keys is pydantic's own schema of the models in `forms`. Here stands what depends on the workflow:
the values of a block, with ltx2's parameters and presets as hints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from batchrunner.manifest.forms import (
    Dynamic,
    FromBatch,
    FromFile,
    FromPattern,
    FromTable,
    OnServer,
    Range,
    RecipientForm,
    Sample,
    Seeds,
    Settings,
)
from batchrunner.manifest.names import BUILT_IN
from batchrunner.workflow.ltx2 import DESCRIPTIONS

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

    from batchrunner.core.job import Json

    Schema = dict[str, Any]

_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_OWN_VARIABLE = "Your own variable, for `${…}` and file names; it stays out of the workflow."


class _Generator(GenerateJsonSchema):
    """Pydantic's schema without titles, which repeat the names, and without defaults that nobody would write."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value not in (None, "", [], {})}

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's own signature
        return False


def manifest_schema() -> dict[str, Json]:
    """Return the schema; every key has a description."""
    forms = (
        Settings,
        Sample,
        Range,
        Seeds,
        FromFile,
        FromPattern,
        FromTable,
        FromBatch,
        Dynamic,
        OnServer,
        RecipientForm,
    )
    _, schema = models_json_schema([(form, "validation") for form in forms], schema_generator=_Generator)
    definitions: Schema = schema["$defs"]
    settings = definitions.pop("Settings")
    scalar, fixed = _ref("scalar"), _ref("fixed")
    single: Schema = {"anyOf": [scalar, _ref("OnServer")]}
    axes = [_ref(name) for name in ("list", "Range", "Seeds", "FromFile", "FromPattern", "Dynamic")]
    zipped: Schema = {"type": "object", "minProperties": 1, "additionalProperties": {"anyOf": axes}}
    listed: Schema = {"type": "array", "minItems": 1, "items": fixed}
    rows: Schema = {"anyOf": [{"type": "string"}, _ref("FromTable"), _ref("FromBatch"), listed]}
    exclusion: Schema = {"type": "object", "minProperties": 1, "additionalProperties": _one_or_many(scalar)}
    block = _names(_ref("values"), "A block: its axes multiply.")
    block["minProperties"] = 1
    block["properties"]["zip"] = {
        "description": "One axis: lists of equal length, walked together; or several of these, which multiply.",
        **_one_or_many(zipped),
    }
    block["properties"]["rows"] = {"description": "One axis: each row sets several parameters.", **rows}
    definitions |= {
        "scalar": _SCALAR,
        "list": {"type": "array", "minItems": 1, "items": single},
        "values": {"anyOf": [scalar, _ref("OnServer"), *axes]},
        "fixed": _names(single, "Values without axes: one for each name."),
        "block": block,
    }
    options: Schema = {"type": "object", "additionalProperties": fixed}
    for key, value in {
        "presets": {"type": "object", "additionalProperties": options},
        "defaults": fixed,
        "sweep": _one_or_many(_ref("block")),
        "exclude": _one_or_many(exclusion),
        "notify": _one_or_many(_ref("RecipientForm")),
    }.items():
        settings["properties"][key] |= value
    for key, value in settings["properties"].items():
        # The loader takes an empty key for none; an editor should not offer null, nor mark a text not typed yet.
        given = [way for way in value.pop("anyOf", ()) if way != {"type": "null"}]
        merged = value | (given[0] if len(given) == 1 else {"anyOf": given} if given else {})
        settings["properties"][key] = {name: part for name, part in merged.items() if name != "minLength"}
    # The loader takes --server instead of this key; an editor knows of no command line.
    settings["required"] = ["name", "server", "workflow", "sweep"]
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **settings,
        "title": "batchrunner manifest",
        "description": "What to render: a batch of ComfyUI jobs.",
        "$defs": definitions,
    }


def _names(value: Schema, description: str) -> Schema:
    """Return a mapping of ltx2's parameters, the presets and any other name to `value`."""
    known: Schema = {name: {"description": text, **value} for name, text in DESCRIPTIONS.items()}
    for group, options in BUILT_IN.items():
        sets = ", ".join(next(iter(options.values())))
        known[group] = {"description": f"A preset for {sets}: {', '.join(options)}.", **value}
    return {
        "description": description,
        "type": "object",
        "properties": known,
        "patternProperties": {"^_": {"description": _OWN_VARIABLE, **value}},
        "additionalProperties": {"description": "A parameter of your workflow, or a preset of your own.", **value},
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _one_or_many(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}
