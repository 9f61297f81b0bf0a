"""How each server of a batch is reached, and which secrets it gets.

A secret goes to the hosts that this manifest or command line names for it, and to no other: a server that only the
state remembers is asked without any.
"""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchrunner.comfy.secret import NO_CREDENTIALS, Credentials, Secret, redacted
from batchrunner.core.server import SIM
from batchrunner.errors import YoursError
from batchrunner.ledger import PLACE
from batchrunner.manifest.forms import VARIABLE_IN_HEADER
from batchrunner.options import TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Json
    from batchrunner.manifest import Batch
    from batchrunner.manifest.batch import ServerSettings

UNREACHABLE = "http://server.invalid"
"""Stands for the address of a server that the manifest no longer names, by a name of which nobody knows the address."""


class ServerAccess:
    """The address and the credentials of every server of a batch, by its name.

    `token` goes to the servers that have no headers of their own. Raises YoursError if a variable is not set, or if
    certificates can't be read.
    """

    def __init__(self, batch: Batch, token: Secret | None, environment: Mapping[str, str]) -> None:
        self._settings = batch.server_settings
        self._remembered: dict[str, str] = {}
        problems: dict[str, None] = {}
        self._secrets: dict[str, None] = {token.reveal(): None} if token else {}
        self._credentials: dict[str, Credentials] = {}
        for name, own in self._settings.items():
            try:
                self._credentials[name] = self._of(own, token, environment)
            except YoursError as error:
                problems[f"{name}: {error}"] = None
        self._all = Credentials(secrets=map(Secret, self._secrets))
        if problems:
            raise YoursError("\n".join(problems))

    def _of(self, own: ServerSettings, token: Secret | None, environment: Mapping[str, str]) -> Credentials:
        if own.url == SIM:
            return NO_CREDENTIALS
        tls = _trusting(own) if own.ca else None
        if not own.headers:
            return Credentials.bearer(token, tls)
        headers, secrets = {}, []
        for header, value in own.headers.items():
            match = VARIABLE_IN_HEADER.fullmatch(value)
            if match is None:
                headers[header] = value
                continue
            text = environment.get(match[2], "").strip()
            if not text:
                raise YoursError(f"the environment variable {match[2]} is not set; the header {header} needs it")
            try:
                secret = Secret(text)
            except YoursError:
                raise YoursError(
                    f"the environment variable {match[2]}, for the header {header}, holds a space or what no header "
                    "can carry; for a bearer token write `Bearer ${NAME}` in the manifest and the token alone here"
                ) from None
            headers[header] = f"{match[1] or ''}{secret.reveal()}"
            secrets.append(secret)
            self._secrets[text] = None
        return Credentials(headers, secrets, tls)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must be in no log, page or message."""
        return tuple(self._secrets)

    def redact(self, fact: Fact) -> Fact:
        """Return a fact without any secret: the second time, after what the client takes out of each answer."""
        return redacted(fact, self._all, name=True)

    def is_named(self, name: str) -> bool:
        """Whether the manifest or the command line names this server."""
        return self._known(name) in self._settings

    def url(self, name: str) -> str:
        """Return the address of a server; of one that nobody names, its name if that is one."""
        known = self._known(name)
        if known in self._settings:
            return self._settings[known].url
        url = self._remembered.get(name, name)
        return url if urlsplit(url).scheme in ("http", "https") else UNREACHABLE

    def remember(self, marks: Mapping[str, Json]) -> None:
        """Take in where earlier runs found the servers that they knew by name, from the ledger's marks."""
        for key, url in marks.items():
            if key.startswith(PLACE) and isinstance(url, str):
                self._remembered[key.removeprefix(PLACE)] = url

    def places(self) -> dict[str, str]:
        """Return the marks by which later runs find these servers."""
        return {f"{PLACE}{name}": own.url for name, own in self._settings.items() if name != own.url}

    def credentials(self, name: str) -> Credentials:
        """Return what its requests carry; nothing secret for a server that nobody names."""
        return self._credentials.get(self._known(name), NO_CREDENTIALS)

    def _known(self, name: str) -> str:
        """Return the name of the server meant: one that an earlier run called by its URL may have a name by now."""
        if name in self._settings:
            return name
        url = self._remembered.get(name, name)
        return next((each for each, own in self._settings.items() if own.url == url), name)

    def insecure(self) -> Iterator[str]:
        """Yield a warning for every server that gets a secret where others can read it."""
        for name, credentials in self._credentials.items():
            parts = urlsplit(self.url(name))
            if credentials and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
                yield f"{name}: the token is sent unencrypted, others on the network can read it; use https"


def secret_variables(batch: Batch) -> tuple[str, ...]:
    """Return the environment variables that hold secrets of a batch: the token's, and those of its headers."""
    return (TOKEN_VARIABLE, *(variable for variable, _, _ in variables(batch)))


def variables(batch: Batch) -> Iterator[tuple[str, str, str]]:
    """Yield (variable, origin, header) for each environment variable that the manifest sends somewhere."""
    for own in batch.server_settings.values():
        for header, value in own.headers.items():
            if match := VARIABLE_IN_HEADER.fullmatch(value):
                parts = urlsplit(own.url)
                yield (
                    match[2],
                    f"{parts.scheme}://{parts.netloc}{f' (trusting {own.ca.name})' if own.ca else ''}",
                    header,
                )


def _trusting(own: ServerSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=own.ca)
    except (OSError, ssl.SSLError) as error:
        raise YoursError(f"ca {own.ca}: {error.strerror or 'holds no certificate'}") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
