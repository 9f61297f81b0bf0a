"""Node classes: what they take and give, as `/object_info` shows them and validation checks them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchrunner.core.identity import Json

Catalogue: TypeAlias = "Mapping[str, NodeClass]"


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a node class: a number with a range, a text, a choice, or what another node gives."""

    type: str
    """`INT`, `FLOAT`, `STRING`, `BOOLEAN`, `COMBO`, or the type of a link such as `LATENT`."""
    default: Json = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    late: bool = False
    """A choice that is not checked when the prompt is posted: V3 nodes of 0.3.64 (PROTOCOL.md §1, 11)."""
    optional: bool = False

    def limits(self) -> dict[str, Json]:
        """Return the second half of the input's description: default, range and step, as far as there are any."""
        named: dict[str, Json] = {"default": self.default, "min": self.low, "max": self.high, "step": self.step}
        return {name: value for name, value in named.items() if value is not None}

    def described(self) -> list[Json]:
        """Return the input as `/object_info` has it: V1 choices are a list, V3 choices are named."""
        if self.type != "COMBO":
            return [self.type, self.limits()]
        choices: list[Json] = list(self.choices)
        if self.late:
            return ["COMBO", {**self.limits(), "multiselect": False, "options": choices}]
        return [choices, self.limits()]


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A class of nodes. `kind` says what executing one amounts to: see `Pace` and `execute`."""

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...] = ()
    kind: str = ""
    """`load`, `encode`, `latent`, `sample`, `decode`, `save`, or nothing that takes time."""
    category: str = "sim"
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def saves(self) -> bool:
        """Say whether it is an output node."""
        return self.kind == "save"

    def described(self, name: str) -> dict[str, Json]:
        """Return the class as `/object_info` has it."""
        required = {key: item for key, item in self.inputs.items() if not item.optional}
        optional = {key: item for key, item in self.inputs.items() if item.optional}
        shown: dict[str, Json] = {"required": {key: item.described() for key, item in required.items()}}
        order: dict[str, Json] = {"required": list(required)}
        if optional:
            shown["optional"] = {key: item.described() for key, item in optional.items()}
            order["optional"] = list(optional)
        if self.hidden:
            shown["hidden"] = dict(self.hidden)
            order["hidden"] = list(self.hidden)
        return {
            "input": shown,
            "input_order": order,
            "output": list(self.outputs),
            "output_is_list": [False] * len(self.outputs),
            "output_name": list(self.outputs),
            "name": name,
            "display_name": name,
            "description": "",
            "python_module": "nodes",
            "category": self.category,
            "output_node": self.saves,
        }


def object_info(catalogue: Catalogue, names: Iterable[str] | None = None) -> dict[str, Json]:
    """Return what `/object_info` answers, for all classes or those of `names` that exist."""
    wanted = catalogue if names is None else [name for name in names if name in catalogue]
    return {name: catalogue[name].described(name) for name in wanted}


def whole(default: int, low: int, high: int, step: int | None = None) -> Input:
    """Return an integer input."""
    return Input("INT", default, low, high, step)


def real(default: float, low: float, high: float, step: float) -> Input:
    """Return a floating-point input."""
    return Input("FLOAT", default, low, high, step)


def text(default: str = "") -> Input:
    """Return a text input."""
    return Input("STRING", default)


def choice(*choices: str) -> Input:
    """Return a choice that is checked when the prompt is posted."""
    return Input("COMBO", choices=choices)


def late_choice(*choices: str) -> Input:
    """Return a choice that fails only when its node runs."""
    return Input("COMBO", choices[0] if choices else None, choices=choices, late=True)


def link(kind: str, *, optional: bool = False) -> Input:
    """Return an input that another node's output of type `kind` feeds."""
    return Input(kind, optional=optional)
