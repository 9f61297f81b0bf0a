"""What a file may end in at home."""

from __future__ import annotations

import pytest

from batchrunner.core.suffixes import suffix


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a_00001_.mp4", ".mp4"),
        ("A.MP4", ".mp4"),
        ("x.tar.webm", ".webm"),
        ("a.mp4.exe", ""),
        ("a.mp4/../../x", ""),
        ("a", ""),
        (".mp4", ""),
        ("", ""),
        ("a.mp4\n", ""),
        ("a.mp4\0", ""),
        ("a.safetensors", ""),
        ("x\\y.png", ".png"),
        ("\ud800.gif", ".gif"),
    ],
)
def test_a_suffix_comes_from_our_list(name: str, found: str) -> None:
    """Of a server's name only a suffix that we know is used."""
    assert suffix(name) == found
