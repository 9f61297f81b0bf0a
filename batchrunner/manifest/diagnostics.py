"""Collecting everything that is wrong, so that a person corrects a manifest once and not line by line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, TypeVar, get_args

from pydantic import ValidationError

from batchrunner.errors import Diagnostic, ManifestError
from batchrunner.manifest.forms import EVENTS, TAGS, Hint, Order, ParamForm, Sample, ServerForm
from batchrunner.manifest.yamltree import QUOTE_IT, ListNode, MappingNode, ScalarNode, follow, plain
from batchrunner.text import PATH_LIMIT, did_you_mean, listing, printable, quote
from batchrunner.workflow.ltx2 import DESCRIPTIONS
from batchrunner.workflow.values import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pydantic_core import ErrorDetails

    from batchrunner.core.job import Json
    from batchrunner.manifest.forms import Form
    from batchrunner.manifest.yamltree import Location, Tree

    FormT = TypeVar("FormT", bound=Form)

MAX_DIAGNOSTICS = 500
"""A manifest with more is broken in another way than its author thinks."""
_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}
_NO_SPACE = re.compile(r"[a-z_]+:[^\s/:]\S* ")
"""A text that was rather meant as a key and its value: `prompt:A cat`."""
_SECRETS = frozenset({"token", "authorization", "auth", "password", "api_key", "bearer"})


class Diagnostics:
    """What is wrong so far."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, None] = {}
        self._warned: dict[str, dict[str, None]] = {}

    def add(self, location: Location, path: str, text: str) -> None:
        """Record that `text` is wrong with what stands at `location` under `path`.

        Raises ManifestError if these are too many to go on.
        """
        where = printable(location.file, PATH_LIMIT), location.line, location.column
        self._found[Diagnostic(*where, printable(path, 120), text)] = None
        if len(self._found) >= MAX_DIAGNOSTICS:
            self._found[Diagnostic(*where, "", f"{MAX_DIAGNOSTICS} mistakes; the rest is not read")] = None
            self.fail()

    def warn(self, location: Location, path: str, text: str) -> None:
        """Record a warning: what stands at `location` under `path` is allowed, and `text` says what is odd."""
        place = f"{printable(location.file, PATH_LIMIT)}:{location.line}:{location.column}: {printable(path, 120)}"
        self._warned.setdefault(text, {})[place] = None

    def warnings(self) -> list[str]:
        """Return one line per kind of warning, with its first place and how many more there are."""
        return [
            f"{next(iter(places))}: {text}{f' (and {len(places) - 1} more)' if len(places) > 1 else ''}"
            for text, places in self._warned.items()
        ]

    def check(self) -> None:
        """Raise ManifestError if anything is wrong."""
        if self._found:
            self.fail()

    def fail(self) -> NoReturn:
        """Raise ManifestError with everything that was recorded."""
        raise ManifestError(self._found)


def read_form(form: type[FormT], tree: Tree, path: str, diagnostics: Diagnostics) -> FormT | None:
    """Return `tree` as a `form`, or None once everything that is wrong with it is recorded."""
    try:
        return form.model_validate(plain(tree))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _record(form, tree, path, detail, diagnostics)
        return None


def read_form_anyway(form: type[FormT], tree: Tree, fallback: Mapping[str, Json], diagnostics: Diagnostics) -> FormT:
    """Return `tree` as a `form` even where it is wrong, with defaults, or `fallback`, in place of its wrong keys.

    Everything else in the manifest can then still be read, and its mistakes be recorded.
    """
    found = read_form(form, tree, "", diagnostics)
    if found is not None:
        return found
    sound: dict[str, Json] = {}
    for key, entry in tree.entries.items() if isinstance(tree, MappingNode) else ():
        if key in form.model_fields:
            try:
                form.model_validate({**fallback, key: plain(entry.tree)})
            except ValidationError:
                continue
            sound[key] = plain(entry.tree)
    return form.model_validate({**fallback, **sound})


def join(path: str, step: str | int) -> str:
    """Return the path of what stands under `step` of `path`: `sweep[1].seed`."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def describe(tree: Tree) -> str:
    """Return what stands there, for a diagnostic: `the text "a"`, `3`, `a list`."""
    if not isinstance(tree, ScalarNode):
        return "a mapping" if isinstance(tree, MappingNode) else "a list"
    if tree.value is None:
        return "nothing"
    if _NO_SPACE.match(tree.text):
        return f"the text {quote(tree.text)}: a key needs a space after its colon"
    return f"the text {quote(tree.text)}" if isinstance(tree.value, str) else quote(tree.text).strip('"')


def is_braced_text(tree: Tree) -> bool:
    """Tell whether a mapping is rather a text like `{red|blue}`: keys that no name would be, without values."""
    if not isinstance(tree, MappingNode) or not tree.entries:
        return False
    is_empty = all(plain(entry.tree) is None for entry in tree.entries.values())
    return is_empty and any("|" in key or " " in key for key in tree.entries)


def not_single(tree: Tree) -> str:
    """Return what is wrong where a single value must stand and a list or a mapping does."""
    if is_braced_text(tree):
        return f"must be a single value, not a mapping: if this is a text that begins with {{, {QUOTE_IT}"
    if isinstance(tree, MappingNode) and len(tree.entries) == 1:
        (key,) = tree.entries
        if " " in key or key[:1].isupper():
            return f"must be a single value, not a mapping: the colon after {quote(key)} starts one; {QUOTE_IT}"
    if isinstance(tree, ListNode) and [type(plain(item)) for item in tree.items] == [str]:
        return f"must be a single value, not a list: if this is a text that begins with [, {QUOTE_IT}"
    return f"must be a single value, not {describe(tree)}"


def _record(form: type[Form], tree: Tree, path: str, detail: ErrorDetails, diagnostics: Diagnostics) -> None:
    parent = found = tree
    for number, step in enumerate(detail["loc"], 1):
        if step in TAGS:
            continue  # which of several forms pydantic chose is no part of the file
        parent, found = found, follow(found, (step,))
        # Of a single value where a list may stand, pydantic gives an index that the file has not.
        if found is not parent or (detail["type"] == "missing" and number == len(detail["loc"])):
            path = join(path, step)
    location = found.location
    if detail["type"] == "extra_forbidden" and isinstance(parent, MappingNode):
        location = parent.entries[str(detail["loc"][-1])].location
    params = follow(tree, ("params",))
    own = params.entries if isinstance(params, MappingNode) and params is not tree else ()
    diagnostics.add(location, path, _text(form, detail, found, own))


def _text(form: type[Form], detail: ErrorDetails, found: Tree, own: Collection[str]) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    match kind:
        case "custom":
            text = str(context["text"])
        case "missing":
            text = "is required"
        case "extra_forbidden":
            text = _unknown_key(form, detail["loc"], own)
        case "literal_error":
            known = EVENTS if "on" in detail["loc"] else get_args(Hint if "hint" in detail["loc"] else Order)
            written = quote(found.text) if isinstance(found, ScalarNode) else describe(found)
            near = did_you_mean(found.text, known) if isinstance(found, ScalarNode) else ""
            text = f"must be one of {listing(known)}, not {written}{near}"
        case "too_short" | "string_too_short":
            text = "is empty"
        case "too_long":
            text = f"has more than {context['max_length']} entries"
        case "string_too_long":
            text = f"is longer than {context['max_length']} characters"
        case _ if kind in _BOUNDS:
            words, key = _BOUNDS[kind]
            text = f"must be {words} {shown(context[key])}, not {describe(found)}"
        case "string_type" if isinstance(found, ScalarNode) and found.text:
            text = f'must be a text, not {describe(found)} - did you mean "{printable(found.text, 60)}"?'
        case _:
            text = f"must be {_TYPES.get(kind, 'something else')}, not {describe(found)}"
    return text


def _unknown_key(form: type[Form], steps: tuple[str | int, ...], own: Collection[str]) -> str:
    key = str(steps[-1])
    if len(steps) == 1 and key.casefold() in _SECRETS:
        return "a token never stands in a manifest: set BATCHRUNNER_TOKEN, or give --token-file"
    if len(steps) == 1 and key in {*DESCRIPTIONS, "quality", "size", *own}:
        return "is a parameter: write it in a block of `sweep`, or in `defaults`"
    inner: dict[str, type[Form]] = {"server": ServerForm, "params": ParamForm, "sample": Sample}
    parent = inner.get(str(steps[0]), form) if len(steps) > 1 else form
    known = [field.alias or name for name, field in parent.model_fields.items()]
    return f"unknown key{did_you_mean(key, known) or f'; there is {listing(known)}'}"
