"""Faults: what goes wrong, when, for how long, as a script that can be written down, read back and drawn from a seed.

A script is a list. In a file (YAML or JSON, for `python -m tests.lab.faulty FILE`) each fault is a mapping:

    - {at: 90, do: restart, for: 20}          # 90 s after the start: down for 20 s, and all forgotten
    - {after: 40, do: drop-reply, times: 2}   # from the 40th request on: two POSTs are taken, their answers lost
    - {do: slow, for: 600, by: 8}             # at once: every answer takes 8 s longer, for ten minutes

    - {do: page-404, for: 90, only: view}     # a proxy answers every download with its own 404 page

`at` is in seconds, `after` in requests, both since the simulator started; a fault without either happens at once. What
else may be said depends on `do`; `KINDS` is the whole list. Some happen to the runner and its machine, or change a
server's address: those exist in simulated nights only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import yaml

from batchrunner.errors import YoursError
from tests.lab.bad_sockets import WAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Script: TypeAlias = "tuple[Fault, ...]"

LARGEST = 2**20
"""Bytes of the largest script."""
_HOUR = 3600.0


class Where(StrEnum):
    """To whom a fault happens."""

    ANSWER = "answer"
    """To requests and answers, by HTTP."""
    SERVER = "server"
    """To the server itself."""
    RUNNER = "runner"
    """To the runner or its machine; simulated nights only."""
    ADDRESS = "address"
    """To a server's address, which nobody but a simulated night can change."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: what may be said about it, with the values if nothing is said."""

    where: Where
    often: float = 0.0
    """How many of these a bad hour has."""
    message: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What may be said about it in words, with all choices; the first one holds if nothing is said. None: any text."""
    added: bool = False
    """Drawn by `added_faults`: kinds that came later, so that a seed still draws what it drew before."""
    uploads: bool = False
    """Drawn by `upload_faults`, for batches with input files."""
    jobs: bool = False
    """Drawn by `jobs_faults`, for servers with a jobs API."""


_PAGES: Mapping[str, tuple[str, ...]] = {"only": ("", "view", "post", "history")}
"""To which requests a page is the answer: to all, or to one kind."""

KINDS: Mapping[str, Kind] = {
    # The next POSTs of a prompt.
    "drop-reply": Kind(Where.ANSWER, 0.6, {"times": 1}),  # it is queued, and the connection is reset
    "bad-gateway": Kind(Where.ANSWER, 0.3, {"times": 1}),  # it is queued, and the answer is 502
    "gateway-timeout": Kind(Where.ANSWER, 0.3, {"times": 1, "by": 60}),  # it is queued, and after 60 s comes a 504
    "late-post": Kind(Where.ANSWER, 0.3, {"times": 1, "by": 90}),  # it is queued, so much later
    "lost-post": Kind(Where.ANSWER, 0.3, {"times": 1}),  # it is not queued, and the answer is 502
    # Every request, for a while.
    "refuse": Kind(Where.ANSWER, 0.4, {"for": 60}),  # no connection is accepted
    "silence": Kind(Where.ANSWER, 0.3, {"for": 90}),  # nothing is answered before it ends
    "unavailable": Kind(Where.ANSWER, 0.4, {"for": 45}),  # 503
    "too-many": Kind(Where.ANSWER, 0.2, {"for": 30}),  # 429 with Retry-After
    "login-page": Kind(Where.ANSWER, 0.2, {"for": 60}),  # 200 and HTML
    "unauthorised": Kind(Where.ANSWER, 0.0, {"for": 60}),  # 401: ends a run, so no seed draws it
    "slow": Kind(Where.ANSWER, 0.3, {"for": 300, "by": 8}),  # every answer comes so much later
    # The next downloads.
    "reset-film": Kind(Where.ANSWER, 0.6, {"times": 1, "bytes": 1000}),
    "stall-film": Kind(Where.ANSWER, 0.4, {"times": 1, "bytes": 1000, "by": 120}),
    "truncate-film": Kind(Where.ANSWER, 0.4, {"times": 1, "bytes": 1000}),  # fewer bytes than announced
    "replace-film": Kind(Where.ANSWER, 0.2, {"times": 1, "bytes": 1000}),  # reset, and then another film stands there
    # The server.
    "restart": Kind(Where.SERVER, 0.5, {"for": 10}),  # queue, running prompt, history and cache are gone
    "clear-history": Kind(Where.SERVER, 0.2),
    "clear-queue": Kind(Where.SERVER, 0.2),
    "interrupt": Kind(Where.SERVER, 0.2),  # of whatever runs
    "wedge": Kind(Where.SERVER, 0.1, {"for": 1200}),  # nothing is executed any more; then somebody restarts it
    "out-of-memory": Kind(Where.SERVER, 0.3, {"times": 1}),
    "clean-up": Kind(Where.SERVER, 0.2, {"for": 900, "by": 60}),  # files live only so long
    "foreign-jobs": Kind(Where.SERVER, 0.4, {"times": 1}),
    "own-ids": Kind(Where.SERVER, 0.0),  # from now on the server chooses prompt ids itself
    # The runner.
    "kill": Kind(Where.RUNNER, 2.0, {"for": 20}),  # SIGKILL; started again after so long
    "stop": Kind(Where.RUNNER, 0.2, {"for": 20}),  # SIGINT; started again so long after it has ended
    "disk-full": Kind(Where.RUNNER, 0.2, {"for": 20}),
    "disk-error": Kind(Where.RUNNER, 0.1, {"times": 1}),  # EIO
    "no-handles": Kind(Where.RUNNER, 0.1, {"times": 1}),  # EMFILE
    "clock": Kind(Where.RUNNER, 0.3, {"by": 86_400}),  # its wall clock jumps
    "suspend": Kind(Where.RUNNER, 0.1, {"for": 1800}),
    "lose-state": Kind(Where.RUNNER, 0.1, {"for": 20}),  # killed, and the state file is deleted
    "power-cut": Kind(Where.RUNNER, 0.3, {"for": 60}),  # killed, and what was not synced of its files is zeros
    # A proxy, or a firewall, that answers in the server's place.
    "page-404": Kind(Where.ANSWER, 0.15, {"for": 90}, _PAGES, added=True),
    "page-403": Kind(Where.ANSWER, 0.05, {"for": 60}, _PAGES, added=True),
    "page-5xx": Kind(Where.ANSWER, 0.15, {"for": 90}, _PAGES, added=True),  # 500, 502, 503 and 520 in turn
    "refuse-token": Kind(Where.ANSWER, 0.05, {"for": 60, "status": 403}, added=True),  # 401 or 403 as JSON
    "flaky": Kind(  # that share of all requests gets a 502 page; a POST among them is lost, or queued all the same
        Where.ANSWER, 0.1, {"for": 600, "share": 0.333}, {"how": ("lost", "taken")}, added=True
    ),
    "firewall": Kind(  # every POST with this text in its body gets a 403 page, with `for: 0` until the end
        Where.ANSWER, 0.0, {"for": 0}, {"text": ()}, added=True
    ),
    # A server that others use heavily, that brings nothing, hangs, or goes away.
    "heavy-neighbours": Kind(
        Where.SERVER, 0.1, {"times": 10}, added=True
    ),  # prompts of 90 to 200 kB, queued and finished
    "no-output": Kind(  # prompts succeed without a file, with a temporary one, or with one whose /view is a 403 page
        Where.SERVER, 0.05, {"for": 1200}, {"how": ("empty", "temp", "forbidden")}, added=True
    ),
    "hang": Kind(  # the next sampler hangs until it is interrupted, if it hears that, or somebody restarts the server
        Where.SERVER, 0.08, {"times": 1, "for": 3600}, {"how": ("hears", "deaf")}, added=True
    ),
    "gone-for-good": Kind(  # from now on nobody listens at its address, or a proxy has a 404 page for everything
        Where.SERVER, 0.0, {}, {"how": ("refused", "page")}, added=True
    ),
    "moves": Kind(  # the server restarts at another address, without its files; the runner is told after so long
        Where.ADDRESS, 0.0, {"for": 300}, added=True
    ),
    # The websocket. Those that are open when it begins are reset.
    "bad-socket": Kind(Where.ANSWER, 0.4, {"for": 900}, {"how": WAYS}, added=True),
    "lazy-neighbour": Kind(Where.SERVER, 0.2, {"for": 900}, added=True),  # reads nothing: no socket gets a message
    # The next uploads.
    "lost-upload": Kind(Where.ANSWER, 0.3, {"times": 1}, uploads=True),  # nothing is stored, and the answer is 502
    "drop-upload": Kind(Where.ANSWER, 0.3, {"times": 1}, uploads=True),  # it is stored, and the connection is reset
    "cut-upload": Kind(Where.ANSWER, 0.6, {"times": 1, "bytes": 9000}, uploads=True),  # reset in the middle
    "hang-upload": Kind(Where.ANSWER, 0.3, {"times": 1, "by": 300}, uploads=True),  # not read, then reset
    # Every upload, for a while.
    "refuse-uploads": Kind(  # 413 of a proxy, or of ComfyUI
        Where.ANSWER, 0.05, {"for": 30}, {"how": ("page", "text")}, uploads=True
    ),
    "page-uploads": Kind(Where.ANSWER, 0.1, {"for": 60}, uploads=True),  # 403 and a firewall's page
    "slow-uploads": Kind(Where.ANSWER, 0.2, {"for": 300, "by": 20}, uploads=True),  # every answer comes so much later
    # The input folder.
    "empty-inputs": Kind(Where.SERVER, 0.6, uploads=True),  # a clean-up, while prompts wait
    "new-pod": Kind(Where.SERVER, 0.3, {"for": 10}, uploads=True),  # a restart without the input files
    # Every request to /api/jobs, for a while: a 500, a 404 page of a proxy, its 404 as JSON, or JSON that is no job.
    "no-jobs": Kind(Where.ANSWER, 0.6, {"for": 600}, {"how": ("error", "page", "json", "odd")}, jobs=True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    do: str
    at: float = 0.0
    """Seconds since the start."""
    after: int = 0
    """Requests since the start."""
    lasts: float = 0.0
    """Seconds (`for`)."""
    times: int = 1
    size: int = 0
    """Bytes of a film that still come (`bytes`)."""
    by: float = 0.0
    """Seconds: of delay, of a file's life, of a clock's jump."""
    share: float = 0.0
    """Of all requests, from 0 to 1."""
    status: int = 0
    """Of an HTTP answer."""
    only: str = ""
    """Which requests it happens to; empty for all."""
    how: str = ""
    """In which of its ways it happens."""
    text: str = ""

    @property
    def kind(self) -> Kind:
        """What sort of fault it is."""
        return KINDS[self.do]

    def line(self) -> str:
        """Return the fault as a line of a script file."""
        values = {
            "for": self.lasts,
            "times": self.times,
            "bytes": self.size,
            "by": self.by,
            "share": self.share,
            "status": self.status,
        }
        words = {"only": self.only, "how": self.how, "text": self.text}
        when = f"after: {self.after}" if self.after else f"at: {self.at:g}"
        said = [f"{name}: {values[name]:g}" for name in self.kind.message]
        said += [f"{name}: {json.dumps(words[name])}" for name in self.kind.words if words[name]]
        return "- {" + ", ".join([when, f"do: {self.do}", *said]) + "}"


def parse(text: str, where: str) -> Script:
    """Return the script that `text` holds; `where` names it in messages. YoursError says what is wrong, and where."""
    if len(text) > LARGEST:
        raise YoursError(f"{where}: larger than {LARGEST} characters")
    try:
        listed = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f"{where}:{line + 1}" if isinstance(line, int) else where
        raise YoursError(f"{place}: this is neither YAML nor JSON") from error
    if not isinstance(listed, list):
        raise YoursError(f"{where}: a script of faults is a list, as in `- {{at: 90, do: restart}}`")
    return tuple(_fault(item, f"{where}: fault {number}") for number, item in enumerate(listed, 1))


def usual(do: str, at: float = 0.0) -> Fault:
    """Return a fault of a kind about which nothing is said but when it happens."""
    return _made(do, at, 0, KINDS[do].message, _first(KINDS[do]))


def basic_faults(seed: int, hours: float) -> Script:
    """Return the faults of a bad night of `hours`, in order, without the added kinds: the same for the same seed."""
    dice = Random(f"{seed}/mishaps")  # noqa: S311 - a replay, no secret
    return tuple(sorted(_drawn(dice, hours, added=False), key=lambda fault: fault.at))


def added_faults(seed: int, hours: float) -> Script:
    """Return the faults of the added kinds in a bad night of `hours`, which come on top of `basic_faults`."""
    dice = Random(f"{seed}/new faults")  # noqa: S311 - a replay, no secret
    return tuple(sorted(_drawn(dice, hours, added=True), key=lambda fault: fault.at))


def upload_faults(seed: int, hours: float) -> Script:
    """Return the faults of uploads and input folders in a bad night of `hours`, which come on top of the others."""
    dice = Random(f"{seed}/uploads")  # noqa: S311 - a replay, no secret
    return tuple(sorted(_drawn(dice, hours, uploads=True), key=lambda fault: fault.at))


def jobs_faults(seed: int, hours: float) -> Script:
    """Return the faults of a jobs API in a bad night of `hours`, which come on top of the others."""
    dice = Random(f"{seed}/jobs")  # noqa: S311 - a replay, no secret
    return tuple(sorted(_drawn(dice, hours, jobs=True), key=lambda fault: fault.at))


def _drawn(
    dice: Random, hours: float, *, added: bool = False, uploads: bool = False, jobs: bool = False
) -> Iterator[Fault]:
    for do, kind in KINDS.items():
        if (kind.added, kind.uploads, kind.jobs) != (added, uploads, jobs):
            continue
        at = dice.expovariate(kind.often) * _HOUR if kind.often else hours * _HOUR
        while at < hours * _HOUR:
            numbers = {name: _varied(dice, name, kind.message[name]) for name in kind.message}
            words = {name: dice.choice(choices) for name, choices in kind.words.items()}
            yield _made(do, round(at, 3), 0, numbers, words)
            at += dice.expovariate(kind.often) * _HOUR


def _varied(dice: Random, name: str, usual: float) -> float:
    """Return a value around the usual one: mostly shorter, at times several times as long."""
    if name == "times":
        return usual * dice.choice((1, 1, 1, 2, 3) if usual == 1 else (0.5, 1))
    if name == "bytes":
        return round(usual * dice.uniform(0.01, 4))
    if name == "status":
        return dice.choice((401, 403))
    if name == "share":
        return round(usual * dice.choice((0.5, 1, 1.5)), 3)
    return round(usual * dice.choice((0.1, 0.5, 1, 1, 3)) * dice.uniform(0.5, 1.5), 3)


def _first(kind: Kind) -> dict[str, str]:
    """Return what holds of a kind if nothing is said in words."""
    return {name: next(iter(choices), "") for name, choices in kind.words.items()}


def _fault(item: object, where: str) -> Fault:
    if not isinstance(item, dict):
        raise YoursError(f"{where}: expected a mapping, as in {{at: 90, do: restart}}")
    said: dict[str, object] = {str(key): value for key, value in item.items()}
    do = said.pop("do", None)
    if not isinstance(do, str) or do not in KINDS:
        raise YoursError(f"{where}: `do` is one of {', '.join(KINDS)}")
    kind = KINDS[do]
    unknown = sorted(said.keys() - {"at", "after"} - kind.message.keys() - kind.words.keys())
    if unknown:
        raise YoursError(f"{where}: {unknown[0]!r} means nothing to {do}")
    if "at" in said and "after" in said:
        raise YoursError(f"{where}: either `at` or `after`, not both")
    words = {name: _word(said.pop(name, ""), name, kind, where) for name in kind.words}
    numbers = {name: _number(value, name, where) for name, value in said.items()}
    at, after = numbers.pop("at", 0.0), int(numbers.pop("after", 0))
    return _made(do, at, after, {**kind.message, **numbers}, words)


def _made(do: str, at: float, after: int, numbers: Mapping[str, float], words: Mapping[str, str]) -> Fault:
    return Fault(
        do,
        at,
        after,
        lasts=numbers.get("for", 0.0),
        times=int(numbers.get("times", 1)),
        size=int(numbers.get("bytes", 0)),
        by=numbers.get("by", 0.0),
        share=numbers.get("share", 0.0),
        status=int(numbers.get("status", 0)),
        only=words.get("only", ""),
        how=words.get("how", ""),
        text=words.get("text", ""),
    )


def _word(value: object, name: str, kind: Kind, where: str) -> str:
    choices = kind.words[name]
    if not choices:
        if isinstance(value, str) and value:
            return value
        raise YoursError(f"{where}: `{name}` is a text")
    if value == "":
        return choices[0]
    if not isinstance(value, str) or value not in choices:
        raise YoursError(f"{where}: `{name}` is one of {', '.join(filter(None, choices))}")
    return value


def _number(value: object, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise YoursError(f"{where}: `{name}` is a number")
    if value < 0 and name != "by":
        raise YoursError(f"{where}: `{name}` is not negative")
    if name in ("after", "times", "bytes", "status") and value != int(value):
        raise YoursError(f"{where}: `{name}` is a whole number")
    return float(value)
