"""The live board on a terminal: what it shows as one frozen value, and its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rich.cells import cell_len
from rich.control import Control
from rich.live import Live
from rich.text import Text

from batchrunner.show.events import Level, line, tally
from batchrunner.text import duration, safe, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from batchrunner.show.events import Event
    from batchrunner.show.scene import Scene, Stand, Transfer

# -- Columns on a terminal, in cells: a wide character takes two.


_LEAST = 8


def column(texts: Iterable[str], most: int) -> int:
    """Return how wide a column must be for the widest of `texts`, within 8 and `most` cells."""
    return max(_LEAST, min(max(map(cell_len, texts), default=0), most))


def padded(text: str, width: int, style: str = "") -> Text:
    """Return `text` exactly `width` cells wide: filled up, or cut with an ellipsis."""
    made = Text(text, style)
    made.truncate(width, overflow="ellipsis", pad=True)
    return made


def put(console: Console, lines: Iterable[Text]) -> None:
    """Print each line as one line, however long: nothing is wrapped or lost, on a terminal or off it."""
    for each in lines:
        console.print(each, soft_wrap=True)


# -- The live board on a terminal: the scene in as many lines as there are, news above it.
#
# Drawn only when the engine ticks: no thread of its own, and nothing that moves by itself. Every text is a `Text`, so
# that brackets in a prompt stay brackets.


T = TypeVar("T")
_NEWS = frozenset({"saved", "server", "note", "reopened", "dropped", "finished"})
_LEAST_WIDTH = 12
"""Lines of the board on a low terminal; on a higher one a third of it is left to the news."""
_MESSAGES = 3
_BAR = 24
_SHORT_OF_TIME = 120.0


class LiveBoard:
    """Shows the scene on a terminal; leaves it as it found it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = console.size
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def event(self, event: Event) -> None:
        """Print news above the board; what the board shows anyway is left out."""
        if event.name in _NEWS or event.level is Level.TROUBLE:
            style = "yellow" if event.level is Level.TROUBLE else ""
            self._console.print(Text(line(event), style), soft_wrap=True)

    def tick(self, scene: Scene) -> None:
        """Draw the scene; on a terminal of another size than before from a clean page."""
        if not self._live.is_started:
            self._live.start()
        if self._console.size != self._size:
            self._size = self._console.size
            self._console.control(Control.clear(), Control.home())
        self._live.update(_Page(scene), refresh=True)

    def close(self) -> None:
        """Take the board away and give the cursor back."""
        self._live.stop()


class _Page:
    """A scene that is laid out when it is drawn, for the terminal's size at that moment."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = console.size.height
        yield from page(self._scene, options.max_width, min(height - 2, max(_LEAST_WIDTH, height * 2 // 3)))


def page(scene: Scene, width: int, height: int) -> list[Text]:
    """Return the scene as at most `height` lines, none wider than `width` cells."""
    head = [_title(scene), _times(scene)]
    foot = [*_deadline(scene), *(Text(f"! {safe(text)}", "bold yellow") for text in scene.messages[:_MESSAGES])]
    room = max(2, height - len(head) - len(foot))
    transfers = min(len(scene.transfers), max(1, room - len(scene.servers)))
    stands = _shown(scene.servers, room - transfers)
    wide = column((_host(stand) for stand in stands), width // 3)
    servers = [*(_server(stand, wide) for stand in stands), *_left_out(scene.servers, stands, "servers")]
    items = _shown(scene.transfers, room - len(servers))
    wide = column((safe(item.file) for item in items), width - _BAR // 2 - 28)
    downloads = [*(_transfer(item, wide) for item in items), *_left_out(scene.transfers, items, "downloads")]
    lines = [*head, *servers, *downloads, *foot][: max(1, height)]
    for text in lines:
        text.no_wrap, text.overflow = True, "ellipsis"
        text.truncate(width, overflow="ellipsis")
    return lines


def _title(scene: Scene) -> Text:
    done = scene.counts.get("done", 0)
    filled = round(_BAR * done / scene.total) if scene.total else 0
    return Text.assemble(
        (safe(scene.batch, 64), "bold"),
        "  ",
        ("━" * filled, "green"),
        ("━" * (_BAR - filled), "bright_black"),
        f"  {tally(scene.counts)} of {scene.total}",
    )


def _times(scene: Scene) -> Text:
    left = "" if scene.left is None else f", about {duration(scene.left)} left"
    return Text(f"running for {duration(scene.elapsed)}{left}", "bright_black")


def _server(stand: Stand, wide: int) -> Text:
    style = "green" if stand.state == "up" else "yellow" if stand.state == "asking" else "bold red"
    return Text.assemble("  ", padded(_host(stand), wide, style), "  ", _doing(stand))


def _host(stand: Stand) -> str:
    return safe(stand.url.removeprefix("http://").removeprefix("https://"))


def _doing(stand: Stand) -> str:
    queue = [f"{stand.ready} ready" if stand.ready else "", f"{stand.foreign} of others" if stand.foreign else ""]
    if stand.state != "up":
        since = "" if stand.since is None else f" for {duration(stand.since)}"
        message = f": {safe(stand.message)}" if stand.message else ""
        return f"{stand.state}{since}{message}"
    what = safe(stand.running, 60) if stand.running else "a job of others" if stand.running_for is not None else ""
    since = "" if stand.running_for is None else f" for {duration(stand.running_for)}"
    return ", ".join(part for part in (f"renders {what}{since}" if what else "idle", *queue) if part)


def _transfer(item: Transfer, wide: int) -> Text:
    width = _BAR // 2
    filled = round(width * min(1.0, item.got / item.total)) if item.total > 0 else 0
    bar = (("━" * filled, "cyan"), ("━" * (width - filled), "bright_black"))
    came = f"{size(item.got)} of {size(item.total)}" if item.total >= 0 else size(item.got)
    return Text.assemble("  ↓ ", padded(safe(item.file), wide), "  ", *bar, f"  {came}")


def _deadline(scene: Scene) -> list[Text]:
    if scene.deadline is None:
        return []
    if scene.deadline < 0:
        return [Text("  the oldest file not yet home may be deleted at any moment", "bold red")]
    style = "bold red" if scene.deadline < _SHORT_OF_TIME else ""
    return [Text(f"  the oldest file not yet home may be deleted in {duration(scene.deadline)}", style)]


def _shown(found: Sequence[T], limit: int) -> Sequence[T]:
    """Return what is shown in at most `limit` lines, the last of which counts what is left out."""
    return found if len(found) <= limit else found[: max(0, limit - 1)]


def _left_out(found: Sequence[T], shown: Sequence[T], what: str) -> list[Text]:
    left = len(found) - len(shown)
    return [Text(f"  … and {left} more {what}", "bright_black")] if left else []
