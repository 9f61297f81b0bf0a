"""Mishaps: what goes wrong, when, for how long, as a script that can be written down, read back and drawn from a seed.

A script is a list. In a file (YAML or JSON, for `python -m tests.lab.faulty FILE`) each mishap is a mapping:

    - {at: 90, do: restart, for: 20}          # 90 s after the start: down for 20 s, and all forgotten
    - {after: 40, do: drop-reply, times: 2}   # from the 40th request on: two POSTs are taken, their answers lost
    - {do: slow, for: 600, by: 8}             # at once: every answer takes 8 s longer, for ten minutes

`at` is in seconds, `after` in requests, both since the simulator started; a mishap without either happens at once. What
else may be said depends on `do`; `KINDS` is the whole list. Some happen to the runner and its machine, not to the
server: those exist in simulated nights only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import yaml

from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import Mapping

Script: TypeAlias = "tuple[Mishap, ...]"

LARGEST = 2**20
"""Bytes of the largest script."""
_HOUR = 3600.0


class Where(StrEnum):
    """To whom a mishap happens."""

    ANSWER = "answer"
    """To requests and answers, by HTTP."""
    SERVER = "server"
    """To the server itself."""
    RUNNER = "runner"
    """To the runner or its machine; simulated nights only."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of mishap: what may be said about it, with the values if nothing is said."""

    where: Where
    often: float = 0.0
    """How many of these a bad hour has."""
    says: Mapping[str, float] = field(default_factory=dict)


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
}


@dataclass(frozen=True, slots=True)
class Mishap:
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

    @property
    def kind(self) -> Kind:
        """What sort of mishap it is."""
        return KINDS[self.do]

    def line(self) -> str:
        """Return the mishap as a line of a script file."""
        values = {"for": self.lasts, "times": self.times, "bytes": self.size, "by": self.by}
        when = f"after: {self.after}" if self.after else f"at: {self.at:g}"
        said = [f"{name}: {values[name]:g}" for name in self.kind.says]
        return "- {" + ", ".join([when, f"do: {self.do}", *said]) + "}"


def parse(text: str, where: str) -> Script:
    """Return the script that `text` holds; `where` names it in complaints. YoursError says what is wrong, and where."""
    if len(text) > LARGEST:
        raise YoursError(f"{where}: larger than {LARGEST} characters")
    try:
        listed = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f"{where}:{line + 1}" if isinstance(line, int) else where
        raise YoursError(f"{place}: this is neither YAML nor JSON") from error
    if not isinstance(listed, list):
        raise YoursError(f"{where}: a script of mishaps is a list, as in `- {{at: 90, do: restart}}`")
    return tuple(_mishap(item, f"{where}: mishap {number}") for number, item in enumerate(listed, 1))


def night(seed: int, hours: float) -> Script:
    """Return the mishaps of a bad night of `hours`, in their order: the same for the same seed."""
    dice = Random(f"{seed}/mishaps")  # noqa: S311 - a replay, no secret
    drawn: list[Mishap] = []
    for do, kind in KINDS.items():
        at = dice.expovariate(kind.often) * _HOUR if kind.often else hours * _HOUR
        while at < hours * _HOUR:
            drawn.append(_made(do, round(at, 3), 0, {name: _varied(dice, name, kind.says[name]) for name in kind.says}))
            at += dice.expovariate(kind.often) * _HOUR
    return tuple(sorted(drawn, key=lambda mishap: mishap.at))


def _varied(dice: Random, name: str, usual: float) -> float:
    """Return a value around the usual one: mostly shorter, at times several times as long."""
    if name == "times":
        return dice.choice((1, 1, 1, 2, 3))
    if name == "bytes":
        return round(usual * dice.uniform(0.01, 4))
    return round(usual * dice.choice((0.1, 0.5, 1, 1, 3)) * dice.uniform(0.5, 1.5), 3)


def _mishap(item: object, where: str) -> Mishap:
    if not isinstance(item, dict):
        raise YoursError(f"{where}: expected a mapping, as in {{at: 90, do: restart}}")
    said: dict[str, object] = {str(key): value for key, value in item.items()}
    do = said.pop("do", None)
    if not isinstance(do, str) or do not in KINDS:
        raise YoursError(f"{where}: `do` is one of {', '.join(KINDS)}")
    unknown = sorted(said.keys() - {"at", "after"} - KINDS[do].says.keys())
    if unknown:
        raise YoursError(f"{where}: {unknown[0]!r} means nothing to {do}")
    if "at" in said and "after" in said:
        raise YoursError(f"{where}: either `at` or `after`, not both")
    numbers = {name: _number(value, name, where) for name, value in said.items()}
    at, after = numbers.pop("at", 0.0), int(numbers.pop("after", 0))
    return _made(do, at, after, {**KINDS[do].says, **numbers})


def _made(do: str, at: float, after: int, values: Mapping[str, float]) -> Mishap:
    times, size = int(values.get("times", 1)), int(values.get("bytes", 0))
    return Mishap(do, at, after, values.get("for", 0.0), times, size, values.get("by", 0.0))


def _number(value: object, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise YoursError(f"{where}: `{name}` is a number")
    if value < 0 and name != "by":
        raise YoursError(f"{where}: `{name}` is not negative")
    if name in ("after", "times", "bytes") and value != int(value):
        raise YoursError(f"{where}: `{name}` is a whole number")
    return float(value)
