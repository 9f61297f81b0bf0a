"""What a manifest may do only with consent: run commands, send environment variables and other batches to hosts.

A manifest may come from anybody. A person agrees once, on the terminal or with `--allow-commands`; the ledger
remembers what was agreed to by its hash, so that a changed command is asked about again.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import getnode

from batchrunner.core.server import SIM
from batchrunner.errors import YoursError
from batchrunner.servers import variables
from batchrunner.text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.job import Json
    from batchrunner.manifest import Batch

_LONGEST = 20_000
"""Characters of a command that are shown: all of it, for nobody agrees to what they can't see."""
MACHINE_IDS = (Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id"))
"""The first that holds an id is this machine's: containers have none of their own, and the same MAC address each."""
_ID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}")


def requests(batch: Batch) -> tuple[str, ...]:
    """Return what the manifest of `batch` asks consent for, one line each; the same manifest gives the same lines."""
    commands = [recipient.command for recipient in batch.notify if recipient.command]
    lines = [f"run this command to notify you: {shlex.join(command)}" for command in commands]
    if batch.on_saved:
        lines.append(f"run this command for each saved file: {shlex.join(batch.on_saved)}")
    return tuple(dict.fromkeys([*lines, *sending_requests(batch), *reading_requests(batch, batch.earlier)]))


def sending_requests(batch: Batch) -> Iterator[str]:
    """Yield those of them that any exchange with the servers needs: which variable goes to which host."""
    for variable, host, header in variables(batch):
        yield f"send the environment variable {variable} to {host}, in the header {header}"


def reading_requests(batch: Batch, earlier: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Yield one for each server of `batch` that would learn of an `earlier` batch and has had none of its prompts."""
    urls = dict.fromkeys(own.url for own in batch.server_settings.values() if own.url != SIM)
    for name, known in earlier.items():
        for url in urls:
            if url not in known:
                yield f"send values and files of the batch {name} to {url}"


def mark(request: str) -> str:
    """Return the ledger's key for «this user agreed to this, on this machine»: a state from elsewhere has no say."""
    return f"allowed {personal(request)}"


def personal(text: str) -> str:
    """Return a digest of `text` that is another one for every user and machine."""
    return sha256(f"{_here()} {text}".encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _here() -> str:
    return f"{machine_id(MACHINE_IDS) or getnode()} {os.getuid()}"


def machine_id(paths: Iterable[Path]) -> str:
    """Return the first id in one of these files, "" if none holds one (`uninitialized` is none)."""
    for path in paths:
        with suppress(OSError, ValueError):
            found = path.read_text(encoding="ascii").strip()
            if _ID.fullmatch(found):
                return found
    return ""


def obtain(wanted: Sequence[str], marks: Mapping[str, Json], *, allowed: bool, may_ask: bool = True) -> tuple[str, ...]:
    """Return the marks to keep: those of requests that were agreed to just now.

    `marks` are the ledger's, `allowed` stands for `--allow-commands`. Asks on a terminal, if it `may_ask`. Raises
    YoursError if there is none, or if the answer is no.
    """
    new = [request for request in wanted if marks.get(mark(request)) is not True]
    if new and not allowed:
        lines = "\n".join(f"  {printable(request, _LONGEST)}" for request in new)
        if not (may_ask and sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
            raise YoursError(f"the manifest wants to:\n{lines}\nadd --allow-commands if you trust it")
        sys.stderr.write(f"The manifest wants to:\n{lines}\nAllow this? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise YoursError("not allowed: nothing was sent")
    return tuple(mark(request) for request in new)
