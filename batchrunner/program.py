"""How this command was started, for the commands that it prints: those are to be copied, and must be found again."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = "batchrunner"


def command_line(*words: str, absolute: bool = False) -> str:
    """Return a command of ours to be copied, quoted for a shell; `absolute` where it is read in another folder."""
    start = started_by(sys.argv[0], sys.orig_argv[0], shutil.which(_NAME))
    # A name without a slash is looked up on the PATH from anywhere; a link stays one, for it selects the environment.
    program = str(Path(start[0]).absolute()) if absolute and "/" in start[0] else start[0]
    return shlex.join((program, *start[1:], *words))


def started_by(script: str, interpreter: str, on_path: str | None) -> Sequence[str]:
    """Return the words that start this program as it was started: a file, `python -m batchrunner`, or its plain name.

    `script` and `interpreter` are the first words of `sys.argv` and `sys.orig_argv`, `on_path` the file that the plain
    name means. Within another program (`batchrunner.api`) it is the plain name.
    """
    file = Path(script)
    if (file.name, file.parent.name) == ("__main__.py", _NAME):
        return interpreter, "-m", _NAME
    if file.name == _NAME and (on_path is None or Path(on_path).absolute() != file.absolute()):
        return (script,)
    return (_NAME,)
