"""The shapes of a manifest's fixed parts, as pydantic models."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from batchrunner.text import did_you_mean, listing, quote
from batchrunner.workflow.values import SEED_MAX

# -- Where to render: a URL, several, or `sim`, written so that one server has one name.


SIM = "sim"
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def server_url(text: str) -> str:
    """Return `text` normalised: scheme and host in lower case, no default port, no slash at the end; or `sim`.

    Raises:
        ValueError: it is no URL of a server; the message never repeats what might be a password.

    """
    if text == SIM:
        return SIM
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if "@" in text:
        raise ValueError("must hold no user name, password or token; see --token-file and BATCHRUNNER_TOKEN")
    if parts.scheme not in _PORTS:
        raise ValueError(_no_scheme(text))
    host = parts.netloc.rsplit(":", 1)[0] if port is not None else parts.netloc.rstrip(":")
    if not _HOST.fullmatch(host) or not text.isprintable() or " " in text:
        raise ValueError("is no URL of a server")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must end before any ? or #")
    shown = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host.lower()}{shown}{parts.path.rstrip('/')}"


def _no_scheme(text: str) -> str:
    near = f" - did you mean http://{text}?" if re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]+)?/?", text) else ""
    return f"must be sim, or begin with http:// or https://, not {quote(text)}{near}"


# -- The shapes of a manifest's fixed parts, as pydantic models; what stands in blocks is read in `values` and `axes`.
#
# A model here says what is allowed and what it means (the descriptions become the JSON Schema). What is wrong is said
# by `check`, in our words.


MOST_JOBS = 100_000
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)")
_SHORTEST, _LONGEST = 0.05, 366 * 86_400.0
_MOST_TIMES = 1000
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]")
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,64}")
EVENTS = ("finished", "failed", "stopped", "breaker", "stuck")
"""What a target can be told of."""
NO_URL = "a URL that takes messages is a secret, and a manifest is shown to others: export it, and name the variable"


def _ours(text: str) -> PydanticCustomError:
    return PydanticCustomError("ours", "{text}", {"text": text})


def _batch_name(text: str) -> str:
    if not _NAME.fullmatch(text) or ".." in text or text == ".":
        raise _ours(f"must be 1 to 64 letters, digits, `.`, `_` or `-`, without `..`, not {quote(text)}")
    return text


def _duration(written: object) -> float:
    found = _DURATION.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        unit = f" - did you mean {written}s?" if type(written) in {int, float} else ""
        called = quote(str(written)) if isinstance(written, str | int | float) else "this"
        raise _ours(f"must be a number and ms, s, m, h or d (90s, 10m, 8h), not {called}{unit}")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not _SHORTEST <= seconds <= _LONGEST:
        raise _ours(f"must be between 50ms and 366d, not {written}")
    return seconds


def _ttl(written: object) -> float | None:
    return None if written == "none" else _duration(written)


def _poll(written: object) -> float | None:
    return None if written == "adaptive" else _duration(written)


def _stuck(written: object) -> float | None:
    if written == "off":
        return None
    if isinstance(written, bool) or not isinstance(written, int | float) or not 1 <= written <= _MOST_TIMES:
        called = quote(str(written)) if isinstance(written, str | int | float) else "this"
        raise _ours(f"must be a number of times from 1 to {_MOST_TIMES}, or off, not {called}")
    return float(written)


def _servers(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,)


def _server(text: str) -> str:
    try:
        return server_url(text)
    except ValueError as error:
        raise _ours(str(error)) from None


def _texts(written: object) -> object:
    return tuple(written) if isinstance(written, list) else (written,)


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise _ours(f"must be the name of an environment variable; {NO_URL}")
    return text


def _time(text: str) -> str:
    if not _TIME.fullmatch(text):
        raise _ours(f"must be a time of day such as 07:30, not {quote(text)}")
    return text


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise _ours(f"must be 1 to 64 letters, digits, `_` or `-`, not {quote(text)}")
    return text


def _event(text: str) -> str:
    if text not in EVENTS:
        raise _ours(f"must be one of {listing(EVENTS)}, not {quote(text)}{did_you_mean(text, EVENTS)}")
    return text


def _command(written: object) -> object:
    if not isinstance(written, list):
        raise _ours("must be a list, a program and its arguments: there is no shell to take them apart")
    if written[:1] == [""] or any(isinstance(word, str) and "\0" in word for word in written):
        raise _ours("must name a program, and hold no character 0")
    return tuple(written)


def _node_id(written: object) -> object:
    return str(written) if type(written) is int else written


Duration: TypeAlias = Annotated[float, BeforeValidator(_duration)]
Server: TypeAlias = Annotated[str, AfterValidator(_server)]
Order: TypeAlias = Literal["breadth", "listed", "grouped", "shuffle", "cheap"]
Texts: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_texts), Field(min_length=1)]


class Form(BaseModel):
    """A mapping with a fixed set of keys; types are taken at their word: `"3"` and true are no numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Sample(Form):
    """A reproducible subset of the product."""

    count: Annotated[int, Field(ge=1, le=MOST_JOBS, description="How many jobs are kept.")]
    seed: Annotated[int, Field(ge=0, le=SEED_MAX, description="Another seed keeps others.")] = 0


class Range(Form):
    """An axis of numbers from one end to the other, both included, exact in decimals."""

    start: Annotated[float, Field(alias="from", allow_inf_nan=False, description="The first value.")]
    to: Annotated[float, Field(allow_inf_nan=False, description="The last value.")]
    step: Annotated[float | None, Field(gt=0, allow_inf_nan=False, description="The distance of two values.")] = None
    count: Annotated[int | None, Field(ge=1, description="How many values, evenly spread.")] = None


class Seeds(Form):
    """Seeds derived from `base` and their index: the same for every other value."""

    count: Annotated[int, Field(ge=1, description="How many seeds.")]
    base: Annotated[int, Field(ge=0, le=SEED_MAX, description="Another base gives other seeds.")] = 0
    per: Annotated[str | None, Field(description="A parameter whose text the seeds are derived from as well.")] = None


class Listing(Form):
    """An axis from a file beside the manifest: a line each, or a column."""

    file: Annotated[str, Field(description="A .txt, .csv or .jsonl file, UTF-8, in the manifest's folder.")]
    column: Annotated[str | None, Field(description="The column of a .csv, or the key of a .jsonl.")] = None


class Target(Form):
    """Whom to tell, by exactly one of `url_env`, `apprise_env` and `command`; no URL stands here: it is a secret."""

    url_env: Annotated[
        str, AfterValidator(_variable), Field(description="The environment variable with the URL to POST JSON to.")
    ] = ""
    topic: Annotated[str, AfterValidator(_topic), Field(description="For ntfy, whose URL is that of its root.")] = ""
    apprise_env: Annotated[
        str, AfterValidator(_variable), Field(description="The environment variable with an apprise URL.")
    ] = ""
    command: Annotated[
        tuple[str, ...],
        BeforeValidator(_command),
        Field(min_length=1, description="A program and its arguments; it reads JSON from its input."),
    ] = ()
    on: Annotated[
        tuple[Annotated[str, AfterValidator(_event)], ...],
        BeforeValidator(_servers),
        Field(min_length=1, description="Of what; of everything unless said."),
    ] = EVENTS


class Settings(Form):
    """What renders, where and how; the values of its blocks are read elsewhere."""

    name: Annotated[
        str, AfterValidator(_batch_name), Field(description="The batch, and its folder: letters, digits, `._-`.")
    ]
    server: Annotated[
        tuple[Server, ...],
        BeforeValidator(_servers),
        Field(min_length=1, description="A URL, a list of URLs that share the work, or `sim`."),
    ] = ()
    ttl: Annotated[
        float | None,
        BeforeValidator(_ttl),
        Field(description="How long the server keeps a file; `none` where it keeps them."),
    ] = 600.0
    workflow: Annotated[str, Field(min_length=1, description='`ltx2`, or a workflow saved with "Export (API)".')]
    params: Annotated[
        dict[str, Texts],
        Field(max_length=200, description="Parameters of your own workflow: a name, and the inputs it drives."),
    ] = {}
    prefix: Annotated[
        Texts,
        Field(description="Where the file prefix goes, if no saving node has a filename_prefix: `30.filename`."),
    ] = ()
    outputs: Annotated[
        tuple[Annotated[str, BeforeValidator(_node_id)], ...] | None,
        BeforeValidator(_servers),
        Field(min_length=1, description="Only these nodes' files come home; every file otherwise."),
    ] = None
    presets: Annotated[object, Field(description="Named sets of values, beside `quality` and `size`.")] = None
    defaults: Annotated[object, Field(description="What every job starts from.")] = None
    sweep: Annotated[object, Field(description="A block, or a list of blocks whose jobs are joined.")]
    exclude: Annotated[object, Field(description="Jobs to leave out: partial matches, a list means any of.")] = None
    order: Annotated[Order, Field(description="Which job is next.")] = "breadth"
    sample: Annotated[Sample | None, Field(description="A reproducible subset of the product.")] = None
    files: Annotated[
        str | None,
        Field(min_length=1, max_length=500, description="File names: `{parameter}`, `{job}`, `/` for folders."),
    ] = None
    attempts: Annotated[int, Field(ge=1, le=100, description="Renders per job before it fails.")] = 3
    depth: Annotated[int, Field(ge=1, le=16, description="Our prompts on one server: one running, one ready.")] = 2
    patience: Annotated[Duration, Field(description="How long an unreachable server is waited for.")] = 8 * 3600.0
    settle: Annotated[
        Duration | None, Field(description="How long a POST without an answer may still arrive (70s; 1s on sim).")
    ] = None
    grace: Annotated[
        Duration | None, Field(description="How long a trouble that may pass must last (60s; 1s on sim).")
    ] = None
    poll: Annotated[
        float | None, BeforeValidator(_poll), Field(description="`adaptive`, or a fixed time between looks.")
    ] = None
    stuck: Annotated[
        float | None,
        BeforeValidator(_stuck),
        Field(description="How many times its forecast a job may run before it is interrupted; `off` for ever."),
    ] = 3.0
    until: Annotated[
        str,
        AfterValidator(_time),
        Field(description="Submit nothing that cannot be home by then: a time of day, 07:30."),
    ] = ""
    notify: Annotated[
        object, Field(description="Whom to tell how it goes, while you sleep: one target, or a list.")
    ] = None
    max_jobs: Annotated[
        int, Field(ge=1, le=MOST_JOBS, description="The most jobs that the blocks may multiply to.")
    ] = 10_000
