"""What is known of a video: as it was asked for, and as it came."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Video:
    """A video as far as it is known; None stands for what is not."""

    width: int | None = None
    """In pixels, as `height`."""
    height: int | None = None
    frames: int | None = None
    sound: bool | None = None
    """Whether it has any."""


UNKNOWN = Video()
"""A video of which nothing is known."""


def differences(asked: Video, made: Video) -> str:
    """Return how a video is not what was asked for, `640x352 instead of 1280x704`; empty if nothing is known of it.

    Sound that nobody asked for is no difference.
    """
    found = []
    size, other = (made.width, made.height), (asked.width, asked.height)
    if None not in (*size, *other) and size != other:
        found.append(f"{made.width}x{made.height} instead of {asked.width}x{asked.height}")
    if made.frames is not None and asked.frames is not None and made.frames != asked.frames:
        found.append(f"{made.frames} frames instead of {asked.frames}")
    if asked.sound and made.sound is False:
        found.append("no sound")
    return ", ".join(found)
