"""The page itself: template, style and script of this package in one file that asks nobody for anything.

What a stranger wrote reaches the page only through the script file beside it, as JSON, and the DOM only as text. The
policy holds even if that should fail: styles and scripts run by their hash, what the script adds by its trust in it.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

DATA = "gallery-data.js"
"""The file beside the page that holds everything it shows."""
RECEIVER = "batchrunnerGallery"
"""The function of the page that the data file calls."""
SCRIPTS = (
    "dom.js",
    "words.js",
    "store.js",
    "marks.js",
    "table.js",
    "media.js",
    "sync.js",
    "tile.js",
    "grid.js",
    "bar.js",
    "detail.js",
    "compare.js",
    "picks.js",
    "report.js",
    "keys.js",
    "live.js",
    "main.js",
)
"""In the order they are put together."""
_POLICY = (
    "default-src 'none'",
    "script-src 'sha256-{script}' 'strict-dynamic'",
    "style-src 'sha256-{style}'",
    "img-src 'self' file: data:",
    "media-src 'self' file:",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types batchrunner",
)


def page(batch: str) -> str:
    """Return the page of a batch; it is the same for every batch but for the name."""
    script, style = _script(), _read("page.css")
    policy = "; ".join(_POLICY).format(script=_digest(script), style=_digest(style))
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string(_read("page.html"))
    return template.render(
        batch=batch,
        policy=policy,
        data=DATA,
        receiver=RECEIVER,
        # The only two texts that are not escaped: files of this package.
        script=Markup(script),  # noqa: S704 - ours, and held to its hash by the policy
        style=Markup(style),  # noqa: S704 - ours, and held to its hash by the policy
    )


def _script() -> str:
    """Return all scripts in one function, so that they share names with each other and with nobody else."""
    parts = "\n".join(_read(f"script/{name}") for name in SCRIPTS)
    return f'\n(() => {{\n"use strict";\n{parts}}})();\n'


def _read(name: str) -> str:
    return files("batchrunner.show.gallery").joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
