"""What saved files end in, and the kind that must then be in them."""

from __future__ import annotations

import re

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
    ".glb": "glb",
    ".svg": "svg",
    ".latent": "safetensors",
    ".safetensors": "safetensors",
}
"""The suffixes we know, and the kind of file that each stands for. Every other file is taken as it comes."""
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif"})
"""Suffixes of moving pictures: of several files of a prompt, these come first."""
UNKNOWN = ".bin"
"""The suffix of a file whose own is none that we take over."""
_PLAIN = re.compile(r"\.[a-z0-9]{1,8}")
_OURS = frozenset({".json", ".part"})
"""Suffixes of our own files: an output under such a name could pass for one, or be replaced by one."""


def suffix(name: str) -> str:
    """Return the suffix a file that a server calls `name` gets on this disk: its own in lower case if it is plain.

    Nothing else of a server's name is used, ever; what is not plain gets `.bin`.
    """
    stem, dot, end = name.replace("\\", "/").rpartition("/")[2].rpartition(".")
    found = f"{dot}{end}".lower() if stem else ""
    plain = _PLAIN.fullmatch(found) and found not in _OURS
    return found if plain or found in SUFFIXES else UNKNOWN
