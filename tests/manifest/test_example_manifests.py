"""The manifests that the project ships, and the schema beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchrunner.manifest import load, manifest_schema
from batchrunner.manifest.forms import Settings

JOBS = Path(__file__).parents[2] / "jobs"
MANIFESTS = {
    "demo": 6,
    "formats": 8,
    "ladder": 8,
    "overnight": 44,
    "own-image": 6,
    "own-pictures": 6,
    "own-video": 4,
    "seeds": 8,
    "table": 8,
    "two-servers": 18,
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest(name: str) -> None:
    """Every shipped manifest is sound, warns of nothing, and makes the jobs that its comments promise."""
    found = load(JOBS / f"{name}.yaml")
    assert (found.name, len(found.jobs), found.warnings) == (name, MANIFESTS[name], ())


def test_all_are_tested() -> None:
    """No manifest lies there untested."""
    assert {path.stem for path in JOBS.glob("*.yaml")} == MANIFESTS.keys()


def test_schema_is_current() -> None:
    """`jobs/manifest.schema.json` is what `batchrunner schema` prints."""
    assert json.loads((JOBS / "manifest.schema.json").read_text("utf-8")) == manifest_schema()


def test_schema_knows_every_key() -> None:
    """The schema has every key of a manifest, no other, and each with a description."""
    schema = manifest_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert isinstance(schema["properties"], dict)
    assert schema["properties"].keys() == Settings.model_fields.keys()
    assert undescribed(schema, "") == []


def undescribed(schema: Any, path: str) -> list[str]:
    """Return the paths of properties without a description, anywhere in a schema."""
    found = []
    if isinstance(schema, dict):
        for key, value in schema.get("properties", {}).items():
            if not value.get("description"):
                found.append(f"{path}.{key}")
        for key, value in schema.items():
            found += undescribed(value, f"{path}.{key}")
    if isinstance(schema, list):
        for index, value in enumerate(schema):
            found += undescribed(value, f"{path}[{index}]")
    return found


def test_schema_references_lead_somewhere() -> None:
    """Every reference in the schema names a definition that is there."""
    text = json.dumps(manifest_schema())
    names = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert names <= manifest_schema()["$defs"].keys()  # type: ignore[union-attr, operator]  # a test reads JSON as it comes


def test_editors_find_the_schema() -> None:
    """Every shipped manifest tells an editor where its schema is."""
    for path in JOBS.glob("*.yaml"):
        assert "# yaml-language-server: $schema=./manifest.schema.json\n" in path.read_text("utf-8")
        assert isinstance(yaml.safe_load(path.read_text("utf-8")), dict)
