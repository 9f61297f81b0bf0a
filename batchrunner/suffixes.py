"""What films, pictures and sounds end in, and what must then be in them."""

from __future__ import annotations

from pathlib import PurePosixPath

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
    found = PurePosixPath(name.replace("\\", "/")).suffix.lower()
    return next((known for known in SUFFIXES if known == found), "")
