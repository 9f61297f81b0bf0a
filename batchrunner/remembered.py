"""How a batch was run last: kept in its ledger, so that other commands need only its folder, and told as commands.

The record counts only for the user and the machine that wrote it. A batch folder may come from anybody: one that could
say which manifest is run, and with which permissions, could have any file of ours sent anywhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.consent import personal
from batchrunner.core.lifecycle import Done, Failed
from batchrunner.manifest import Options, matching
from batchrunner.options import OUT, OUT_VARIABLE, RunOptions
from batchrunner.program import command_line
from batchrunner.show.report import Commands, RunContext
from batchrunner.text import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.job import Job, Json
    from batchrunner.core.lifecycle import State

RECORD = "how it was run"
"""The ledger's key for it."""
_SEAL = "seal"
NO_MANIFEST = Path("MANIFEST")
"""Stands in commands for a manifest that nobody remembers."""
_PASSING = ("/dev/", "/proc/")
"""Where a token file lies that is gone with the command that named it: `--token-file <(pass show gpu)`."""


def without_secrets(options: RunOptions, secrets: tuple[str, ...]) -> RunOptions:
    """Return options in which *** stands for each of `secrets`, fit to be kept and shown.

    A URL with a password in it is no server (`manifest.forms.server_url`), so none comes this far.
    """
    own = options.manifest_options

    def clean(text: str) -> str:
        return str(redact(text, secrets))

    sets, only = (tuple((name, clean(value)) for name, value in pairs) for pairs in (own.sets, own.only))
    kept = replace(own, servers=tuple(map(clean, own.servers)), sets=sets, only=only)
    return replace(options, manifest_options=kept)


def record(options: RunOptions) -> dict[str, Json]:
    """Return what is remembered of a run, sealed. What was agreed to with `--allow-commands` has marks of its own."""
    own = options.manifest_options
    token_file = options.token_file.absolute() if options.token_file else None
    kept: dict[str, Json] = {
        "manifest": str(options.manifest.absolute()),
        "servers": [*own.servers],
        "sets": [[name, value] for name, value in own.sets],
        "only": [[name, value] for name, value in own.only],
        "allow_outside": own.allow_outside,
        "limit": options.limit,
        "until": options.until,
        "hours": options.hours,
        "token_file": str(token_file) if token_file and not str(token_file).startswith(_PASSING) else None,
    }
    return {**kept, _SEAL: _seal(kept)}


def _seal(kept: Mapping[str, Json]) -> str:
    """Return what nobody else can write under a record: it would let a folder from elsewhere say what is run here."""
    return personal(f"ran it so: {json.dumps(kept, sort_keys=True)}")


def recalled(marks: Mapping[str, Json], given: RunOptions) -> RunOptions:
    """Return how the batch was run last, by its ledger's marks, with what the command line says instead.

    `given.manifest` may be `NO_MANIFEST`; `given.out` is where the batch lies now. A record that this version, this
    user on this machine, can't have written counts as none.
    """
    found = marks.get(RECORD)
    if not isinstance(found, dict) or found.get(_SEAL) != _seal({key: found[key] for key in found if key != _SEAL}):
        return given
    try:
        return _merged(found, given)
    except (KeyError, TypeError, ValueError):
        return given


def _merged(found: Mapping[str, Json], given: RunOptions) -> RunOptions:
    own = given.manifest_options
    token_file, until, hours, limit = (found[key] for key in ("token_file", "until", "hours", "limit"))
    return replace(
        given,
        manifest=_near(Path(str(found["manifest"]))) if given.manifest == NO_MANIFEST else given.manifest,
        manifest_options=Options(
            own.servers or tuple(map(str, _list(found["servers"]))),
            own.sets or tuple(_pairs(found["sets"])),
            own.only or tuple(_pairs(found["only"])),
            own.allow_outside or found["allow_outside"] is True,
            own.out,
        ),
        token_file=given.token_file or (_near(Path(token_file)) if isinstance(token_file, str) else None),
        until=given.until or (until if isinstance(until, str) else None),
        hours=given.hours or (hours if isinstance(hours, str) else None),
        limit=given.limit or (limit if isinstance(limit, int) else None),
    )


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _pairs(value: Json) -> Iterator[tuple[str, str]]:
    for item in _list(value):
        name, text = _list(item)
        yield str(name), str(text)


def _near(path: Path) -> Path:
    """Return a path as it is written here: relative where it lies below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


# -- Commands to copy: whole, and quoted for a shell. Where the folder is absolute (`lasting`), so is the program.


def resume_command(options: RunOptions, only: Iterable[tuple[str, str]] | None = None) -> str:
    """Return the command that goes on with a batch as it was run, or with other jobs of it (`only`)."""
    own = options.manifest_options
    chosen = own.only if only is None else tuple(only)
    words = ["run", _path(options.manifest), *out_words(options)]
    for option, values in (("--server", own.servers), ("--set", _joined(own.sets)), ("--only", _joined(chosen))):
        words += [word for value in values for word in (option, value)]
    if only is None:
        words += ["--limit", str(options.limit)] if options.limit is not None else []
        words += ["--until", options.until] if options.until else []
        words += ["--hours", options.hours] if options.hours else []
    words += _token_words(options)
    words += ["--allow-outside"] if own.allow_outside else []
    return command_line(*words, absolute=options.out.is_absolute())


def going_on(options: RunOptions, jobs: Sequence[Job], states: Mapping[str, State]) -> RunOptions:
    """Return options that leave nothing out which is to do: without `--only` where all that it chooses is settled."""
    own = options.manifest_options
    chosen = matching(jobs, own.only) if own.only else ()
    if not own.only or any(not isinstance(states.get(job.id), Done | Failed) for job in chosen):
        return options
    return replace(options, manifest_options=replace(own, only=()))


def verb_command(options: RunOptions, name: str, *words: str) -> str:
    """Return the command that applies a verb (and its options) to the batch `name`: its folder is all that it needs."""
    token = _token_words(options) if words[0] in {"cancel", "verify"} else []
    return command_line(*words, _path(options.out / name), *token, absolute=options.out.is_absolute())


def commands(options: RunOptions, name: str) -> Commands:
    """Return the commands that the report and the page offer."""
    one = " --only job="
    return Commands(
        run=resume_command(options),
        retry=verb_command(options, name, "retry"),
        gallery=f"{verb_command(options, name, 'gallery')} --serve",
        promote=command_line(
            "promote", "picks.json", "--set", "size=1080p", *out_words(options), absolute=options.out.is_absolute()
        ),
        run_job=resume_command(options, ()) + one,
        retry_job=verb_command(options, name, "retry") + one,
    )


def run_context(options: RunOptions, name: str) -> RunContext:
    """Return what report and page say beyond the facts of the batch `name`."""
    absolute = lasting(options)
    manifest = "" if absolute.manifest == NO_MANIFEST else str(absolute.manifest)
    folder = str(options.out / name)
    return RunContext(manifest, folder, commands=commands(options, name), lasting=commands(absolute, name))


def lasting(options: RunOptions) -> RunOptions:
    """Return the same options for commands that are read later and elsewhere: with absolute paths."""
    token_file = options.token_file.absolute() if options.token_file else None
    manifest = options.manifest if options.manifest == NO_MANIFEST else options.manifest.absolute()
    return replace(options, manifest=manifest, out=options.out.absolute(), token_file=token_file)


def out_words(options: RunOptions) -> tuple[str, ...]:
    """Return the words that say where the batch has its folder."""
    usual = options.out == OUT and os.environ.get(OUT_VARIABLE, "") in ("", str(OUT))
    return () if usual else ("--out", _path(options.out))


def _token_words(options: RunOptions) -> list[str]:
    file = options.token_file
    return ["--token-file", str(file)] if file and not str(file).startswith(_PASSING) else []


def _joined(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}={value}" for name, value in pairs]


def _path(path: Path) -> str:
    """Return a path that no command takes for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)
