"""The fixed parts of a manifest as pydantic models: what is allowed, what it means, and how an editor is told.

A field's type says what is accepted and its description becomes the JSON Schema's. What stands in blocks depends on
the workflow and is read in `axes` and `sweep`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from batchrunner.text import quote
from batchrunner.workflow.values import SEED_MAX

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

SIM = "sim"
MAX_JOBS = 100_000
TAGS = ("<a text>", "<a mapping>")
"""The forms of what may be written as either, in the paths of pydantic's errors."""
Order: TypeAlias = Literal["auto", "breadth", "listed", "grouped", "shuffle", "cheap"]
Hint: TypeAlias = Literal["auto", "off"]
Event: TypeAlias = Literal["finished", "failed", "stopped", "breaker", "stuck"]
EVENTS: tuple[Event, ...] = get_args(Event)
"""What a recipient can be notified of."""
NO_URL = "a webhook URL is a secret: put it in an environment variable, and name that variable"
MAX_NAME = 64
"""Characters in a batch's name."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d)")
_SHORTEST, _LONGEST = 0.05, 366 * 86_400.0
_MAX_STUCK = 1000


VARIABLE_IN_HEADER = re.compile(r"(Bearer )?\$\{([A-Za-z_][A-Za-z0-9_]{0,127})\}")
"""A header's value that is an environment variable, alone or after `Bearer `."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PLAIN_HEADER = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,998}[\x21-\x7e])?")
_SECRET_HEADER = re.compile(r"^(?:authorization|proxy-authorization|cookie)$|(?:key|token|secret)$")
_OUR_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "if-match",
        "if-range",
        "range",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)


def server_url(text: str) -> str:
    """Return `text` with scheme and host in lower case, no default port and no slash at the end; or `sim`.

    Raises ValueError if it is not the URL of a server; the message never repeats what might be a password.
    """
    if text == SIM:
        return SIM
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if "@" in text:
        raise ValueError("must hold no user name, password or token; see --token-file and BATCHRUNNER_TOKEN")
    if parts.scheme not in _PORTS:
        near = f" - did you mean http://{text}?" if re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]+)?/?", text) else ""
        raise ValueError(f"must be sim, or begin with http:// or https://, not {quote(text)}{near}")
    host = parts.netloc.rsplit(":", 1)[0] if port is not None else parts.netloc.rstrip(":")
    if not _HOST.fullmatch(host) or not text.isprintable() or " " in text:
        raise ValueError("is not the URL of a server")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError("must end before any ? or #")
    port_text = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host.lower()}{port_text}{parts.path.rstrip('/')}"


# -- Validators; `custom` marks an error whose text is ours already.


def _custom(text: str) -> PydanticCustomError:
    return PydanticCustomError("custom", "{text}", {"text": text})


def _quoted(written: object) -> str:
    return quote(str(written)) if isinstance(written, str | int | float) else "this"


def _server(text: str) -> str:
    try:
        return server_url(text)
    except ValueError as error:
        raise _custom(str(error)) from None


def _duration(written: object) -> float:
    found = _DURATION.fullmatch(written) if isinstance(written, str) else None
    if found is None:
        unit = f" - did you mean {written}s?" if type(written) in {int, float} else ""
        raise _custom(f"must be a number and ms, s, m, h or d (90s, 10m, 8h), not {_quoted(written)}{unit}")
    seconds = float(found[1]) * _UNITS[found[2]]
    if not _SHORTEST <= seconds <= _LONGEST:
        raise _custom(f"must be between 50ms and 366d, not {written}")
    return seconds


def _stuck(written: object) -> float | None:
    if written == "off":
        return None
    if isinstance(written, bool) or not isinstance(written, int | float) or not 1 <= written <= _MAX_STUCK:
        raise _custom(f"must be a number of times from 1 to {_MAX_STUCK}, or off, not {_quoted(written)}")
    return float(written)


def _command(written: object) -> object:
    if not isinstance(written, list):
        raise _custom("must be a list, a program and its arguments: no shell splits it")
    if written[:1] == [""] or any(isinstance(word, str) and "\0" in word for word in written):
        raise _custom("must name a program, and hold no character 0")
    return tuple(written)


def _separator(text: str) -> str:
    if not text.strip() or "\n" in text:
        raise _custom("must be line, blank, or one line of text that stands between two texts")
    return text.strip()


def _headers(written: dict[str, str]) -> dict[str, str]:
    """Check names and values; what must be secret comes from the environment."""
    for name, value in written.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OUR_HEADERS:
            raise _custom(f"has no header {quote(name)}: it is not a header's name, or batchrunner sets it itself")
        if VARIABLE_IN_HEADER.fullmatch(value):
            continue
        if "$" in value or not _PLAIN_HEADER.fullmatch(value):
            raise _custom(f"the value of {name} must be ${{NAME}}, `Bearer ${{NAME}}`, or plain ASCII without `$`")
        if _SECRET_HEADER.search(name.lower()):
            raise _custom(
                f"the value of {name} is a secret: put it in an environment variable, and write ${{NAME}} here"
            )
    return written


class _Text:
    """Marks a text that matches a pattern; a `secret` one is not repeated in the message."""

    def __init__(self, pattern: str, requirement: str, *, secret: bool = False) -> None:
        self._pattern = pattern
        self._requirement = requirement
        self._secret = secret

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401 - pydantic's signature
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, *_: object) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^{self._pattern}$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self._pattern, text) or text == ".":
            raise _custom(f"must be {self._requirement}{'' if self._secret else f', not {quote(text)}'}")
        return text


class _OneOrMany:
    """Marks a tuple that may be written as one value without brackets."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:  # noqa: ANN401 - pydantic's signature
        def as_tuple(written: object) -> object:
            return tuple(written) if isinstance(written, list) else (written,)

        return core_schema.no_info_before_validator_function(as_tuple, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        items = handler(schema)["items"]
        return {"anyOf": [items, {"type": "array", "minItems": 1, "items": items}]}


def _duration_or(word: str) -> BeforeValidator:
    return BeforeValidator(lambda written: None if written == word else _duration(written))


def _or_word(schema: dict[str, Any], word: str) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"const": word}]})


_DURATION_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)$"}
_VARIABLE = _Text("[A-Za-z_][A-Za-z0-9_]{0,127}", f"the name of an environment variable; {NO_URL}", secret=True)
_NAME = _Text(
    rf"(?!.*\.\.)[A-Za-z0-9._-]{{1,{MAX_NAME}}}",
    f"1 to {MAX_NAME} letters, digits, `.`, `_` or `-`, without `..`",
)
_TOPIC = _Text("[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, `_` or `-`")
_CLOCK = "([01]?[0-9]|2[0-3]):[0-5][0-9]"
_TIME = _Text(_CLOCK, "a time of day such as 07:30")
_HOURS = _Text(rf"(?!0?(\d?\d:\d\d) *- *0?\1$){_CLOCK} *- *{_CLOCK}", "two different times of day such as 22:00-07:00")

Duration: TypeAlias = Annotated[float, BeforeValidator(_duration), WithJsonSchema(_DURATION_SCHEMA)]
_Server: TypeAlias = Annotated[
    str, AfterValidator(_server), WithJsonSchema({"type": "string", "pattern": f"^({SIM}|https?://.+)$"})
]
_NodeId: TypeAlias = Annotated[
    str,
    BeforeValidator(lambda written: str(written) if type(written) is int else written),
    WithJsonSchema({"type": ["string", "integer"]}),
]
_Texts: TypeAlias = Annotated[tuple[str, ...], _OneOrMany(), Field(min_length=1)]


def _key(description: str, default: str | None = None) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Return a field; `default` is what an editor shows, where that is not what is kept."""
    return Field(description=description, json_schema_extra=None if default is None else {"default": default})


class Form(BaseModel):
    """A mapping with a fixed set of keys; nothing is converted: neither `"3"` nor true is a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Sample(Form):
    """A reproducible subset of the product."""

    count: Annotated[int, Field(ge=1, le=MAX_JOBS, description="How many jobs are kept.")]
    seed: Annotated[int, Field(ge=0, le=SEED_MAX, description="Another seed keeps others.")] = 0


class Range(Form):
    """An axis of numbers from one end to the other, both included, exact in decimals."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["step"]}, {"required": ["count"]}]})

    start: Annotated[float, Field(alias="from", allow_inf_nan=False, description="The first value.")]
    to: Annotated[float, Field(allow_inf_nan=False, description="The last value.")]
    step: Annotated[float | None, Field(gt=0, allow_inf_nan=False, description="The distance of two values.")] = None
    count: Annotated[int | None, Field(ge=1, description="How many values, evenly spread.")] = None


class Seeds(Form):
    """Seeds derived from `base` and their index: the same for every other value."""

    count: Annotated[int, Field(ge=1, description="How many seeds.")]
    base: Annotated[int, Field(ge=0, le=SEED_MAX, description="Another base gives other seeds.")] = 0
    per: Annotated[str | None, _key("A parameter whose text the seeds are derived from as well.")] = None


class FromFile(Form):
    """An axis from a file beside the manifest: a line each, or a column."""

    file: Annotated[str, _key("A text file or a table, UTF-8, in the manifest's folder.")]
    column: Annotated[str | None, _key("The column of a .csv or .tsv, or the key of a .jsonl or .json.")] = None
    split: Annotated[
        str,
        AfterValidator(_separator),
        Field(min_length=1, description="`line`, `blank` (paragraphs), or the line that stands between two texts."),
    ] = "line"


class FromPattern(Form):
    """An axis of files, in natural order, for an input that loads one."""

    files: Annotated[str, Field(min_length=1, description="A pattern beside the manifest: `shots/*.png`.")]


class OnServer(Form):
    """A file that the server has already, for an input that loads one."""

    server: Annotated[str, _key("Its name in the server's input folder; nothing is uploaded.")]


class ParamForm(Form):
    """The inputs that a parameter drives, and whether it takes local files."""

    input: Annotated[_Texts, _key("The input, or inputs, that it drives.")]
    upload: Annotated[bool, _key("Whether it takes local files, which are uploaded; known for the usual loaders.")] = (
        False
    )


class FromTable(Form):
    """Rows from a table beside the manifest."""

    file: Annotated[str, _key("A .csv, .tsv, .jsonl or .json file, UTF-8, in the manifest's folder.")]
    columns: Annotated[
        dict[str, str],
        Field(min_length=1, description="Parameters, and the columns they come from; no other column is read."),
    ] = {}


def _frame(written: object) -> object:
    if written in (None, "first", "last") or (type(written) is int and written >= 0):
        return written
    raise _custom(f"must be first, last or a number from 0, not {_quoted(written)}")


class FromBatch(Form):
    """Rows from another batch in the same output folder: its finished jobs, or those of them that were picked."""

    batch: Annotated[str, _NAME, _key("The batch's name.")]
    picks: Annotated[str | None, _key("The gallery's picks.json, in that batch's folder.")] = None
    frame: Annotated[
        Literal["first", "last"] | Annotated[int, Field(ge=0)] | None,
        BeforeValidator(_frame),
        _key("`last`, `first` or a number from 0: `_file` is this frame of the video, as a picture."),
    ] = None


class Dynamic(Form):
    """An axis of texts that a dynamic prompt becomes: some at random, or all (the extra `wildcards`)."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["count"]}, {"required": ["all"]}]})

    dynamic: Annotated[
        str, Field(min_length=1, description="`A {red|blue} __animal__`; `__animal__` is wildcards/animal.txt.")
    ]
    count: Annotated[int | None, Field(ge=1, description="How many random texts.")] = None
    all: Annotated[bool, _key("Every text that it can become.")] = False
    base: Annotated[int, Field(ge=0, le=SEED_MAX, description="Another base gives other random texts.")] = 0


class RecipientForm(Form):
    """Who is notified, by exactly one of `url_env`, `apprise_env` and `command`; a URL is a secret and has no place."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [way]} for way in ("url_env", "apprise_env", "command")]}
    )

    url_env: Annotated[str, _VARIABLE, _key("The environment variable with the URL to POST JSON to.")] = ""
    topic: Annotated[str, _TOPIC, _key("The topic, for ntfy; its URL is that of its root.")] = ""
    apprise_env: Annotated[str, _VARIABLE, _key("The environment variable with an apprise URL.")] = ""
    command: Annotated[
        tuple[str, ...],
        BeforeValidator(_command),
        Field(min_length=1, description="A program and its arguments; it reads JSON from its input."),
    ] = ()
    on: Annotated[
        tuple[Event, ...], _OneOrMany(), Field(min_length=1, description="The events; all of them unless set.")
    ] = EVENTS


class ServerForm(Form):
    """One server, with what differs there from the batch."""

    url: Annotated[_Server, _key("Its URL; a path prefix is kept.")]
    name: Annotated[str, _NAME, _key("What it is called; its URL unless set.")] = ""
    headers: Annotated[
        dict[str, str],
        AfterValidator(_headers),
        Field(max_length=32, description='Sent with every request: `{X-API-Key: "${POD_KEY}"}`.'),
    ] = {}
    ttl: Annotated[
        float | None,
        _duration_or("none"),
        _or_word(_DURATION_SCHEMA, "none"),
        _key("How long it keeps a file; the batch's `ttl` unless set."),
    ] = None
    depth: Annotated[
        int | None, Field(ge=1, le=16, description="Our prompts on it; the batch's `depth` unless set.")
    ] = None
    ca: Annotated[str, _key("A PEM file with the certificates to trust, beside the manifest.")] = ""


_AnyServer: TypeAlias = Annotated[
    Annotated[_Server, Tag(TAGS[0])] | Annotated[ServerForm, Tag(TAGS[1])],
    Discriminator(lambda written: TAGS[isinstance(written, dict | ServerForm)]),
]


_AnyParam: TypeAlias = Annotated[
    Annotated[_Texts, Tag(TAGS[0])] | Annotated[ParamForm, Tag(TAGS[1])],
    Discriminator(lambda written: TAGS[isinstance(written, dict | ParamForm)]),
]


class Settings(Form):
    """Every key of a manifest; what stands in its blocks is read elsewhere."""

    name: Annotated[str, _NAME, _key("The batch, and its folder: letters, digits, `._-`.")]
    server: Annotated[
        tuple[_AnyServer, ...],
        _OneOrMany(),
        Field(min_length=1, description="A URL, `sim`, a mapping with a `url`, or a list of them that share the work."),
    ] = ()
    ttl: Annotated[
        float | None,
        _duration_or("none"),
        _or_word(_DURATION_SCHEMA, "none"),
        _key("How long the server keeps a file; `none` where it keeps them.", "10m"),
    ] = 600.0
    workflow: Annotated[
        str,
        Field(
            min_length=1,
            description='`ltx2`, or a workflow saved with "Export (API)".',
            examples=["ltx2", "workflow_api.json"],
        ),
    ]
    params: Annotated[
        dict[str, _AnyParam],
        Field(max_length=200, description="Parameters of your own workflow: a name, and the inputs it drives."),
    ] = {}
    prefix: Annotated[
        _Texts,
        Field(description="Where the file prefix goes, if no saving node has a filename_prefix: `30.filename`."),
    ] = ()
    outputs: Annotated[
        tuple[_NodeId, ...],
        _OneOrMany(),
        Field(min_length=1, description="Download only these nodes' files; every saved file otherwise."),
    ] = ()
    presets: Annotated[object, _key("Named sets of values, beside `quality` and `size`.")] = None
    defaults: Annotated[object, _key("What every job starts from.")] = None
    sweep: Annotated[object, _key("A block, or a list of blocks whose jobs are joined.")]
    exclude: Annotated[object, _key("Jobs to leave out: partial matches, a list means any of.")] = None
    order: Annotated[Order, _key("Which job is next.")] = "auto"
    sample: Annotated[Sample | None, _key("A reproducible subset of the product.")] = None
    files: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=500,
            description="File names: `{parameter}`, `{job}`, `/` for folders.",
            json_schema_extra={"default": "{prompt}-s{seed}-{job}"},
        ),
    ] = None
    attempts: Annotated[int, Field(ge=1, le=100, description="Renders per job before it fails.")] = 3
    depth: Annotated[int, Field(ge=1, le=16, description="Our prompts on one server: one running, one ready.")] = 2
    patience: Annotated[Duration, _key("How long an unreachable server is waited for.", "8h")] = 8 * 3600.0
    settle: Annotated[
        Duration | None, _key("How long a POST without an answer may still arrive (70s; 1s on sim).", "70s")
    ] = None
    grace: Annotated[
        Duration | None, _key("How long a problem that may pass must last before it counts (60s; 1s on sim).", "60s")
    ] = None
    poll: Annotated[
        float | None,
        _duration_or("adaptive"),
        _or_word(_DURATION_SCHEMA, "adaptive"),
        _key("`adaptive`, or a fixed time between polls.", "adaptive"),
    ] = None
    hint: Annotated[
        Hint,
        _key("`off` leaves the websocket alone, which says when a prompt has ended; then only polls tell."),
    ] = "auto"
    stuck: Annotated[
        float | None,
        BeforeValidator(_stuck),
        _or_word({"type": "number", "minimum": 1, "maximum": _MAX_STUCK}, "off"),
        _key("How many times its forecast a job may run before it is interrupted; `off`: never."),
    ] = 3.0
    until: Annotated[str, _TIME, _key("Submit nothing that cannot be finished by then: a time, 07:30.")] = ""
    hours: Annotated[str, _HOURS, _key("Submit only between these times of day, every day: 22:00-07:00.")] = ""
    notify: Annotated[object, _key("Who is notified: one target, or a list.")] = None
    on_saved: Annotated[
        tuple[str, ...],
        BeforeValidator(_command),
        Field(min_length=1, description="A program and its arguments, run for each saved file; it reads JSON."),
    ] = ()
    max_jobs: Annotated[int, Field(ge=1, le=MAX_JOBS, description="The most jobs that the blocks may multiply to.")] = (
        10_000
    )
