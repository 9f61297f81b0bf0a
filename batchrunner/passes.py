"""Several manifests in one `run`: each with its own folder and state, one after another.

A later one may take its rows from what an earlier one downloads, so it is read again when its turn comes. Before the
first POST all of them are read and checked, rows that are still to be rendered for their shape: nobody should learn in
the morning that the second pass had a wrong parameter.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner import consent
from batchrunner.errors import YoursError
from batchrunner.manifest import load
from batchrunner.process import hide_secrets
from batchrunner.run_batch import ask_consent, check_options, run_batch
from batchrunner.servers import secret_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchrunner.core.job import Job
    from batchrunner.manifest import Batch
    from batchrunner.options import RunOptions


_FAILED = 1
"""The exit code of a batch that ended with failed jobs."""


def run_passes(
    several: Sequence[RunOptions], *, may_restart: bool = False, runner: Callable[[RunOptions], int] = run_batch
) -> int:
    """Run manifests in their order, each by `runner`; return the highest exit code. `may_restart` as in `run_batch`.

    The next one also runs when jobs of the last one failed, and does not when that was stopped: by a server, this
    machine or a signal. Raises BatchrunnerError as `run_batch` does, with nothing sent if any manifest is wrong.
    """
    if len(several) == 1:
        return run_batch(several[0], may_restart=may_restart)
    began = time.time()
    checked = []
    for options, batch in _read(several, may_restart=may_restart):
        check_options(options, batch)
        agreed = ask_consent(options, batch, may_restart=False)
        # Which servers an earlier batch has used is not known before it ran: nothing may be asked then any more.
        reading = map(consent.mark, consent.reading_requests(batch, dict.fromkeys(batch.earlier, ())))
        checked.append(replace(options, agreed=(*agreed, *reading), began=began))
    code = 0
    for options in checked:
        code = max(code, runner(options))
        if code > _FAILED:
            break
    return code


def _read(several: Sequence[RunOptions], *, may_restart: bool) -> list[tuple[RunOptions, Batch]]:
    """Return each manifest's batch as far as it is known now. This process may begin anew, to keep all their secrets.

    Raises YoursError if one is wrong, or if two would share a folder.
    """
    found: list[tuple[RunOptions, Batch]] = []
    pending: dict[str, Sequence[Job]] = {}
    servers: dict[str, frozenset[str]] = {}
    for options in several:
        batch = load(options.manifest, replace(options.manifest_options, pending=pending))
        if batch.name in pending:
            raise YoursError(f"{options.manifest}: name: an earlier manifest of this run is called {batch.name!r} too")
        pending = {**pending, batch.name: batch.jobs}
        servers[batch.name] = frozenset(own.url for own in batch.server_settings.values())
        earlier = {name: known | servers.get(name, frozenset()) for name, known in batch.earlier.items()}
        batch = replace(batch, earlier=earlier)
        found.append((options, batch))
    asking = [batch for _, batch in found if consent.requests(batch)]
    if may_restart and asking:
        hide_secrets(list(dict.fromkeys(name for batch in asking for name in secret_variables(batch))))
    return found
