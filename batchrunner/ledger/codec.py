"""Facts and jobs as JSON text and back; and the errors of a state file, in words that say what to do."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, get_args, get_type_hints

from batchrunner.core.facts import Fact, File, Why, fact_name
from batchrunner.core.job import InputFile, Job
from batchrunner.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from batchrunner.core.job import Json, Scalar

    Read: TypeAlias = Callable[[Json], object]

# -- What can go wrong with the state file.


class StateError(LocalError):
    """The state of this batch cannot be used."""


REBUILD = (
    "move it away and run the same command again: "
    "finished videos are found again in the batch's folder and on its servers, and nothing is rendered twice"
)
"""What to do about a state that can't be used."""
_DAMAGED = f"it is damaged or not a state file of batchrunner; {REBUILD}"
_OPEN_ELSEWHERE = "another program has it open for writing; end that program and run the same command again"
_FULL = "the disk is full; free some space and run the same command again"
_CAUSES = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: "it can't be written; check who owns it and its folder, and whether the disk is read-only",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; check who owns it and its folder, and the limit on open files",
    sqlite3.SQLITE_PERM: "it can't be opened; check who owns it and its folder",
    sqlite3.SQLITE_BUSY: _OPEN_ELSEWHERE,
    sqlite3.SQLITE_LOCKED: _OPEN_ELSEWHERE,
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it; check the disk, then run the same command again",
}


@contextmanager
def state_errors(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into a `StateError` that names the file at `path`, the cause and what to do."""
    try:
        yield
    except StateError as error:
        raise StateError(f"{path}: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        cause = _CAUSES.get(code & 0xFF, f"SQLite reports: {error}; {REBUILD}")
        raise StateError(f"{path}: {cause}") from error


# -- Facts and jobs as JSON text and back; strict on the way back, since a state that is misread loses videos.


_COLUMNS = ("job", "attempt", "at")
"""The fields of a fact that have a column of their own; the others are in its JSON."""


def fact_text(fact: Fact) -> str:
    """Return the JSON of a fact's fields other than job, attempt and time."""
    form = _FORMS[fact_name(type(fact))]
    return _text({name: _plain(getattr(fact, name)) for name in form.readers})


def read_fact(name: str, job: str, attempt: int, at: float, text: str) -> Fact:
    """Return the fact in a row: its columns and its JSON. StateError if this version can't have written it."""
    form = _FORMS.get(name)
    if form is None:
        raise StateError(f"the state holds a fact of an unknown kind, {name!r}; {REBUILD}")
    try:
        _of(str)(job)
        _of(int)(attempt)
        _number(at)
        values = _fields(form, _object(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise StateError(f"the state holds a damaged fact of job {job!r} ({name}: {error}); {REBUILD}") from error
    return form.make(job=job, attempt=attempt, at=at, **values)


def job_text(job: Job) -> str:
    """Return the JSON of a job without its id. Seeds stay whole: they go up to 2^64-1, beyond SQLite's integers."""
    values = {"digest": job.digest, "params": {**job.params}, "file": job.file, "cost": job.cost}
    if job.inputs:
        values["inputs"] = [[file.sha256, file.size, file.name] for file in job.inputs]
        values["uploads"] = {**job.uploads}
    return _text(values)


def read_job(name: str, text: str) -> Job:
    """Return a job from its id and its JSON. StateError if it is damaged."""
    try:
        _of(str)(name)
        return _job(name, _object(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StateError(f"the state holds a damaged job, {name!r} ({error}); {REBUILD}") from error


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind of fact is read: its class, a reader per field in JSON, and the fields without a default."""

    make: Callable[..., Fact]
    readers: Mapping[str, Read]
    required: frozenset[str]


def _fields(form: _Form, values: Mapping[str, Json]) -> dict[str, object]:
    unknown, missing = values.keys() - form.readers.keys(), form.required - values.keys()
    if unknown or missing:
        raise ValueError(f"unknown {sorted(unknown)}, missing {sorted(missing)}")
    return {name: form.readers[name](value) for name, value in values.items()}


def _job(name: str, values: Mapping[str, Json]) -> Job:
    digest, file, params = values["digest"], values["file"], values["params"]
    if not (isinstance(digest, str) and isinstance(file, str) and isinstance(params, dict)):
        raise TypeError("a value of the wrong type")
    inputs, uploads = values.get("inputs", []), values.get("uploads", {})
    if not (isinstance(inputs, list) and isinstance(uploads, dict)):
        raise TypeError("a value of the wrong type")
    return Job(
        name,
        digest,
        {key: _scalar(value) for key, value in params.items()},
        file,
        _number(values["cost"]),
        tuple(map(_input_file, inputs)),
        {key: str(_of(str)(value)) for key, value in uploads.items()},
    )


def _input_file(value: Json) -> InputFile:
    match value:
        case [str(sha256), int(size), str(name)]:
            return InputFile(sha256, size, name)
        case _:
            raise TypeError(f"{value!r} instead of an input file")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [[item.name, item.subfolder, item.kind, item.node] for item in value]
    return value


def _text(values: Mapping[str, object]) -> str:
    """ASCII only: a server's text may hold lone surrogates, which SQLite can't store."""
    return json.dumps(values, separators=(",", ":"))


def _object(text: str) -> dict[str, Json]:
    value: Json = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _of(*types: type) -> Read:
    def read(value: Json) -> object:
        if type(value) not in types:
            raise TypeError(f"{value!r} instead of {types[0].__name__}")
        return value

    return read


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} instead of a number")
    return float(value)


def _scalar(value: Json) -> Scalar:
    if isinstance(value, (list, dict)):
        raise TypeError(f"{value!r} instead of a single value")
    return value


def _files(value: Json) -> tuple[File, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} instead of a list of files")
    return tuple(_file(item) for item in value)


def _file(value: Json) -> File:
    if not isinstance(value, list) or len(value) != 4:
        raise TypeError(f"{value!r} instead of a file")
    return File(*(str(_of(str)(item)) for item in value))


_READERS: Mapping[object, Read] = {
    str: _of(str),
    int: _of(int),
    bool: _of(bool),
    float: _number,
    float | None: lambda value: None if value is None else _number(value),
    Why: lambda value: Why(str(value)),
    tuple[File, ...]: _files,
}


def _form(make: type) -> _Form:
    hints = get_type_hints(make)
    own = [field for field in fields(make) if field.name not in _COLUMNS]
    readers = {field.name: _READERS[hints[field.name]] for field in own}
    return _Form(make, readers, frozenset(field.name for field in own if field.default is MISSING))


_FORMS: Mapping[str, _Form] = {fact_name(make): _form(make) for make in get_args(Fact)}
