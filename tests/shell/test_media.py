"""Whole or cut, ours or not: what the bytes of a file say."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from films import PREFIX, box, film, graph, long_box, mesh, picture, tags, tensors
from hypothesis import example, given, settings, strategies as st

from batchrunner.core.job import render_digest
from batchrunner.core.video import Video
from batchrunner.download import mp4
from batchrunner.download.verify import Inspection, inspect, inspect_as, inspect_open
from batchrunner.sim.graph import Shot
from batchrunner.sim.media import BoxRenderer, Order
from batchrunner.sim.video import PyavRenderer
from batchrunner.workflow.ltx2 import ltx2

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.sim.media import Renderer

TEXT = json.dumps(graph()).encode()
RENDERS = render_digest(graph())
HEAD = box(b"ftyp", b"isom", bytes(4))
BODY = box(b"mdat", bytes(64))
INDEX = box(b"moov", box(b"mvhd", bytes(100)), box(b"trak", bytes(40)))


def _see(data: bytes) -> Inspection:
    return inspect_open(io.BytesIO(data))


def _moov(*inside: bytes) -> bytes:
    return HEAD + BODY + box(b"moov", box(b"mvhd", bytes(100)), *inside)


def test_a_whole_film_says_whose_it_is() -> None:
    """A film as SaveVideo writes it is whole and names the prefix of its attempt."""
    assert _see(film()) == Inspection("mp4", whole=True, prefixes=(PREFIX,), digest=RENDERS)


def test_a_film_without_metadata_is_whole_and_nobodys() -> None:
    """A server that writes no metadata makes whole films that name nobody."""
    assert _see(film(None)) == Inspection("mp4", whole=True, prefixes=None)


def test_a_film_cut_anywhere_is_not_whole() -> None:
    """Cut a film at any byte, or add one, and it is whole no more."""
    whole = film(pixels=bytes(300))
    assert not any(_see(whole[:end]).whole for end in range(len(whole)))
    assert not _see(whole + b"\0").whole


def test_a_picture_cut_anywhere_is_not_whole() -> None:
    """The same holds for a PNG."""
    whole = picture()
    assert _see(whole) == Inspection("png", whole=True, prefixes=(PREFIX,), digest=RENDERS)
    assert not any(_see(whole[:end]).whole for end in range(len(whole)))
    assert not _see(whole + b"\0").whole


def test_the_stump_of_a_killed_server_is_no_film() -> None:
    """The 48 bytes that lie under the final name while a server encodes are not whole."""
    assert not _see(box(b"ftyp", b"isom", bytes(20)) + box(b"free") + struct.pack(">I4s", 0, b"mdat")).whole


@pytest.mark.parametrize(
    "data",
    [
        HEAD + INDEX + BODY,
        HEAD + long_box(b"mdat", bytes(64)) + INDEX,
        HEAD + INDEX + struct.pack(">I4s", 0, b"mdat") + bytes(64),
        HEAD + BODY + INDEX + box(b"free"),
    ],
)
def test_sizes_come_in_three_forms(data: bytes) -> None:
    """A box has a size of 32 or 64 bits, or reaches to the end of the file; the index may come first."""
    assert _see(data).whole


@pytest.mark.parametrize(
    "data",
    [
        BODY + HEAD + INDEX,
        HEAD + BODY + box(b"moov"),
        HEAD + BODY + box(b"moov", b"1234567"),
        HEAD + BODY + box(b"moov", struct.pack(">I4s", 99, b"mvhd")),
        HEAD + BODY + struct.pack(">I4s", 7, b"moov") + INDEX,
        HEAD + BODY + struct.pack(">I4sQ", 1, b"moov", 15) + INDEX,
        HEAD + BODY + struct.pack(">I4sQ", 1, b"moov", 2**63) + INDEX,
        HEAD + BODY + struct.pack(">I4sQ", 1, b"moov", 0) + INDEX,
        HEAD + struct.pack(">I4s", 2**32 - 1, b"mdat") + INDEX,
        HEAD + BODY + bytes(4096),
        bytes(4096),
        HEAD + box(b"free") * (mp4.BOXES + 1) + BODY + INDEX,
    ],
)
def test_a_film_with_a_lie_in_it_is_not_whole(data: bytes) -> None:
    """Boxes out of place, empty or larger than their room, and walks without end, are all refused with a reason."""
    seen = _see(data)
    assert not seen.whole
    assert seen.message


@pytest.mark.parametrize(
    "inside",
    [
        tags(TEXT),
        tags(json.dumps({"prompt": graph()}).encode(), b"comment"),
        tags(json.dumps({"prompt": json.dumps(graph()), "workflow": "{}"}).encode(), b"comment"),
        box(
            b"udta",
            box(
                b"meta", bytes(4), box(b"hdlr", bytes(25)), box(b"ilst", box(b"\xa9cmt", box(b"data", bytes(8), TEXT)))
            ),
        ),
        box(b"udta", box(b"\xa9cmt", struct.pack(">HH", len(TEXT), 0x55C4), TEXT)),
        box(b"udta", box(b"\xa9cmt", struct.pack(">HH", len(TEXT), 0x55C4), TEXT), bytes(4)),
        box(
            b"meta",
            box(b"hdlr", bytes(25)),
            box(b"ilst", box(b"----", box(b"mean", bytes(4)), box(b"data", bytes(8), TEXT))),
        ),
        tags(b"{broken") + tags(TEXT),
        tags(b"{" * 50_000) + tags(TEXT),
    ],
)
def test_the_workflow_is_found_wherever_ffmpeg_puts_it(inside: bytes) -> None:
    """Keys and values, iTunes and QuickTime comments, a workflow alone or inside a `prompt`: all name the prefix."""
    assert _see(_moov(inside)) == Inspection("mp4", whole=True, prefixes=(PREFIX,), digest=RENDERS)


@pytest.mark.parametrize("text", [b"{}", b"[]", b"{", b'{"a": 1}', b'{"prompt": 5}', b'{"prompt": "x"}', b"\xff{", b""])
def test_other_texts_are_no_workflow(text: bytes) -> None:
    """Metadata that hold no workflow leave a film nobody's; it is whole all the same."""
    assert _see(_moov(tags(text))) == Inspection("mp4", whole=True, prefixes=None)


def test_a_workflow_that_saves_nothing_is_still_a_workflow() -> None:
    """A workflow without any prefix is somebody's: the film is foreign, not unknown."""
    text = json.dumps({"1": {"class_type": "X", "inputs": {"filename_prefix": ["2", 0]}}, "2": 5, "3": {"inputs": 5}})
    assert _see(_moov(tags(text.encode()))).prefixes == ()


def test_a_prompt_that_quotes_a_workflow_is_only_text() -> None:
    """A text prompt that looks like metadata does not make a film somebody else's."""
    quoted = {"7": {"class_type": "CLIPTextEncode", "inputs": {"text": json.dumps(graph("theirs-0123456789ab-a9"))}}}
    assert _see(_moov(tags(json.dumps({**graph(), **quoted}).encode()))).prefixes == (PREFIX,)
    flac = b"fLaC" + bytes(80) + json.dumps({**graph(), **quoted}).encode() + bytes(80)
    assert _see(flac).prefixes == (PREFIX,)


def test_nan_in_a_workflow_is_no_obstacle() -> None:
    """A film made with a cfg of NaN carries a bare NaN, and is recognised."""
    assert _see(_moov(tags(TEXT.replace(b"18446744073709551615", b"NaN")))).prefixes == (PREFIX,)


FORMS = [(form, BoxRenderer()) for form in ("mp4", "png", "flac")] + [
    (form, PyavRenderer(64)) for form in ("mp4", "webm")
]


@pytest.mark.parametrize(("form", "renderer"), FORMS, ids=[f"{form}-{type(maker).__name__}" for form, maker in FORMS])
def test_real_files_say_what_they_render(form: str, renderer: Renderer) -> None:
    """Films, pictures and sounds as the simulator writes them tell their workflow apart from another one."""
    for text in ("a cat", 'a "dog" in {the: [räin]} \\ \ud83d'):
        workflow = ltx2().fill({"prompt": text, "seed": 2**64 - 1}, PREFIX)
        seen = _see(renderer.render(Order(form, Shot(64, 64, 9), {"prompt": workflow, "workflow": {"nodes": []}})))
        assert (seen.whole, seen.prefixes, seen.digest) == (True, (PREFIX,), render_digest(workflow))


def test_an_mp4_says_size_frames_and_sound() -> None:
    """They are read from the tracks; a broken or unfinished track says nothing, and the film is whole all the same."""
    for sound, has in ((0.4, True), (None, False)):
        simulated = PyavRenderer(64, 9).render(Order("mp4", Shot(64, 48, 9, sound=sound)))
        assert _see(simulated).video == Video()
        film_of = simulated.replace(b'"simulated"', b'"as it was"')
        assert _see(film_of).video == Video(64, 48, 9, sound=has)
        for kind in (b"stsz", b"hdlr", b"mdia", b"stsd", b"vide"):
            assert _see(film_of.replace(kind, b"none")) == Inspection("mp4", whole=True), kind
    assert _see(film()).video == Video()
    fragments = box(b"mvex", bytes(4))
    assert _see(_moov(fragments)) == Inspection("mp4", whole=True)


def test_the_workflow_of_an_attempt_is_the_one_that_counts() -> None:
    """Of two workflows in a file, the one whose prefix is of an attempt says what it renders."""
    loaded = json.dumps(graph("loaded")).encode()
    assert _see(_moov(tags(loaded) + tags(TEXT))).digest == RENDERS
    assert _see(_moov(tags(loaded))).digest == ""


def test_a_workflow_that_is_not_whole_renders_nothing_known() -> None:
    """Where a tag is cut or interrupted, as by the pages of an Ogg, the prefix is found and nothing else is known."""
    for cut in (TEXT[:-1], TEXT[:12] + b"\0" + TEXT[12:]):
        seen = _see(b"fLaC" + bytes(80) + cut + bytes(80))
        assert (seen.prefixes, seen.digest) == ((PREFIX,), "")


@pytest.mark.parametrize("kind", [b"tEXt", b"iTXt"])
def test_pictures_carry_their_workflow_in_either_text_chunk(kind: bytes) -> None:
    """Latin-1 or international text, both are read."""
    assert _see(picture(kind=kind)).prefixes == (PREFIX,)


def test_a_text_without_end_is_not_read() -> None:
    """Four MiB of text are read from a picture at most, in one chunk or in many; the picture is whole all the same."""
    assert _see(picture("x" * 100_000)).prefixes == ("x" * 100_000,)
    assert _see(picture("x" * 2**22)) == Inspection("png", whole=True)


def _webp(extra: bytes = b"") -> bytes:
    inside = b"WEBPVP8 " + bytes(80) + extra
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def _webm(segment: bytes, size: bytes | None = None, header: int = 4) -> bytes:
    """Return a Matroska file; with a header of 50 bytes the length of its segment ends with the 64 that are read."""
    head = b"\x1aE\xdf\xa3" + bytes([0x80 | header]) + bytes(header)
    return head + b"\x18S\x80g" + (size or b"\x08" + len(segment).to_bytes(4, "big")) + segment


@pytest.mark.parametrize(
    ("data", "kind", "whole"),
    [
        (_webp(), "riff", True),
        (_webp() + b"\0", "riff", True),
        (_webp()[:-1], "riff", False),
        (b"GIF89a" + bytes(40) + b"\x3b", "gif", True),
        (b"GIF89a" + bytes(40), "gif", False),
        (b"\xff\xd8\xff\xe0" + bytes(40) + b"\xff\xd9", "jpeg", True),
        (b"\xff\xd8\xff\xe0" + bytes(40), "jpeg", False),
        (_webm(bytes(90)), "matroska", True),
        (_webm(bytes(90))[:-1], "matroska", False),
        (_webm(bytes(90), header=50), "matroska", True),
        (_webm(bytes(90), header=51), "matroska", False),
        (_webm(bytes(90), b"\xff"), "matroska", True),
        (_webm(bytes(90), b"\x01" + b"\xff" * 7), "matroska", True),
        (b"\x1aE\xdf\xa3\x84abcd" + bytes(90), "matroska", False),
        (b"\x1aE\xdf\xa3", "matroska", False),
        (b"\x1aE\xdf\xa3" + bytes(9) + b"\x18S\x80g\xff" + bytes(90), "matroska", False),
        (b"fLaC" + bytes(90), "flac", True),
        (b"fLaC", "flac", False),
        (b"ID3" + bytes(90), "mp3", True),
        (b"\xff\xfb\x90" + bytes(90), "mp3", True),
        (b"OggS" + bytes(90), "ogg", True),
        (mesh(), "glb", True),
        (mesh() + b"\0", "glb", False),
        (mesh()[:-1], "glb", False),
        (b"glTF", "glb", False),
        (b"<html><body>Login</body></html>", "", False),
        (b"", "", False),
        (b"\xff", "", False),
    ],
)
def test_other_kinds_are_known_by_their_first_and_last_bytes(data: bytes, kind: str, *, whole: bool) -> None:
    """Every kind has its magic, and, where it says where it ends, must end there."""
    seen = _see(data)
    assert (seen.kind, seen.whole) == (kind, whole)
    assert bool(seen.message) is not whole


def test_what_is_no_film_is_told_from_nothing_at_all() -> None:
    """A person reads whether a file is empty or something else than a film, a picture or a sound."""
    assert _see(b"").message == "it is empty"
    assert _see(b"<html>").message == "it is no video, image or sound"


def test_other_kinds_name_their_attempt_too() -> None:
    """WebP keeps its workflow at the end, FLAC at the begin: both are found, escapes included."""
    name = json.dumps(graph('ä"b')).encode()
    assert _see(_webp(b"EXIF" + bytes(2**19) + TEXT)).prefixes == (PREFIX,)
    assert _see(b"fLaC" + bytes(80) + name + bytes(2**19)).prefixes == ('ä"b',)
    assert _see(_webp(b'"filename_prefix": "x"')).prefixes is None


def test_a_prefix_under_another_name() -> None:
    """A node that names its files by `filename` keeps our prefix there; it is found in a WebP too."""
    prefix = f"night-{'a' * 12}-a1"
    saver = {"9": {"class_type": "Image Saver", "inputs": {"filename": prefix, "images": ["8", 0]}}}
    seen = _see(_webp(b"EXIF" + json.dumps(saver).encode()))
    assert (seen.prefixes, seen.digest) == ((prefix,), render_digest(saver))


def test_an_animated_picture_names_its_attempt() -> None:
    """SaveAnimatedPNG keeps the workflow in chunks of its own kind."""
    assert _see(picture(kind=b"comf")).prefixes == (PREFIX,)


@pytest.mark.parametrize(
    ("suffix", "data", "found"),
    [
        (".latent", tensors(), (PREFIX,)),
        (".latent", tensors(None), None),
        (".latent", b"\xff" * 8 + b"{}", None),
        (".latent", b"PK\x03\x04 an old pickle", None),
        (
            ".svg",
            b"<svg>\n<metadata><![CDATA[\n" + json.dumps({"prompt": graph()}, indent=4).encode() + b"]]>",
            (PREFIX,),
        ),
        (".svg", b"<svg/>", None),
        (".glb", mesh("theirs-0123456789ab-a9"), None),
        (".txt", TEXT, None),
        (".txt", b"ID3", None),
        (".exe", b"", None),
    ],
)
def test_what_is_not_checked_is_whole_and_may_name_its_attempt(
    suffix: str, data: bytes, found: tuple[str, ...] | None
) -> None:
    """A latent or an SVG names its attempt if it can; a text or a mesh proves nothing, whatever it says."""
    seen = inspect_as(io.BytesIO(data), suffix)
    assert (seen.whole, seen.prefixes) == (True, found)
    assert seen.digest == (RENDERS if found else "")


@pytest.mark.parametrize(
    ("suffix", "data"), [(".mp4", picture()), (".png", film()), (".glb", film()), (".latent", b"")]
)
def test_a_file_must_be_what_its_suffix_says(suffix: str, data: bytes) -> None:
    """A kind that we know must be in the file, or it is not whole."""
    seen = inspect_as(io.BytesIO(data), suffix)
    assert not seen.whole
    assert seen.message


def test_only_regular_files_are_inspected(tmp_path: Path) -> None:
    """A path is inspected without following a link or waiting for a pipe's writer."""
    (tmp_path / "a.mp4").write_bytes(film())
    assert inspect(tmp_path / "a.mp4").prefixes == (PREFIX,)
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("link.mp4", "pipe.mp4", "none.mp4"):
        with pytest.raises(OSError, match=r"."):
            inspect(tmp_path / name)


def test_a_hostile_index_costs_little() -> None:
    """Many large texts in one film are read up to a bound, and no further."""
    inside = b"".join(tags(b'{"a": "' + b"x" * 2**20 + b'"}') for _ in range(12))
    data = io.BytesIO(_moov(inside))
    tracemalloc.start()
    inspect_open(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * mp4.TEXT


_piece = st.sampled_from(
    (
        *(
            b"ftyp",
            b"moov",
            b"mdat",
            b"udta",
            b"meta",
            b"ilst",
            b"data",
            b"hdlr",
            bytes(4),
            b"\0\0\0\x01",
            b"\x7f" * 8,
            b"{",
        ),
        *(
            HEAD,
            BODY,
            INDEX,
            tags(TEXT),
            b"\x89PNG\r\n\x1a\n",
            b"IHDR",
            b"tEXt",
            b"RIFF",
            b"\x1aE\xdf\xa3",
            b"\x18S\x80g",
        ),
    )
)
_bytes = st.lists(_piece | st.binary(max_size=12), max_size=30).map(b"".join)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=4_000) | _bytes | _bytes.map(lambda tail: HEAD + BODY + box(b"moov", tail)))
@example(HEAD + struct.pack(">I4sQ", 1, b"mdat", 2**63) + bytes(100))
@example(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**32 - 1) + b"IHDR" + bytes(99))
def test_no_bytes_make_the_walk_stumble(data: bytes) -> None:
    """Any bytes at all are judged: without an error, without end, and without a megabyte of memory."""
    tracemalloc.start()
    seen = _see(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    assert seen.whole is not bool(seen.message)


def test_a_fragmented_film_says_whose_it_is() -> None:
    """However many fragments of film come before the metadata, they are read."""
    fragments = box(b"moof", box(b"mfhd", bytes(8))) + BODY
    for number in (1, 20, 30_000):
        seen = _see(HEAD + INDEX + fragments * number + box(b"moov", box(b"mvhd", bytes(100)), tags(TEXT)))
        assert seen == Inspection("mp4", whole=True, prefixes=(PREFIX,), digest=RENDERS), number


def test_a_film_of_nearly_as_many_boxes_as_are_walked_is_whole() -> None:
    """The bound on boxes is the one that is written down: a film just below it is whole."""
    assert _see(HEAD + box(b"free") * (mp4.BOXES - 10) + BODY + INDEX).whole
