"""Whom a manifest wants told, with what only the environment knows: the URLs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from batchrunner.errors import YoursError
from batchrunner.notify.outbox import Target
from batchrunner.notify.program import Apprise, Command
from batchrunner.notify.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchrunner.notify.webhook import Way


class Wanted(Protocol):
    """What a manifest says of one target; `manifest.batch.Addressee` is one. Exactly one of the first three is set."""

    @property
    def url_env(self) -> str:
        """The variable with a URL to POST to."""

    @property
    def apprise_env(self) -> str:
        """The variable with an apprise URL."""

    @property
    def command(self) -> Sequence[str]:
        """A program and its arguments."""

    @property
    def topic(self) -> str:
        """For ntfy."""

    @property
    def on(self) -> frozenset[str]:
        """Of which kinds."""


def targets(wanted: Iterable[Wanted], environment: Mapping[str, str], token: str = "") -> tuple[Target, ...]:
    """Return whom to tell. No program is given a variable that holds `token`: it is the server's business.

    Raises YoursError, in one line per trouble and without any URL, if a variable is not set or holds no URL, or if
    apprise is wanted and not installed. Sends nothing.
    """
    shared = {name: value for name, value in environment.items() if not token or token not in value}
    found: list[Target] = []
    troubles: dict[str, None] = {}
    for each in wanted:
        try:
            found.append(Target(_way(each, environment, shared), each.on, each.topic))
        except ValueError as error:
            troubles[f"notify: {error}"] = None
    if troubles:
        raise YoursError("\n".join(troubles))
    return tuple(found)


def _way(wanted: Wanted, environment: Mapping[str, str], shared: Mapping[str, str]) -> Way:
    """Return the way to tell one target. Raises ValueError, without the URL."""
    if wanted.command:
        return Command(wanted.command, shared)
    name = wanted.url_env or wanted.apprise_env
    url = environment.get(name, "").strip()
    if not url:
        raise ValueError(f"the environment variable {name} is not set")
    if wanted.apprise_env:
        if find_spec("apprise") is None:
            raise ValueError("apprise is not installed: pip install 'batchrunner[notify]'")
        return Apprise(url, shared)
    try:
        return Webhook(url)
    except ValueError as error:
        raise ValueError(f"the environment variable {name} {error}") from None
