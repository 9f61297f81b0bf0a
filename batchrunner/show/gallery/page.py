"""The page: its template, its data and posters on disk, each whole or not at all."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, cast

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from batchrunner.errors import LocalError
from batchrunner.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import ModuleType

    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from batchrunner.core.job import Json

# -- Posters: a picture that stands for a film until it plays. Only where PyAV is (the extra `video`).


FOLDER = ".posters"
"""Below the batch folder; safe to delete."""
_SIDE = 640
_MOST_FRAMES = 500
"""Decoded in search of the middle."""


def poster_path(path: str) -> str:
    """Return where the poster of a saved file lies, below the batch folder, by the file's own path there."""
    return f"{FOLDER}/{sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.jpg"


def poster(film: Path) -> bytes | None:
    """Return a JPEG of the film's middle, at most 640 pixels wide; None without PyAV, or for what is no film.

    First frames are often black; the middle says more. Takes up to a second for a large film: call it in a thread.
    """
    try:
        import av  # noqa: PLC0415 - the extra `video` may be missing, and then there are no posters
    except ImportError:
        return None
    try:
        with av.open(film) as opened:
            frame = _middle(opened)
            return _jpeg(av, frame) if frame else None
    except (av.FFmpegError, OSError):
        return None


def _middle(film: InputContainer) -> VideoFrame | None:
    """Return the frame in the middle, or the last one that was worth the wait."""
    stream = next(iter(film.streams.video), None)
    if stream is None:
        return None
    middle = (stream.start_time or 0) + (stream.duration or 0) // 2
    if middle:
        # Lands on the key frame before it, which is often the first one.
        film.seek(middle, stream=stream)
    frame = None
    for frame in islice(film.decode(stream), _MOST_FRAMES):
        if frame.pts is None or frame.pts >= middle:
            break
    return frame


def _jpeg(av: ModuleType, frame: VideoFrame) -> bytes:
    scale = min(1.0, _SIDE / frame.width)
    width, height = max(2, int(frame.width * scale) // 2 * 2), max(2, int(frame.height * scale) // 2 * 2)
    file = io.BytesIO()
    with av.open(file, "w", format="mjpeg") as made:
        stream = cast("VideoStream", made.add_stream("mjpeg", rate=1, options={"qmin": "4", "qmax": "6"}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        made.mux(stream.encode(frame.reformat(width, height, "yuvj420p")))
        made.mux(stream.encode(None))
    return file.getvalue()


# -- The page itself: template, style and script of this package in one file that asks nobody for anything.
#
# What a stranger wrote reaches the page only through the script file beside it, as JSON, and the DOM only as text. The
# policy holds even if that should fail: styles and scripts run by their hash, what the script adds by its trust in it.


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


# -- The page and its data on disk: each whole or not at all, whoever looks and whenever.


PAGE = "index.html"
REPORT = "report.md"
_HEAD = 256
"""Bytes of the data file in which its key stands."""
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\x7f"}


def write_page(folder: Path, batch: str) -> Path:
    """Write the page into a batch's folder; return its path. Once is enough. LocalError if it can't be written."""
    return replace_file(folder / PAGE, page(batch).encode())


def write_data(folder: Path, content: Mapping[str, Json]) -> Path:
    """Write what the page shows; an open page finds it by itself. LocalError if it can't be written.

    Costs about a millisecond for ten cells: let a second pass between two calls, and ten for a big batch.
    """
    return replace_file(folder / DATA, script(content).encode())


def stands(folder: Path, batch: str, key: str) -> bool:
    """Whether the page of this version, data with this key and a report stand in a batch's folder."""
    try:
        with (folder / DATA).open("rb") as file:
            found = f'"key":"{key}"'.encode() in file.read(_HEAD)
        return found and (folder / REPORT).is_file() and (folder / PAGE).read_bytes() == page(batch).encode()
    except OSError:
        return False


def write_report(folder: Path, text: str) -> Path:
    """Write `report.md` into a batch's folder; return its path. LocalError if it can't be written."""
    return replace_file(folder / REPORT, text.encode("utf-8", "replace"))


def script(content: Mapping[str, Json]) -> str:
    """Return the data file's text: one call, in ASCII, with nothing in it that could end a script element."""
    text = json.dumps(content, separators=(",", ":")).translate(_UNSAFE)
    return f"window.{RECEIVER}?.({text});\n"


def write_poster(folder: Path, path: str) -> str | None:
    """Make the poster of the saved file at `path`, unless it is there; return its path, both below the batch folder.

    None where there can be none: no PyAV, no film, no room, a link in its folder's place. Blocks; a poster is never
    worth an error.
    """
    made = poster_path(path)
    if (folder / made).parent.is_symlink():
        return None
    if (folder / made).is_file():
        return made
    picture = poster(folder / path)
    if picture is None:
        return None
    try:
        (folder / made).parent.mkdir(exist_ok=True)
        replace_file(folder / made, picture)
    except (OSError, LocalError):
        return None
    return made


def posters(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the posters that are there: the path of a saved file -> the path of its poster."""
    found = {path: poster_path(path) for path in paths}
    return {path: made for path, made in found.items() if (folder / made).is_file()}
