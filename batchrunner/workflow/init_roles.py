"""What the inputs of an unknown workflow are for: its seed, prompt, size, LoRAs and files, found by walking the links.

A value often stands in another node than the one that takes it (PrimitiveInt, a seed node, joined texts), so every
input is followed to the place where its value stands. The samplers that no other sampler feeds are the first stage;
its values come before those of later stages.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.core.job import PREFIX_INPUT
from batchrunner.workflow.graph import is_link, leaves, links, sources_first
from batchrunner.workflow.values import MEDIA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.job import Json
    from batchrunner.workflow.graph import Graph, Node

Place: TypeAlias = tuple[str, str]
"""A node id and the name of one of its inputs, dotted for a value inside an object."""

_SEEDS = ("seed", "noise_seed")
_NUMBERS: dict[str, tuple[str, ...]] = {
    "width": ("width", "empty_latent_width"),
    "height": ("height", "empty_latent_height"),
    "length": ("length", "frames_number", "num_frames", "video_frames", "frames", "frame_count"),
    "seconds": ("seconds", "duration"),
    "fps": ("fps", "frame_rate"),
    "steps": ("steps",),
    "cfg": ("cfg",),
    "guidance": ("guidance", "guidance_scale", "embedded_guidance_scale"),
}
"""Parameter -> what nodes call that number."""
_TO_THE_END = 10_000
"""ComfyUI's own `end_at_step` for «as many steps as there are»."""
_CARRIED = frozenset({"value", "int", "float", "number", "Number", "a", "x", "input", "any", "anything", "source", ""})
"""What nodes that hold a single number, or hand it on, call it."""
_LATENTS = frozenset({"latent_image", "latent", "latents", "samples", "image_embeds"})
"""Links by which a sampler gets what it adds noise to."""
_SAMPLED = _LATENTS | {"positive", "guider", "sigmas", "noise", "pipe", "basic_pipe", "text_embeds", "hyvid_embeds"}
"""Links of which every sampler has one; other nodes with a seed (wildcards, enhancers, plain seeds) have none."""
_BESIDE = _LATENTS | frozenset(
    {"model", "clip", "t5", "vae", "audio_vae", "control_net", "clip_vision", "clip_vision_output", "upscale_model"}
    | {"image", "images", "pixels", "start_image", "end_image", "mask", "noise", "sampler", "sigmas"}
    | {"empty_conditioning", "lora", "lora_stack", PREFIX_INPUT}
)
"""Links that lead from a sampler to no prompt of its own."""
_PROMPTS = ("wildcard_text", "positive_prompt", "positive", "prompt", "text", "text_g", "t5xxl", "tags")
"""What a prompt's input is called, the likeliest first; other names of `_IS_TEXT` come after them."""
_IS_TEXT = re.compile(r"(?i).*(prompt|text|tags).*|positive|negative|t5xxl|clip_[lg]|llama|value|string.*|str|line.*")
_NO_TEXT = re.compile(
    r"(?i).*(system|instruct|template|mode|type|name|encoder|delimiter|separator|seed|path|upsampl).*"
)
_HOLDS_TEXT = re.compile(r"(?i).*(string|text|prompt|primitive|multiline|join|concat|wildcard|list).*")
"""Classes whose `value` and `string` are texts."""
_ASKS = re.compile(r"(?i).*(florence|tagger|caption|interrogat|describe|show).*")
"""Classes whose texts are questions about a picture, or another node's text shown."""
_RANKS = (
    re.compile(r"(?i).*\b(instruct\w*|system)\b.*"),
    re.compile(r"(?i).*\b(style|prefix|suffix|quality|triggers?)\b.*"),
    re.compile(r"(?i)(?!.*\b(prompt|positive|subject)\b).*"),
)
"""Titles of texts that are no prompt while there is another, the least likely first."""
_NUMBER = re.compile(r"_?[0-9]+")
_STRENGTH = re.compile(r"(lora_)?(model_|clip_)?(strength|weight|wt|str)(_model|_clip)?")


@dataclass(frozen=True, slots=True)
class Roles:
    """What was recognised in a workflow."""

    params: dict[str, list[Place]] = field(default_factory=dict)
    """Parameter -> the places that it should drive; only those that are there."""
    others: dict[str, list[Place]] = field(default_factory=dict)
    """Parameter -> places of the same kind that it leaves alone: later stages, other texts."""
    media: frozenset[str] = frozenset()
    """The parameters that take files, which are uploaded to a server's input folder."""
    splits: tuple[Place, ...] = ()
    """Where one run of steps is shared out among samplers: `steps` is left alone then."""


def find_roles(graph: Graph) -> Roles:
    """Return which inputs a person would want to sweep, under the names that they would give them."""
    return _Finder(graph).roles()


def free_inputs(graph: Graph) -> Iterator[Place]:
    """Yield every place that holds a text, a number or a truth value of its own."""
    for key, node in graph.items():
        for name, value in leaves(node.inputs):
            if isinstance(value, str | int | float) and name != PREFIX_INPUT:
                yield key, name


def split_steps(graph: Graph) -> Iterator[Place]:
    """Yield every input that names one step of several, at which a sampler begins, ends, or hands on.

    With another number of steps, each of these would have to change too: alone, the noise of the stages would not meet.
    """
    for key, node in graph.items():
        for name, value in node.inputs.items():
            starts = name in {"start_at_step", "start_step"} and value != 0
            ends = name in {"end_at_step", "end_step"} and not _is_whole(value)
            if starts or ends or (name == "step" and "sigmas" in node.inputs):
                yield key, name


def value_at(graph: Graph, place: Place) -> Json:
    """Return the value that stands at a place, None where there is none."""
    return dict(leaves(graph[place[0]].inputs)).get(place[1])


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Json) -> bool:
    """Whether an end step means all steps; a linked one may be any."""
    return isinstance(value, int | float) and not 0 <= value < _TO_THE_END


class _Finder:
    """One walk for each kind of value, from the samplers of the first stage up to where it stands."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        samplers = self._samplers()
        self._seeded = {key: seed for key, seed in samplers.items() if seed}
        self._stages = list(samplers)
        self._first = self._unfed(self._seeded) or self._unfed(samplers)
        latents = [source for key in self._first for name, source in links(graph[key]).items() if name in _LATENTS]
        # What the latents are made of tells the size; a text encoder's width is another thing.
        order = [*self._first, *self._upstream(latents), *self._upstream(self._first), *graph]
        self._order = list(dict.fromkeys(order))
        self._params: dict[str, list[Place]] = {}
        self._others: dict[str, list[Place]] = {}
        self._media: list[str] = []
        self._counts: Counter[str] = Counter()

    def roles(self) -> Roles:
        self._texts()
        self._seed()
        splits = tuple(split_steps(self._graph))
        for name, inputs in _NUMBERS.items():
            if splits and name == "steps":
                continue
            self._add(name, self._numbers(inputs))
        if "length" not in self._params and any("AnimateDiff" in node.class_type for node in self._graph.values()):
            self._add("length", self._numbers(("batch_size",)))
        for key in self._order:
            self._files(key)
        for key in self._order:
            self._loras(key)
        return Roles(self._params, self._others, frozenset(self._media), splits)

    def _add(self, name: str, places: Iterable[Place], drives: Callable[[Place], bool] | None = None) -> None:
        """Let `name` drive the first place and those that `drives` picks: unless said, all that hold its value."""
        every = list(dict.fromkeys(places))
        if not every:
            return
        value = value_at(self._graph, every[0])
        picks = drives or (lambda place: value_at(self._graph, place) == value)
        self._params[name] = [every[0], *filter(picks, every[1:])]
        self._others[name] = [place for place in every[1:] if not picks(place)]

    def _unfed(self, keys: Mapping[str, object]) -> list[str]:
        """Return those of `keys` that no other of them feeds."""
        fed: dict[str, bool] = {}
        for key in sources_first(self._graph):
            fed[key] = any(source in keys or fed[source] for source in links(self._graph[key]).values())
        return [key for key in keys if not fed[key]]

    def _upstream(self, starts: Sequence[str]) -> list[str]:
        """Return `starts` and all nodes that feed them, the nearest first."""
        found = dict.fromkeys(starts)
        waiting = deque(starts)
        while waiting:
            new = [source for source in links(self._graph[waiting.popleft()]).values() if source not in found]
            found.update(dict.fromkeys(new))
            waiting += dict.fromkeys(new)
        return list(found)

    # Numbers: an input, or where the number that feeds it stands.

    def _numbers(self, names: tuple[str, ...], keys: Iterable[str] | None = None) -> Iterator[Place]:
        for key in self._order if keys is None else keys:
            for name in self._graph[key].inputs:
                if name in names and (place := self._origin((key, name), names)):
                    yield place

    def _origin(self, place: Place, names: tuple[str, ...]) -> Place | None:
        """Return the place of the number that an input takes, its own or another node's; None if there is none."""
        waiting, seen = deque([place]), set()
        while waiting:
            key, name = place = waiting.popleft()
            value = self._graph[key].inputs[name]
            if _is_number(value):
                return place
            source = links(self._graph[key]).get(name)
            if source is None or source in seen:
                continue
            seen.add(source)
            inputs = self._graph[source].inputs
            known = [each for each in inputs if each in names or _NUMBER.sub("", each.rsplit(".", 1)[-1]) in _CARRIED]
            waiting += [(source, each) for each in sorted(known, key=lambda each: each not in names)]
        return None

    # The seed: every sampler that adds noise, and is fed by no other that does, is driven.

    def _samplers(self) -> dict[str, Place | None]:
        """Return sampler -> where its seed stands, None for one that adds no noise."""
        found: dict[str, Place | None] = {}
        for key, node in self._graph.items():
            feeds = links(node)
            taken = "noise" if "noise" in feeds else next((name for name in _SEEDS if name in node.inputs), None)
            if taken and not _SAMPLED.isdisjoint(feeds):
                switch = node.inputs.get("add_noise")
                if is_link(switch):
                    switch = next(iter(self._graph[str(switch[0])].inputs.values()), None)
                quiet = taken != "noise" and (switch is False or switch == "disable")
                found[key] = None if quiet else self._origin((key, taken), _SEEDS)
        return found

    def _seed(self) -> None:
        first = [self._seeded[key] for key in self._first if key in self._seeded]
        values = [value_at(self._graph, place) for place in first]
        later = list(self._seeded.values())
        driven = {place for place in later if value_at(self._graph, place) in values} | set(first)
        beside = [key for key in self._order if key not in self._stages]
        rest = [place for place in self._numbers(_SEEDS, beside) if place not in driven]
        self._add("seed", [*first, *later, *rest], driven.__contains__ if driven else None)

    # Texts: what reaches a sampler's positive or negative side.

    def _texts(self) -> None:
        stages = [*self._first, *self._stages]
        positive, later = self._side(self._first, "positive"), self._side(stages, "positive")
        negative = [*self._side(self._first, "negative"), *self._side(stages, "negative")]
        titled = [key for key in self._order if "negative" in self._graph[key].title.lower()]
        if not positive:
            untitled = [key for key in self._order if key not in titled]
            named = [place for key in untitled for place in self._texts_of(key, "positive", sure=False)]
            positive = [place for place in named if place not in negative]
        if not negative:
            negative = [place for key in titled for place in self._texts_of(key, "negative", sure=True)]
            negative += [place for key in self._order for place in self._texts_of(key, "negative", sure=False)]
        self._add("prompt", [*sorted(positive, key=self._rank), *later])
        self._add("negative", [place for place in negative if place not in {*positive, *later}])
        lyrics = [(key, name) for key in self._order for name in self._graph[key].inputs if name == "lyrics"]
        self._add("lyrics", [place for place in lyrics if isinstance(value_at(self._graph, place), str)])

    def _side(self, starts: Sequence[str], side: str) -> list[Place]:
        """Return the texts that reach `starts` on one side, the nearest first.

        A text is the negative side's once a link of that side was followed to it, or if its own name says so.
        """
        other = "negative" if side == "positive" else "positive"
        found: list[Place] = []
        waiting = deque((key, side == "positive") for key in starts)
        seen: set[tuple[str, bool]] = set()
        while waiting:
            key, sure = waiting.popleft()
            node = self._graph[key]
            if (key, sure) in seen or (side == "negative" and node.class_type == "ConditioningZeroOut"):
                continue
            seen.add((key, sure))
            found += self._texts_of(key, side, sure=sure)
            for name, source in links(node).items():
                if _NUMBER.sub("", name) not in _BESIDE and other not in name.lower() and not _NO_TEXT.fullmatch(name):
                    waiting.append((source, sure or side in name.lower()))
        return found

    def _texts_of(self, key: str, side: str, *, sure: bool) -> list[Place]:
        """Return a node's own texts of one side, the likeliest first; unless `sure`, those that are named as such."""
        node = self._graph[key]
        if _ASKS.fullmatch(node.class_type):
            return []
        texts = [name for name, value in node.inputs.items() if isinstance(value, str) and self._is_text(node, name)]
        sided = [name for name in texts if side in name.lower()]
        other = "negative" if side == "positive" else "positive"
        plain = [name for name in texts if other not in name.lower()]
        if side == "positive" and not sure:
            plain = [name for name in plain if name in _PROMPTS]
        names = sided or (plain if sure or side == "positive" else [])
        rank = {name: index for index, name in enumerate(_PROMPTS)}
        return [(key, name) for name in sorted(names, key=lambda name: rank.get(name, len(rank)))]

    @staticmethod
    def _is_text(node: Node, name: str) -> bool:
        """Whether a text input holds words; a wildcard node takes one of its two texts, as its `mode` says."""
        if name in {"wildcard_text", "populated_text"} and {"wildcard_text", "populated_text"} <= node.inputs.keys():
            fixed = node.inputs.get("mode") in ("fixed", "reproduce", False)
            return fixed == (name == "populated_text")
        if name in {"value", "str"} or name.startswith(("string", "line")):
            return bool(_HOLDS_TEXT.fullmatch(node.class_type))
        return bool(_IS_TEXT.fullmatch(name) and not _NO_TEXT.fullmatch(name))

    def _rank(self, place: Place) -> tuple[int, bool]:
        """Return how unlikely a text is to be the prompt: instructions and style come last, empty texts too."""
        title, value = self._graph[place[0]].title, str(value_at(self._graph, place))
        told = value.lstrip().lower().startswith(("you are a", "# role"))
        ranks = (len(_RANKS) - index for index, words in enumerate(_RANKS) if words.fullmatch(title))
        return (len(_RANKS) if told else next(ranks, 0)), not value.strip()

    # Files and LoRAs.

    def _files(self, key: str) -> None:
        node = self._graph[key]
        for name, value in node.inputs.items():
            if (kind := MEDIA.get((node.class_type, name))) and isinstance(value, str):
                param = self._next(kind)
                self._media.append(param)
                self._add(param, [(key, name)])

    def _loras(self, key: str) -> None:
        """Add each LoRA of a node, alone or one of several (`lora_name_2`, `lora_2.lora`), and its strengths."""
        own = dict(leaves(self._graph[key].inputs))
        strengths: dict[tuple[str, ...], list[Place]] = {}
        for name, value in own.items():
            scope, _, last = name.rpartition(".")
            if _STRENGTH.fullmatch(_NUMBER.sub("", last)) and _is_number(value):
                strengths.setdefault((scope, *_NUMBER.findall(last)), []).append((key, name))
        for name, value in own.items():
            scope, _, last = name.rpartition(".")
            off = value in ("None", "") or own.get(f"{scope}.on") is False
            if _NUMBER.sub("", last) not in {"lora", "lora_name"} or not isinstance(value, str) or off:
                continue
            param = self._next("lora")
            self._add(param, [(key, name)])
            self._add(f"{param}_strength", strengths.get((scope, *_NUMBER.findall(last)), ()))

    def _next(self, name: str) -> str:
        """Return `name`, or `name_2` and so on where that is taken."""
        self._counts[name] += 1
        return f"{name}_{self._counts[name]}" if self._counts[name] > 1 else name
