"""How a video differs from what was asked for."""

from __future__ import annotations

import pytest

from batchrunner.core.video import UNKNOWN, Video, differences

ASKED = Video(1280, 704, 121, sound=True)


@pytest.mark.parametrize(
    ("asked", "made", "said"),
    [
        (ASKED, ASKED, ""),
        (ASKED, UNKNOWN, ""),
        (UNKNOWN, ASKED, ""),
        (ASKED, Video(640, 704), "640x704 instead of 1280x704"),
        (ASKED, Video(640), ""),
        (ASKED, Video(frames=97), "97 frames instead of 121"),
        (Video(sound=False), ASKED, ""),
        (ASKED, Video(1280, 720, 1, sound=False), "1280x720 instead of 1280x704, 1 frames instead of 121, no sound"),
    ],
)
def test_only_what_is_known_of_both_is_compared(asked: Video, made: Video, said: str) -> None:
    """Size, number of frames and missing sound are named; what is not known is no difference."""
    assert differences(asked, made) == said
