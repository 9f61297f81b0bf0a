"""Collecting everything that is wrong, so that a person mends a manifest once and not line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, TypeVar, get_args

from pydantic import ValidationError

from batchrunner.errors import Complaint, ManifestError
from batchrunner.manifest.forms import Order, Sample
from batchrunner.manifest.yamltree import Leaf, Table, follow, plain
from batchrunner.text import PATH_LIMIT, did_you_mean, listing, printable, quote
from batchrunner.workflow.values import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from batchrunner.core.job import Json
    from batchrunner.manifest.forms import Form
    from batchrunner.manifest.yamltree import Spot, Tree

    FormT = TypeVar("FormT", bound=Form)

_MOST = 500
"""A manifest with more is broken in another way than its author thinks."""


class Complaints:
    """What is wrong so far."""

    def __init__(self) -> None:
        self._found: dict[Complaint, None] = {}

    def add(self, spot: Spot, path: str, text: str) -> None:
        """Note that `text` is wrong with what stands at `spot` under `path`.

        Raises:
            ManifestError: these are too many to go on.

        """
        where = printable(spot.file, PATH_LIMIT), spot.line, spot.column
        self._found[Complaint(*where, printable(path, 120), text)] = None
        if len(self._found) >= _MOST:
            self._found[Complaint(*where, "", f"{_MOST} complaints; the rest is not read")] = None
            self.fail()

    def settle(self) -> None:
        """Go on only if nothing is wrong.

        Raises:
            ManifestError: something is.

        """
        if self._found:
            self.fail()

    def fail(self) -> NoReturn:
        """Stop here, with everything that was said.

        Raises:
            ManifestError: always.

        """
        raise ManifestError(self._found)


# -- A tree against a form: pydantic decides, the complaints are ours.


_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_SECRETS = frozenset({"token", "authorization", "auth", "password", "api_key", "bearer"})


def check(form: type[FormT], tree: Tree, path: str, complaints: Complaints) -> FormT | None:
    """Return `tree` as a `form`, or None once everything that is wrong with it has been said."""
    try:
        return form.model_validate(plain(tree))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _complain(form, tree, path, detail, complaints)
        return None


def check_loosely(form: type[FormT], tree: Tree, fallback: Mapping[str, Json], complaints: Complaints) -> FormT:
    """Return `tree` as a `form` even where it is wrong: with defaults, or `fallback`, in place of its faulty keys.

    So that everything else in the manifest can still be read and complained about.
    """
    found = check(form, tree, "", complaints)
    if found is not None:
        return found
    sound: dict[str, Json] = {}
    for key, entry in tree.entries.items() if isinstance(tree, Table) else ():
        if key in form.model_fields:
            try:
                form.model_validate({**fallback, key: plain(entry.tree)})
            except ValidationError:
                continue
            sound[key] = plain(entry.tree)
    return form.model_validate({**fallback, **sound})


def join(path: str, step: str | int) -> str:
    """Return the path of what stands under `step` of `path`."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def _complain(form: type[Form], tree: Tree, path: str, detail: ErrorDetails, complaints: Complaints) -> None:
    steps = tuple(detail["loc"])
    parent, found = follow(tree, steps[:-1]), follow(tree, steps)
    spot = found.spot
    if detail["type"] == "extra_forbidden" and isinstance(parent, Table):
        spot = parent.entries[str(steps[-1])].spot
    inside = tree
    for step in steps:
        deeper = follow(inside, (step,))
        if deeper is not inside or detail["type"] == "missing":
            path = join(path, step)
        inside = deeper
    complaints.add(spot, path, _text(form, detail, found))


def _text(form: type[Form], detail: ErrorDetails, found: Tree) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    match kind:
        case "ours":
            text = str(context["text"])
        case "missing":
            text = "is required"
        case "extra_forbidden":
            text = _unknown(form, detail["loc"])
        case "literal_error":
            near = did_you_mean(found.text, get_args(Order)) if isinstance(found, Leaf) else ""
            said = quote(found.text) if isinstance(found, Leaf) else called(found)
            text = f"must be one of {listing(get_args(Order))}, not {said}{near}"
        case "too_short" | "string_too_short":
            text = "is empty"
        case "too_long":
            text = f"has more than {context['max_length']} entries"
        case "string_too_long":
            text = f"is longer than {context['max_length']} characters"
        case _ if kind in _BOUNDS:
            words, key = _BOUNDS[kind]
            text = f"must be {words} {shown(context[key])}, not {called(found)}"
        case "string_type" if isinstance(found, Leaf) and found.text:
            text = f'must be a text, not {called(found)} - did you mean "{printable(found.text, 60)}"?'
        case _:
            text = f"must be {_TYPES.get(kind, 'something else')}, not {called(found)}"
    return text


def _unknown(form: type[Form], steps: Sequence[str | int]) -> str:
    key = str(steps[-1])
    if len(steps) == 1 and key.casefold() in _SECRETS:
        return "a token never stands in a manifest: set BATCHRUNNER_TOKEN, or give --token-file"
    inside = Sample if steps[:-1] == ("sample",) else form
    known = [field.alias or name for name, field in inside.model_fields.items()]
    return f"unknown key{did_you_mean(key, known) or f'; there is {listing(known)}'}"


def called(tree: Tree) -> str:
    """Return what stands there, as a complaint names it."""
    if isinstance(tree, Leaf):
        if tree.value is None:
            return "nothing"
        return f"the text {quote(tree.text)}" if isinstance(tree.value, str) else quote(tree.text).strip('"')
    return "a mapping" if isinstance(tree, Table) else "a list"
