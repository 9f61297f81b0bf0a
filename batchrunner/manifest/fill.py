"""A job's written values to its final ones: files found, texts with `${…}` filled in, seeds derived."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.manifest.media import PlacedText, stem
from batchrunner.manifest.names import DerivedSeed, Reference, TextTemplate
from batchrunner.text import did_you_mean, listing, printable, quote
from batchrunner.workflow.values import LONGEST_TEXT, UnfitError, fit, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import InputFile, Scalar
    from batchrunner.manifest.diagnostics import Diagnostics
    from batchrunner.manifest.media import MediaFiles
    from batchrunner.manifest.names import Point

    Unplaced: TypeAlias = dict[str, Scalar | TextTemplate | DerivedSeed]

MAX_FIELDS = 30
"""`${…}` in one text."""
MAX_CHARACTERS = 20_000_000
"""In all filled texts of a batch."""
_UNFINISHED = (TextTemplate, DerivedSeed)
"""What becomes a value once the job's other values are known."""
_FIELD = re.compile(r"\$\{([^{}\n]*)\}")


def derive(base: int, index: int, text: str | None = None) -> int:
    """Return the `index`th seed of `base` (0 to 2^32-1), the same everywhere; with `text`, one of that text's own."""
    key = json.dumps([base, index] if text is None else [base, index, text])
    return int.from_bytes(sha256(key.encode()).digest()[:4], "big")


@lru_cache(maxsize=1024)
def fields_of(text: str) -> tuple[str, ...]:
    """Return the names of the `${…}` in `text`."""
    return tuple(_FIELD.findall(text))


@dataclass(frozen=True, slots=True)
class Filled:
    """The final values of one job."""

    params: dict[str, Scalar]
    files: Mapping[str, InputFile]
    """Parameters and own variables that are local files; in `params` stands the path as it was written."""
    stems: Mapping[str, str]
    """What stands in texts and file names for every value that is a file."""


class Filler:
    """Turns a job's written values into its final ones: files found, texts with `${…}` filled in, seeds derived.

    One pass: what is put in is not read again, so a value with `${` in it arrives as it is, and a lone `$` or `{` means
    itself.
    """

    def __init__(self, diagnostics: Diagnostics, media: MediaFiles) -> None:
        self._report = diagnostics.add
        self._media = media
        self._kept: dict[tuple[str, ...], str] = {}
        self._characters_left = MAX_CHARACTERS

    def fill(self, values: Point) -> Filled | None:
        """Return the final values of one job, or None after recording why there are none.

        Files first, then texts, then the seeds derived from them, then the texts that name such a seed.
        """
        files: dict[str, InputFile] = {}
        if any(isinstance(each, Reference) for each in values.values()):
            referred = self._referred(values)
            if referred is None:
                return None
            values = referred
        rooted = {name: each.text for name, each in values.items() if isinstance(each, PlacedText) and each.root}
        stems = {name: stem(text) for name, text in rooted.items()}
        found = self._with_files(values, files, stems)
        params = None if found is None else self._filled(found, files, stems)
        return None if params is None else Filled(params, files, stems)

    def _referred(self, values: Point) -> Point | None:
        """Return `values` with what each reference stands for; None after recording that one does not fit."""
        found = dict(values)
        for name, value in values.items():
            if not isinstance(value, Reference):
                continue
            given = values.get(value.variable)
            text = given.text if isinstance(given, TextTemplate | PlacedText) else given
            wrong = ""
            if value.variable not in values:
                wrong = f"${{{value.variable}}} is not set here{did_you_mean(value.variable, values)}"
            elif isinstance(text, DerivedSeed | Reference):
                wrong = f"${{{value.variable}}} depends on other values itself"
            else:
                try:
                    found[name] = fit(value.limit, text)
                except UnfitError as error:
                    wrong = str(error)
            if wrong:
                self._report(value.location, value.path, wrong)
                return None
        return found

    def _with_files(self, values: Point, files: dict[str, InputFile], stems: dict[str, str]) -> Unplaced | None:
        """Return `values` with a text for each file, and note the files; None after recording what is wrong."""
        found: Unplaced = {
            name: each.text if isinstance(each, PlacedText) else each
            for name, each in values.items()
            if not isinstance(each, Reference)
        }
        for name in self._media.params:
            value, source = values.get(name), name
            if isinstance(value, TextTemplate):
                # Alone it is the path; a longer text makes one.
                (only,) = fields_of(value.text)[:1] or ("",)
                named = values.get(only) if value.text == f"${{{only}}}" else None
                if isinstance(named, PlacedText) or (isinstance(named, str) and only in self._media.params):
                    value, source = named, only
            if isinstance(value, TextTemplate):
                value = self._path(value, found, stems)
                if value is None:
                    return None
            if isinstance(value, PlacedText):
                file = self._media.input_file(name, value)
                if file is None:
                    return None
                files |= {name: file, source: file}
                value = value.text
            if isinstance(value, str):
                found |= {name: value, source: value}
                stems |= {name: stem(value), source: stem(value)}
        return found

    def _path(self, template: TextTemplate, values: Unplaced, stems: Mapping[str, str]) -> PlacedText | None:
        """Return the path that a text makes of other values, which hold no `${…}` and no derived seed themselves."""
        final = {name: each for name, each in values.items() if not isinstance(each, TextTemplate | DerivedSeed)}
        text = self._text(template, {}, final, stems)
        return None if text is None else PlacedText(text, template.location, template.path)

    def _filled(
        self, values: Unplaced, files: Mapping[str, InputFile], stems: Mapping[str, str]
    ) -> dict[str, Scalar] | None:
        final: dict[str, Scalar] = {
            name: None if isinstance(value, _UNFINISHED) else value for name, value in values.items()
        }
        later = [(name, value) for name, value in values.items() if isinstance(value, _UNFINISHED)]
        if not later:
            return final
        texts = {name: value for name, value in later if isinstance(value, TextTemplate)}
        seeds = {name: value for name, value in later if isinstance(value, DerivedSeed)}
        raw = {name: template.text for name, template in texts.items()}
        late = {name for name, text in raw.items() if not seeds.keys().isdisjoint(fields_of(text))}
        final |= {name: self._text(texts[name], raw, final, stems) for name in texts if name not in late}
        final |= {name: self._seed(seed, late | seeds.keys(), final, files) for name, seed in seeds.items()}
        if any(final[name] is None for name in seeds):
            return None
        final |= {name: self._text(texts[name], raw, final, stems) for name in texts if name in late}
        return None if any(final[name] is None for name in texts) else final

    def _text(
        self, template: TextTemplate, raw: Mapping[str, str], final: Mapping[str, Scalar], stems: Mapping[str, str]
    ) -> str | None:
        names = fields_of(template.text)
        if len(names) > MAX_FIELDS:
            self._report(template.location, template.path, f"names more than {MAX_FIELDS} values to fill in")
            return None
        unknown = [name for name in names if name not in final]
        for name in unknown:
            near = did_you_mean(name, final) or f"; there is {listing(final)}"
            self._report(template.location, template.path, f"${{{printable(name, 60)}}} is not set here{near}")
        if unknown:
            return None
        words = {**{name: shown(final[name]) for name in names}, **raw, **stems}
        key = (template.text, *[words[name] for name in names])
        if key not in self._kept:
            length = sum(map(len, key))
            self._characters_left -= length
            if length > LONGEST_TEXT or self._characters_left < 0:
                text = f"is longer than {LONGEST_TEXT:,} characters when filled in"
                total = f"all filled texts together are longer than {MAX_CHARACTERS:,} characters"
                self._report(template.location, template.path, text if length > LONGEST_TEXT else total)
                return None
            rest = iter(key[1:])
            self._kept[key] = _FIELD.sub(lambda _: next(rest), template.text)
        return self._kept[key]

    def _seed(
        self, seed: DerivedSeed, late: set[str], final: Mapping[str, Scalar], files: Mapping[str, InputFile]
    ) -> int | None:
        if seed.per not in final:
            self._report(seed.location, seed.path, f"{quote(seed.per)} is not set here")
            return None
        if seed.per in late:
            self._report(seed.location, seed.path, f"{quote(seed.per)} itself depends on a derived seed")
            return None
        # A file's own seeds stay when it is renamed.
        text = files[seed.per].sha256 if seed.per in files else shown(final[seed.per])
        return derive(seed.base, seed.index, text)
