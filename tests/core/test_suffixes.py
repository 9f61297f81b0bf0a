"""What a saved file may end in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from batchrunner.core.suffixes import SUFFIXES, suffix


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a_00001_.mp4", ".mp4"),
        ("A.MP4", ".mp4"),
        ("x.tar.webm", ".webm"),
        ("x.tar.gz", ".gz"),
        ("mesh.GLB", ".glb"),
        ("a.latent", ".latent"),
        ("a.safetensors", ".safetensors"),
        ("t_00001.txt", ".txt"),
        ("a.mp4.exe", ".exe"),
        ("x\\y.png", ".png"),
        ("\ud800.gif", ".gif"),
        ("a.mp4/../../x", ".bin"),
        ("a", ".bin"),
        (".mp4", ".bin"),
        ("", ".bin"),
        ("a.", ".bin"),
        ("a.mp4\n", ".bin"),
        ("a.mp4\0", ".bin"),
        ("a.m p4", ".bin"),
        ("a.é", ".bin"),
        ("a.-rf", ".bin"),
        ("a.123456789", ".bin"),
    ],
)
def test_a_plain_suffix_is_kept(name: str, found: str) -> None:
    """Of a server's name only a short suffix of letters and digits is used, in lower case."""
    assert suffix(name) == found


@pytest.mark.parametrize("name", ["a.json", "a.JSON", "a.part"])
def test_our_own_suffixes_are_not_given_away(name: str) -> None:
    """An output can't pass for a sidecar or an unfinished download, and no sidecar replaces it."""
    assert suffix(name) == ".bin"


@given(st.text(max_size=40))
def test_no_name_makes_another_kind_of_suffix(name: str) -> None:
    """Whatever a server calls its file, what we take over is a dot and a few harmless letters."""
    assert suffix(name) in SUFFIXES or re.fullmatch(r"\.[a-z0-9]{1,8}", suffix(name))
