"""The command: every verb, and what an error becomes. A person's mistake is a line, never a traceback."""

from __future__ import annotations

import signal
import sys
import traceback
from functools import wraps
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer

from batchrunner.cli.cancel import cancel, forget
from batchrunner.cli.gallery import gallery, promote
from batchrunner.cli.init import init, schema, sim
from batchrunner.cli.jobs import export, rerun, why
from batchrunner.cli.output import open_streams, say, write
from batchrunner.cli.parameters import OWN_PROCESS
from batchrunner.cli.plan import plan
from batchrunner.cli.run import run
from batchrunner.cli.status import status
from batchrunner.cli.verify import retry, verify
from batchrunner.errors import BatchrunnerError
from batchrunner.options import TOKEN_VARIABLE
from batchrunner.process import environment
from batchrunner.text import redact

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run batches of ComfyUI prompts unattended: every video is downloaded, none is lost or rendered twice.",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - a flag, as typer calls it
    if wanted:
        write(f"batchrunner {version('batchrunner')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command."""
    open_streams()
    try:
        app(obj=OWN_PROCESS)
    except Exception as error:  # noqa: BLE001 - the last resort: a bug where no log is open, told without the token
        text = redact(
            "".join(traceback.format_exception(error)), tuple(filter(None, (environment().get(TOKEN_VARIABLE),)))
        )
        sys.stderr.write(f"{text}a bug in batchrunner: please report it with the lines above\n")
        sys.exit(BatchrunnerError.exit_code)


def _exiting(verb: Callable[P, int | None]) -> Callable[P, None]:
    """Return a verb that exits with the code it returns; an error becomes its lines on stderr and its exit code."""

    @wraps(verb)
    def exiting(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = verb(*args, **kwargs) or 0
        except BatchrunnerError as error:
            for line in str(error).splitlines():
                say(line)
            code = error.exit_code
        except BrokenPipeError:
            code = 128 + signal.SIGPIPE
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        raise typer.Exit(code)

    return exiting


for _verb in (
    run,
    plan,
    status,
    retry,
    verify,
    why,
    rerun,
    export,
    cancel,
    forget,
    gallery,
    promote,
    init,
    schema,
    sim,
):
    app.command()(_exiting(_verb))
