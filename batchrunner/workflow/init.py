"""A first manifest for an exported workflow, to read, to run as it is, and to change."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from batchrunner.text import printable, quote
from batchrunner.workflow.init_roles import Place, find_roles, free_inputs, value_at
from batchrunner.workflow.params import make_param
from batchrunner.workflow.saving import KEPT_INPUT, guess_prefix_inputs, prefix_inputs
from batchrunner.workflow.values import LONGEST_TEXT, SMALL_SEED, UnfitError, fit, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from batchrunner.core.job import Json
    from batchrunner.workflow.graph import Graph
    from batchrunner.workflow.init_roles import Roles

SCHEMA_FILE = "manifest.schema.json"
"""What a manifest calls the schema beside it."""
_SWEPT = ("prompt", "seed")


def first_manifest(workflow_path: str, graph: Graph) -> str:
    """Return a commented manifest (YAML) for the workflow at `workflow_path`, relative to the manifest's folder.

    It names the inputs that were recognised, keeps the values that stand in the workflow, sweeps the seed, and lists
    every other input. Loading it gives a sound batch without a change.

    Raises:
        WorkflowError: no node saves a file.

    """
    roles = find_roles(graph)
    usual = prefix_inputs(graph)
    guessed = {} if usual else guess_prefix_inputs(graph)
    lines = [*_head(workflow_path), *_saving(graph, usual, guessed)]
    if switches := _switches(graph, {**usual, **guessed}):
        roles.params[KEPT_INPUT] = switches
    taken = {place for places in roles.params.values() for place in places} | set(guessed.items())
    rest = [place for place in free_inputs(graph) if place not in taken]
    lines += ["", *_params(graph, roles), *_rest(graph, rest)]
    apart = {*_SWEPT, *roles.media, KEPT_INPUT}
    values = [_value(graph, name, roles) for name in roles.params if name not in apart]
    if switches:
        values.append(f"{KEPT_INPUT}: true  # the workflow has false: its files are temporary and can't be downloaded")
    if any(values):
        lines += ["", "defaults:  # every job starts from these; now they are what the workflow holds"]
        lines += [f"  {value}" for value in values if value]
    return "\n".join([*lines, "", *_sweep(graph, roles), ""])


def yaml_text(text: str) -> str:
    """Return `text` as a double-quoted YAML scalar that reads back unchanged."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(char if char.isprintable() else _escape(char) for char in escaped)}"'


def _escape(char: str) -> str:
    code = ord(char)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


def _one_or_list(texts: Iterable[str]) -> str:
    """Return one quoted text, or a list of them."""
    every = [yaml_text(text) for text in texts]
    return every[0] if len(every) == 1 else f"[{', '.join(every)}]"


def _head(path: str) -> Iterator[str]:
    stem = path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".json")
    name = re.sub(r"\.{2,}|[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:64].strip(".") or "batch"
    outside = "  # outside this folder: plan and run need --allow-outside" if path.startswith(("..", "/")) else ""
    yield "# A first manifest. `plan` shows what it would do; change it, then `run` it."
    yield f"# yaml-language-server: $schema=./{SCHEMA_FILE}"
    yield f"name: {yaml_text(name)}"
    yield "server: http://127.0.0.1:8188  # where ComfyUI listens; several as a list; `sim` needs none"
    yield "ttl: none  # your own server keeps its files; say `10m` where something deletes them after ten minutes"
    yield f"workflow: {yaml_text(path)}{outside}"


def _saving(graph: Graph, usual: dict[str, str], guessed: dict[str, str]) -> Iterator[str]:
    if guessed:
        named = _one_or_list(f"{key}.{name}" for key, name in guessed.items())
        yield f"prefix: {named}  # the input by which saved files are named and found again (a guess)"
    saving = {**usual, **guessed}
    if len(saving) > 1:
        every = ", ".join(
            f"{printable(key)} ({printable(graph[key].title or graph[key].class_type, 60)})" for key in saving
        )
        yield f"# outputs: [{yaml_text(next(iter(saving)))}]  # only these nodes' files; these save: {every}"


def _switches(graph: Graph, saving: Mapping[str, str]) -> list[Place]:
    """Return the switches to turn on where every saving node writes temporary files only."""
    switches = [(key, KEPT_INPUT) for key in saving if graph[key].inputs.get(KEPT_INPUT) is False]
    return switches if len(switches) == len(saving) else []


def _params(graph: Graph, roles: Roles) -> Iterator[str]:
    if roles.params:
        yield "params:  # a name of your choice, and the input, or inputs, that it drives"
    for name, places in roles.params.items():
        node = graph[places[0][0]]
        others = [f"{_selector(place)} ({_told(value_at(graph, place))})" for place in roles.others.get(name, ())]
        beside = f"; left alone: {', '.join(others)}" if others else ""
        driven = _one_or_list(f"{key}.{source}" for key, source in places)
        yield f"  {name}: {driven}  # {printable(node.title or node.class_type, 60)}{beside}"
    if roles.splits:
        shared = ", ".join(map(_selector, roles.splits))
        yield f"  # steps is left out: {shared} would have to change with it"


def _rest(graph: Graph, rest: list[Place]) -> Iterator[str]:
    if rest:
        yield "  # what else could be named under params:"
    for key, places in groupby(rest, key=lambda place: place[0]):
        yield f"  #   {printable(graph[key].title or graph[key].class_type, 60)}: {', '.join(map(_selector, places))}"


def _sweep(graph: Graph, roles: Roles) -> Iterator[str]:
    yield "sweep:  # a list is an axis; axes multiply"
    prompt = _value(graph, "prompt", roles)
    if prompt:
        yield "  prompt:"
        yield f"    - {prompt.removeprefix('prompt: ')}"
    for name in sorted(roles.media):
        held = value_at(graph, roles.params[name][0])
        own = yaml_text(f"{name}/*")
        yield f"  # {name}: {{files: {own}}}  # your own files, which are uploaded; now {_told(held)} of the server"
    if "seed" in roles.params:
        limit = make_param(graph, "seed", [f"{key}.{name}" for key, name in roles.params["seed"]]).limit
        few = limit.kind == "float" or (limit.high is not None and limit.high < SMALL_SEED)
        yield (
            f"  seed: [1, 2]  # at most {limit.high}" if few else "  seed: {count: 2}  # the same two for every prompt"
        )
    elif not prompt:
        yield "  _take: [1]  # nothing to sweep was recognised: name it under params, then list its values here"


def _value(graph: Graph, name: str, roles: Roles) -> str:
    """Return `name: value` as it stands in the workflow; nothing where it would not load, and the graph's own holds."""
    places = roles.params.get(name)
    value = value_at(graph, places[0]) if places else None
    if not places or not isinstance(value, str | int | float):
        return ""
    try:
        fit(make_param(graph, name, [f"{key}.{source}" for key, source in places]).limit, value)
    except UnfitError:
        return ""
    if not isinstance(value, str):
        return f"{name}: {shown(value)}"
    return f"{name}: {yaml_text(value)}" if len(value) <= LONGEST_TEXT and "${" not in value else ""


def _selector(place: Place) -> str:
    return f"{printable(place[0])}.{printable(place[1])}"


def _told(value: Json) -> str:
    return quote(value, 30) if isinstance(value, str) else shown(value) if isinstance(value, int | float) else "empty"
