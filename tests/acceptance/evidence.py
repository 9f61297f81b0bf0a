"""What is judged in the end: the videos themselves, and the server's own record of what it did."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any

from batches import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from comfyui import Happening

_ENDS = frozenset({"succeeded", "failed", "interrupted", "deleted"})


def embedded(film: bytes) -> dict[str, Any]:
    """Return the workflow that a video carries."""
    begin = film.index(b'{"1": {')
    workflow: dict[str, Any] = json.JSONDecoder().raw_decode(film[begin:].decode("latin-1"))[0]
    return workflow


def assert_home(home: Path, wanted: Mapping[str, tuple[str, int]]) -> None:
    """Fail unless exactly these videos are in a batch's folder, each of its own text and seed, nothing unfinished."""
    assert {path.name for path in home.rglob("*.mp4")} == set(wanted)
    assert not list(home.rglob("*.part"))
    for name, (text, seed) in wanted.items():
        film = (home / name).read_bytes()
        assert_right(film, text, seed)
        sidecar = json.loads((home / name).with_suffix(".json").read_text(encoding="utf-8"))
        assert hashlib.sha256(film).hexdigest() in json.dumps(sidecar), name


def assert_right(film: bytes, text: str, seed: int) -> None:
    """Fail unless a whole video shows this seed, and says that it is of this text, this seed and this batch."""
    workflow = embedded(film)
    assert (workflow["7"]["inputs"]["text"], workflow["10"]["inputs"]["seed"]) == (text, seed)
    assert re.fullmatch(rf"{NAME}-[0-9a-f]{{12}}-a[1-9]", workflow["15"]["inputs"]["filename_prefix"])
    boxes = dict(_boxes(film))
    assert boxes.keys() >= {b"ftyp", b"mdat", b"moov"}
    assert boxes[b"mdat"].startswith(struct.pack(">Q", seed))


def _boxes(film: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(film):
        length, kind = struct.unpack_from(">I4s", film, place)
        assert 8 <= length <= len(film) - place, "a box reaches beyond the file"
        yield kind, film[place + 8 : place + length]
        place += length


def renders(events: Iterable[Happening]) -> Counter[str]:
    """Return how often each picture was rendered."""
    return Counter(event["note"] for event in events if event["what"] == "rendered")


def twice(events: Iterable[Happening]) -> dict[str, int]:
    """Return the pictures that were rendered more than once, and how often."""
    return {picture: count for picture, count in renders(events).items() if count > 1}


def ours(events: Iterable[Happening]) -> list[Happening]:
    """Return what happened to prompts of the batch."""
    return [event for event in events if event["prefix"].startswith(f"{NAME}-")]


def most_at_once(events: Iterable[Happening]) -> int:
    """Return the largest number of our prompts that were ever on the server together."""
    there: set[str] = set()
    most = 0
    for event in ours(events):
        if event["what"] == "posted":
            there.add(event["prompt_id"])
        elif event["what"] in _ENDS:
            there.discard(event["prompt_id"])
        most = max(most, len(there))
    return most


def posted_twice(events: Iterable[Happening]) -> dict[str, int]:
    """Return the ids that were posted more than once to a server that never restarted."""
    counts = Counter(event["prompt_id"] for event in events if event["what"] == "posted")
    return {prompt: count for prompt, count in counts.items() if count > 1}
