"""The names a block may use, and what a written value means under each: parameters, presets, own variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.manifest.diagnostics import join, not_single
from batchrunner.manifest.media import PlacedText
from batchrunner.manifest.tables import Cell
from batchrunner.manifest.yamltree import MappingNode, ScalarNode, resolve_scalar
from batchrunner.text import did_you_mean, listing, printable, quote
from batchrunner.workflow.values import ANY, UnfitError, fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.diagnostics import Diagnostics
    from batchrunner.manifest.media import MediaFiles
    from batchrunner.manifest.yamltree import Location, Tree
    from batchrunner.workflow.params import Param
    from batchrunner.workflow.values import Limit

BUILT_IN: Mapping[str, Mapping[str, Mapping[str, Scalar]]] = {
    "quality": {
        "fast": {"steps": 20, "cfg": 4.0},
        "balanced": {"steps": 30, "cfg": 5.0},
        "high": {"steps": 40, "cfg": 6.0},
    },
    "size": {
        "sd": {"width": 768, "height": 512},
        # A model that takes multiples of 32 renders 1280x720, as people call it, 704 high.
        "720p": {"width": 1280, "height": 704},
        "1080p": {"width": 1920, "height": 1088},
    },
}
"""The presets of every workflow that has their parameters: group -> option -> values."""
RESERVED = frozenset({"zip", "rows", "job"})
MAX_VARIABLES = 64
_NUMBERS = frozenset({"int", "float", "number"})
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")
_GROUPED = re.compile(r"[-+]?[0-9]{1,3}([,. '\u2019\u00a0\u202f][0-9]{3})+")
_PERCENT = re.compile(r"([0-9]{1,3}) ?%")
_USUAL_NAMES = {
    **dict.fromkeys(("noise_seed", "random_seed"), "seed"),
    **dict.fromkeys(("negative_prompt", "neg_prompt"), "negative"),
    **dict.fromkeys(("positive", "positive_prompt"), "prompt"),
    **dict.fromkeys(("frames", "num_frames", "frame_count", "frames_number"), "length"),
    **dict.fromkeys(("frame_rate", "framerate"), "fps"),
    **dict.fromkeys(("ckpt", "ckpt_name", "model"), "checkpoint"),
    **dict.fromkeys(("guidance", "guidance_scale", "cfg_scale"), "cfg"),
    **dict.fromkeys(("num_inference_steps", "sampling_steps"), "steps"),
}
"""What other programs and nodes call a parameter -> what it is called here."""
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_ALONE = re.compile(r"\$\{(_[A-Za-z0-9_]{0,63})\}")
_VARIABLE = re.compile(r"_[A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text with `${…}` in it, filled in once the job's other values are known."""

    text: str
    location: Location
    path: str


@dataclass(frozen=True, slots=True)
class DerivedSeed:
    """A seed that depends on the job's own `per`."""

    base: int
    index: int
    per: str
    location: Location
    path: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A value that is no text and is taken from an own variable: `seed: ${_seed}`."""

    variable: str
    limit: Limit
    """What the value must fit."""
    location: Location
    path: str


class ServerFile(ScalarNode):
    """A media input's value that is a file on the server already: `{server: example.png}`."""

    __slots__ = ()


Value: TypeAlias = "Scalar | TextTemplate | DerivedSeed | PlacedText | Reference"
Point: TypeAlias = "Mapping[str, Value]"
"""Values that are set together: by one value of an axis, or by the defaults."""


def path_itself(name: str, file: str) -> str:
    """Return what to write instead of `name: {file: a.png}`."""
    said = printable(file, 60)
    return f"{{file: …}} is an axis from a text or a table; the file itself is {name}: {said}"


def _number_cure(text: str, kind: str) -> str:
    """Return what to do about a number as a spreadsheet writes it: with a decimal comma, grouped digits or a %."""
    if kind == "int" and _GROUPED.fullmatch(text):
        return f"; write it without separators: {re.sub('[^-+0-9]', '', text)}"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"; a decimal comma: write {text.replace(',', '.')}"
    share = _PERCENT.fullmatch(text)
    return f"; write {int(share[1]) / 100}" if share and kind != "int" else ""


class Names:
    """Everything that may be set for a job; records in `diagnostics` what is wrong with a use of it."""

    def __init__(self, params: Mapping[str, Param], diagnostics: Diagnostics, media: MediaFiles) -> None:
        self.params = params
        self.media = media
        """The parameters that take files, and these files."""
        self.presets: dict[str, dict[str, Point]] = {}
        self.diagnostics = diagnostics
        self.variables: set[str] = set()
        """Every own variable met so far."""

    def all(self) -> list[str]:
        """Return every name that could stand in a block."""
        return [*self.params, *self.presets, *sorted(self.variables)]

    def spelled(self, name: str) -> str:
        """Return the one parameter or preset that is called `name` in other case, or `name` itself."""
        known = [*self.params, *self.presets]
        found = [] if name in known else [each for each in known if each.casefold() == name.casefold()]
        return found[0] if len(found) == 1 else name

    def is_name(self, name: str) -> bool:
        """Tell whether `name` is a parameter, a preset, or could be a variable of the user's own."""
        return name in self.params or name in self.presets or bool(_VARIABLE.fullmatch(name))

    def declare(self, name: str, location: Location, path: str, cure: str = "") -> bool:
        """Tell whether `name` may be set, which makes an own variable known; record it, with `cure`, if it may not."""
        if name in self.params or name in self.presets or not _VARIABLE.fullmatch(name):
            return self.resolve(name, location, path, cure)
        if name not in self.variables and len(self.variables) == MAX_VARIABLES:
            self.diagnostics.add(location, path, f"too many variables (at most {MAX_VARIABLES})")
            return False
        self.variables.add(name)
        return True

    def resolve(self, name: str, location: Location, path: str, cure: str = "") -> bool:
        """Tell whether `name` is one that some job may have, and record it if it is not."""
        if name in self.params or name in self.presets or name in self.variables:
            return True
        near = self._known_as(name) or did_you_mean(name, [*self.all(), "zip", "rows"])
        self.diagnostics.add(location, path, f"unknown parameter{near or f'; there is {listing(self.all())}'}{cure}")
        return False

    def _known_as(self, name: str) -> str:
        """Return what leads from an input's own name, or another program's, to the parameter; or nothing."""
        if name == "filename_prefix":
            return " - batchrunner sets the prefix itself: name your files with the key `files`"
        drivers = [param.name for param in self.params.values() if name in {target.input for target in param.targets}]
        if drivers:
            return f" - {' and '.join(drivers[:4])} {'drives' if len(drivers) == 1 else 'drive'} {name}"
        usual = _USUAL_NAMES.get(name.casefold())
        return f" - did you mean {usual}?" if usual in self.params else ""

    def limit(self, name: str) -> Limit:
        """Return what fits a parameter or an own variable."""
        return self.params[name].limit if name in self.params else ANY

    def takes_files(self, name: str) -> bool:
        """Tell whether a parameter takes files."""
        return name in self.media.params

    def single(self, name: str, tree: Tree, path: str) -> ScalarNode | None:
        """Return the one value that `name: tree` is, or None after recording that it is none."""
        if isinstance(tree, ScalarNode):
            return tree
        only = next(iter(tree.entries.items())) if isinstance(tree, MappingNode) and len(tree.entries) == 1 else None
        if self.takes_files(name) and only and isinstance(node := only[1].tree, ScalarNode):
            if only[0] == "server":
                return ServerFile(node.location, node.value, node.text)
            if only[0] == "file":
                self.diagnostics.add(tree.location, path, path_itself(name, node.text))
                return None
        self.diagnostics.add(tree.location, path, not_single(tree))
        return None

    def point(self, name: str, node: ScalarNode, path: str) -> Point | None:
        """Return what `name: node` sets, or None after recording why it cannot."""
        if name in self.presets and name not in self.params:
            return self._preset(name, node, path)
        limit = self.limit(name)
        alone = _ALONE.fullmatch(node.text)
        if alone and (limit.choices or limit.kind in {"int", "float", "number", "bool"}):
            return {name: Reference(alone[1], limit, node.location, path)}
        # 1984 is as good a prompt as any: a text is what was written.
        is_text = limit.kind == "text" and (node.value is not None or isinstance(node, Cell))
        # A table's cell takes its parameter's type: JSON keeps long seeds in quotes.
        is_quoted = isinstance(node, Cell) and limit.kind in _NUMBERS
        try:
            value = fit(limit, node.text if is_text else resolve_scalar(node.text) if is_quoted else node.value)
        except UnfitError as error:
            cure = _number_cure(node.text, limit.kind) if limit.kind in _NUMBERS else ""
            self.diagnostics.add(node.location, path, f"{error}{cure}")
            return None
        if (
            isinstance(node, Cell)
            and limit.kind == "int"
            and isinstance(node.value, float)
            and "e" in node.text.lower()
        ):
            text = f"must be a whole number, not {node.text}: your spreadsheet rounded it; format the column as text"
            self.diagnostics.add(node.location, path, text)
            return None
        if node.doubt and isinstance(value, str) and not (limit.choices or alone):
            self.diagnostics.warn(node.location, path, node.doubt)
        return (
            {name: value}
            if not isinstance(value, str) or isinstance(node, ServerFile)
            else self._text(name, value, node.location, path)
        )

    def _text(self, name: str, text: str, location: Location, path: str) -> Point | None:
        """Return what a text sets: one to be filled in, a file, a text that may become a file's path, or itself."""
        if "${" in text:
            return {name: TextTemplate(text, location, path)}
        placed = PlacedText(text, location, path)
        if name in self.media.params:
            return {name: placed} if self.media.check(name, placed) else None
        return {name: placed if self.media.params and name.startswith("_") else text}

    def _preset(self, group: str, node: ScalarNode, path: str) -> Point | None:
        options = self.presets[group]
        point = options.get(node.text)
        has_sizes = group == "size" and {"width", "height"} <= self.params.keys()
        size = _SIZE.fullmatch(node.text) if point is None and has_sizes else None
        if size:
            sides = {"width": int(size[1]), "height": int(size[2])}
            for name, side in sides.items():
                try:
                    fit(self.limit(name), side)
                except UnfitError as error:
                    self.diagnostics.add(node.location, join(path, name), str(error))
                    return None
            point = sides
        if point is None:
            known = listing(options) + (" or WxH" if group == "size" else "")
            near = did_you_mean(node.text, options)
            self.diagnostics.add(node.location, path, f"must be one of {known}, not {quote(node.text)}{near}")
            return None
        return {group: node.text, **point}
