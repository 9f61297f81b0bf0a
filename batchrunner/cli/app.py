"""The verbs and their options: ask, call, exit. An error that a person can mend is a line, never a traceback."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchrunner import run as running
from batchrunner.cli import (
    cancel as cancelling,
    cancel as forgetting,
    gallery as galleries,
    gallery as promoting,
    init as simulating,
    init as writing,
    plan as planning,
    verify as mending,
    verify as telling,
)
from batchrunner.cli.output import open_ends, say
from batchrunner.errors import BatchrunnerError
from batchrunner.manifest import Options
from batchrunner.options import VARIABLE, Asked
from batchrunner.show.log import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Run overnight batches of ComfyUI prompts: every video home, none twice, none lost, none the wrong one.",
)

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="The YAML file that says what to render.")]
Servers = Annotated[
    list[str],
    typer.Option("--server", metavar="URL", help="Use this server (sim: the built-in one); again for more."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where batches keep their folders.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter of every job.")]
Only = Annotated[list[str], typer.Option("--only", metavar="KEY=VALUE", help="Run the jobs with this value only.")]
RetryOnly = Annotated[
    list[str], typer.Option("--only", metavar="KEY=VALUE", help="The failed jobs with this value only.")
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Run the first N jobs only.")]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Let the manifest name files outside its folder.")]
Until = Annotated[str | None, typer.Option(metavar="HH:MM", help="Submit nothing that cannot be home by then.")]
TokenFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Read the token here, not in BATCHRUNNER_TOKEN.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Tell every detail, as plain lines.")]


@app.command()
def run(
    manifest: Manifest,
    server: Servers = [],
    out: Out = Path("outputs"),
    sets: Sets = [],
    only: Only = [],
    limit: Limit = None,
    until: Until = None,
    allow_outside: Outside = False,
    token_file: TokenFile = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Start a batch, or go on with it, until all is done or failed."""
    with _told():
        options = Options(tuple(server), _pairs("--set", sets), _pairs("--only", only), limit, allow_outside)
        raise typer.Exit(
            running.run(Asked(manifest, options, out, token_file, until, as_json=as_json, verbose=verbose))
        )


@app.command()
def plan(
    manifest: Manifest,
    server: Servers = [],
    out: Out = Path("outputs"),
    sets: Sets = [],
    only: Only = [],
    limit: Limit = None,
    until: Until = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask the servers whether they can run it.")] = False,
    allow_outside: Outside = False,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what `run` would do. No server is asked, unless by --ask."""
    with _told():
        options = Options(tuple(server), _pairs("--set", sets), _pairs("--only", only), limit, allow_outside)
        planning.plan(Asked(manifest, options, out, token_file, until, ask=ask, as_json=as_json))


@app.command()
def status(
    batch: Annotated[Path, typer.Argument(metavar="MANIFEST|FOLDER", help="A manifest, or a batch's folder.")],
    out: Out = Path("outputs"),
    watch: Annotated[bool, typer.Option("--watch", help="Show it again whenever it changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say where a batch stands, while it runs or not."""
    with _told():
        asked = Asked(batch, Options(), out, as_json=as_json)
        if watch:
            planning.watch(asked)
        else:
            planning.status(asked)


@app.command()
def retry(
    manifest: Manifest,
    out: Out = Path("outputs"),
    sets: Sets = [],
    only: RetryOnly = [],
    allow_outside: Outside = False,
) -> None:
    """Let failed jobs wait again; the next `run` takes them."""
    with _told():
        options = Options((), _pairs("--set", sets), _pairs("--only", only), None, allow_outside)
        raise typer.Exit(mending.retry(Asked(manifest, options, out)))


@app.command()
def verify(
    manifest: Manifest,
    out: Out = Path("outputs"),
    sets: Sets = [],
    server: Servers = [],
    token_file: TokenFile = None,
    redo: Annotated[bool, typer.Option("--redo", help="Render what is missing or damaged.")] = False,
    allow_outside: Outside = False,
) -> None:
    """Check every saved file against its size, hash and boxes."""
    with _told():
        options = Options(tuple(server), _pairs("--set", sets), allow_outside=allow_outside)
        raise typer.Exit(mending.verify(Asked(manifest, options, out, token_file), redo=redo))


@app.command()
def why(
    job: Annotated[str, typer.Argument(metavar="JOB", help="A job's id, the beginning of it, or its file's name.")],
    out: Out = Path("outputs"),
) -> None:
    """Tell one job's story."""
    with _told():
        telling.why(job, out)


@app.command()
def cancel(
    manifest: Manifest,
    out: Out = Path("outputs"),
    sets: Sets = [],
    token_file: TokenFile = None,
    allow_outside: Outside = False,
) -> None:
    """Take our prompts off the servers.

    Pending ones are deleted and the running one is interrupted, each by its id; nobody else's is touched.
    """
    with _told():
        options = Options(sets=_pairs("--set", sets), allow_outside=allow_outside)
        raise typer.Exit(cancelling.cancel(Asked(manifest, options, out, token_file)))


@app.command()
def forget(
    manifest: Manifest,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Its URL, or sim.")],
    out: Out = Path("outputs"),
    sets: Sets = [],
    allow_outside: Outside = False,
    as_json: AsJson = False,
) -> None:
    """Give up a server that is gone: what it held waits again.

    The next `run` renders it elsewhere. No attempt is spent, and no server is asked.
    """
    with _told():
        options = Options(sets=_pairs("--set", sets), allow_outside=allow_outside)
        raise typer.Exit(forgetting.forget(Asked(manifest, options, out, as_json=as_json), server))


@app.command()
def gallery(
    manifest: Manifest,
    out: Out = Path("outputs"),
    sets: Sets = [],
    serve: Annotated[bool, typer.Option("--serve", help="Show it in a browser here, on a loopback port.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Which one; 0 takes a free one.")] = 0,
    allow_outside: Outside = False,
) -> None:
    """Rebuild the page beside the videos, with posters."""
    with _told():
        options = Options(sets=_pairs("--set", sets), allow_outside=allow_outside)
        galleries.show(Asked(manifest, options, out), serve=serve, port=port)


@app.command()
def promote(
    picks: Annotated[Path, typer.Argument(metavar="picks.json", help="Saved from the gallery.")],
    sets: Sets = [],
    server: Servers = [],
    out: Out = Path("outputs"),
    manifest: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="The batch's own manifest, if the picks don't know it.")
    ] = None,
    allow_outside: Outside = False,
) -> None:
    """Write a manifest that renders the gallery's picks again.

    With the same prompts and seeds, and larger or better by `--set size=1080p --set quality=high`.
    """
    with _told():
        options = Options(tuple(server), _pairs("--set", sets), allow_outside=allow_outside)
        promoting.promote_picks(picks, Asked(manifest or Path(), options, out))


@app.command()
def init(
    workflow: Annotated[Path, typer.Argument(metavar="WORKFLOW.json", help="Saved with «Export (API)».")],
) -> None:
    """Write a first manifest for a workflow exported from ComfyUI."""
    with _told():
        writing.init(workflow)


@app.command()
def schema() -> None:
    """Print the manifest's JSON Schema, for editors."""
    with _told():
        writing.schema()


@app.command()
def sim(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8188,
    folder: Annotated[Path, typer.Option("--dir", help="Where it keeps its files.")] = Path("outputs/.sim"),
    seconds: Annotated[float, typer.Option(min=0.0, help="Time for a video of 768x512, 25 frames, 20 steps.")] = 1.5,
    ttl: Annotated[float, typer.Option(min=0.0, help="Seconds until a file is cleaned up; 0 keeps them.")] = 600.0,
    record: Annotated[Path | None, typer.Option(help="Append what happens to this file, a line of JSON each.")] = None,
    plain: Annotated[bool, typer.Option(help="Write tiny stand-ins instead of real videos.")] = False,
    strict: Annotated[bool, typer.Option(help="Refuse node classes and models that it does not have.")] = False,
) -> None:
    """Run the built-in ComfyUI. With BATCHRUNNER_TOKEN set, it asks for that token."""
    with _told():
        simulating.sim(simulating.Wish(host, port, folder, seconds, ttl or None, record, plain=plain, strict=strict))


def main() -> None:
    """Run the command."""
    open_ends()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the last resort: a bug where no log is open, told without the token
        told = clean("".join(traceback.format_exception(error)), os.environ.get(VARIABLE, ""))
        sys.stderr.write(f"{told}a bug in batchrunner: please report it with the lines above\n")
        sys.exit(BatchrunnerError.exit_code)


@contextmanager
def _told() -> Iterator[None]:
    """Turn an error into its lines on stderr and its exit code."""
    try:
        yield
    except BatchrunnerError as error:
        for line in str(error).splitlines():
            say(line)
        raise typer.Exit(error.exit_code) from None
    except BrokenPipeError:
        raise typer.Exit(128 + signal.SIGPIPE) from None
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


def _pairs(option: str, texts: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise typer.BadParameter(f"{key!r} is not KEY=VALUE", param_hint=option)
    return tuple((key, value) for key, _, value in pairs)
