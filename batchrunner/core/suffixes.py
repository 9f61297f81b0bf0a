"""What films, pictures and sounds end in, and what must then be in them."""

from __future__ import annotations

SUFFIXES = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mp4",
    ".m4a": "mp4",
    ".webm": "matroska",
    ".mkv": "matroska",
    ".png": "png",
    ".webp": "riff",
    ".wav": "riff",
    ".avi": "riff",
    ".gif": "gif",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".flac": "flac",
    ".mp3": "mp3",
    ".opus": "ogg",
    ".ogg": "ogg",
}
"""Every suffix a file may have at home, and the kind that must be in it."""


def suffix(name: str) -> str:
    """Return the suffix a file that a server calls `name` gets at home, from our list; empty if it gets none."""
    stem, dot, end = name.replace("\\", "/").rpartition("/")[2].rpartition(".")
    found = f"{dot}{end}".lower() if stem else ""
    return found if found in SUFFIXES else ""
