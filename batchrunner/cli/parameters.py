"""The arguments and options that several verbs share, as typer reads them from annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from batchrunner.options import OUT_VARIABLE

OWN_PROCESS = "this process is the command's own, and may begin anew"
"""The context's object where the command was started as a program, and not called by one."""


class KeyValue(NamedTuple):
    """What follows `--set` or `--only`."""

    key: str
    value: str


def key_value(text: str) -> KeyValue:
    """Return the two sides of `KEY=VALUE`. Raises BadParameter."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return KeyValue(key, value)


Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="The YAML file that describes the batch.")]
Manifests = Annotated[
    list[Path], typer.Argument(metavar="MANIFEST", help="The YAML files that describe the batches, in their order.")
]
Place = Annotated[
    Path,
    typer.Argument(metavar="MANIFEST|FOLDER", help="A batch that was run: its manifest, or its folder."),
]
Servers = Annotated[
    list[str],
    typer.Option("--server", metavar="URL", help="Use this server (sim: built-in simulator); repeatable."),
]
Out = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", envvar=OUT_VARIABLE, help="Folder that contains the batch folders."),
]
Sets = Annotated[
    list[KeyValue],
    typer.Option("--set", metavar="KEY=VALUE", parser=key_value, help="Set a parameter in every job; repeatable."),
]
Only = Annotated[
    list[KeyValue],
    typer.Option("--only", metavar="KEY=VALUE", parser=key_value, help="Take only jobs with this value; repeatable."),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Take only the first N jobs that are still to do.")
]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Allow files outside the manifest's folder.")]
Commands = Annotated[
    bool,
    typer.Option(
        "--allow-commands", help="Let the manifest run its commands and send variables and other batches to its hosts."
    ),
]
Until = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Submit nothing that can't be downloaded by then: 07:30, or +8h from now."),
]
Hours = Annotated[
    str | None,
    typer.Option(metavar="FROM-TO", help="Submit only between these times of day, every day: 22:00-07:00."),
]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Read the token from FILE, not from BATCHRUNNER_TOKEN.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
