"""Dynamic prompts: what they become, the same everywhere, counted before any is made."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from manifests import HEAD, batch, diagnostics, jobs

from batchrunner.errors import ManifestError
from batchrunner.manifest import Options, load

ANIMALS = {"wildcards/animal.txt": "cat\n\n# none of these\n  dog  \nbig {owl|emu}\n"}
NOT_DYNAMIC = "is not a dynamic prompt: each { needs its }, and __ stands on both sides of a wildcard's name"
ONLY = "only {a|b}, {2$$a|b|c}, weights and __names__ are read here"

if TYPE_CHECKING:
    from pathlib import Path

needs_library = pytest.mark.skipif(
    find_spec("dynamicprompts") is None, reason="dynamicprompts is not installed (the extra `wildcards`)"
)


def texts(dynamic: str, files: dict[str, str] | None = None) -> list[str]:
    """Return the prompts that a dynamic prompt makes, as listed; `dynamic` is the whole mapping."""
    found = batch(f"order: listed\nsweep:\n  prompt: {{{dynamic}}}\n", files or ANIMALS)
    return [str(job.params["prompt"]) for job in found.jobs]


def wrong(dynamic: str, files: dict[str, str] | None = None) -> str:
    """Return the diagnostics of a dynamic prompt in line 4."""
    return diagnostics(f"sweep: {{prompt: {{{dynamic}}}}}\n", files or ANIMALS)


@needs_library
@pytest.mark.parametrize(
    ("dynamic", "made"),
    [
        ("A {red|blue} fox", ["A red fox", "A blue fox"]),
        ("{red|blue} {fox|owl}", ["red fox", "red owl", "blue fox", "blue owl"]),
        ("a {red|{dark|light} blue} fox", ["a red fox", "a dark blue fox", "a light blue fox"]),
        ("__animal__", ["cat", "dog", "big owl", "big emu"]),
        ("{2$$a|b|c}", ["a,b", "a,c", "b,a", "b,c", "c,a", "c,b"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
        ("{1-2$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("{5$$a|b}", ["a,b", "b,a"]),
        (
            "{2$$, $$__animal__}",
            [
                f"{a}, {b}"
                for a, b in [
                    ("cat", "dog"),
                    ("cat", "big owl"),
                    ("cat", "big emu"),
                    ("dog", "cat"),
                    ("dog", "big owl"),
                    ("dog", "big emu"),
                    ("big owl", "cat"),
                    ("big emu", "cat"),
                    ("big owl", "dog"),
                    ("big emu", "dog"),
                ]
            ],
        ),
        ("a {3::very |0.5::}big fox", ["a very big fox", "a big fox"]),
        ("{~a|b}", ["a", "b"]),
        ("plain", ["plain"]),
        (
            "5% of #1 for $5 or $$, a//b /*c*/ 100%{ now|}",
            ["5% of #1 for $5 or $$, a//b /*c*/ 100%now", "5% of #1 for $5 or $$, a//b /*c*/ 100%"],
        ),
        ("(a:1.2) [b] } | <c> {d}", ["(a:1.2) [b] } | <c> d"]),
        ("a\\tb\\n{c|d}", ["a\tb\nc", "a\tb\nd"]),
        ("🐈 {ü|é}", ["🐈 ü", "🐈 é"]),
    ],
)
def test_all(dynamic: str, made: list[str]) -> None:
    """`all: true` makes every text, in the order they are written, and leaves all other characters alone."""
    if "animal" in dynamic and "$$" in dynamic:
        assert sorted(texts(f'dynamic: "{dynamic}", all: true')) == sorted(made)
    else:
        assert texts(f'dynamic: "{dynamic}", all: true') == made


@needs_library
def test_random() -> None:
    """`count` texts are the same on every machine; more keep the first; another base gives others."""
    written = 'dynamic: "A {red|blue} __animal__"'
    three = texts(f"{written}, count: 3")
    assert three == ["A blue cat", "A red big owl", "A red big emu"]
    assert texts(f"{written}, count: 5")[:3] == three
    assert texts(f"{written}, count: 3, base: 0") == three
    assert texts(f"{written}, count: 3, base: 1") != three
    assert len(set(texts(f"{written}, count: 8"))) == 8


@needs_library
def test_more_than_there_are() -> None:
    """Where there are fewer texts than `count`, equal jobs are joined with a warning, and in a zip all have a place."""
    found = batch('sweep: {prompt: {dynamic: "{a|b}", count: 5}}')
    assert (len(found.jobs), found.counted) == (2, 5)
    assert found.warnings == ("3 of 5 jobs would render what another one renders; they are joined",)
    zipped = batch('sweep: {zip: {prompt: {dynamic: "{a|b}", count: 5}, seed: {count: 5}}}')
    assert len(zipped.jobs) == 5


@needs_library
def test_weights() -> None:
    """A weight makes an option likelier; one of 0 is never drawn."""
    found = [
        str(job.params["_x"])
        for job in batch(
            'sweep: {prompt: a, zip: {_x: {dynamic: "{9::a|1::b|0::c}", count: 200}, seed: {count: 200}}}'
        ).jobs
    ]
    assert 160 < found.count("a") < 195
    assert found.count("a") + found.count("b") == 200


@needs_library
def test_the_text_is_the_parameter() -> None:
    """Seeds of its own, file names, exclusions and `${…}` work with what came out."""
    found = batch(
        """
        order: listed
        files: "{_animal}-{_n}"
        sweep:
          _animal: {dynamic: "__animal__", all: true}
          _n: [1, 2]
          prompt: {dynamic: "A {red|blue} ${_animal} and a ${_animal}", all: true}
        exclude: [{_animal: [dog, big owl, big emu]}, {_n: 2}]
        """,
        ANIMALS,
    )
    assert jobs(found, "prompt") == ["A red cat and a cat", "A blue cat and a cat"]
    assert {job.file.partition("-1")[0] for job in found.jobs} == {"cat"}


@needs_library
def test_wildcards_in_wildcards() -> None:
    """A wildcard's lines may name others, also in folders."""
    files = {"wildcards/a.txt": "one __b__\ntwo", "wildcards/b.txt": "x\ny ${_v}"}
    found = batch('order: listed\nsweep: {prompt: {dynamic: "__a__", all: true}, _v: z}', files)
    assert jobs(found, "prompt") == ["one x", "one y z", "two"]


@needs_library
@pytest.mark.parametrize(
    ("dynamic", "said"),
    [
        ('dynamic: "{a|b", all: true', f'm.yaml:4:27: sweep.prompt.dynamic: "{{a|b" {NOT_DYNAMIC}'),
        ('dynamic: "snake__case", all: true', f'm.yaml:4:27: sweep.prompt.dynamic: "snake__case" {NOT_DYNAMIC}'),
        ('dynamic: "__x__", all: true', 'm.yaml:4:27: sweep.prompt.dynamic: "wildcards/x.txt": there is no such file'),
        (
            'dynamic: "__../../x__", count: 1',
            (
                'm.yaml:4:27: sweep.prompt.dynamic: "wildcards/../../x.txt": leads outside the manifest\'s folder; '
                "--allow-outside permits that"
            ),
        ),
        (
            'dynamic: "__a*__", count: 1',
            'm.yaml:4:27: sweep.prompt.dynamic: the wildcard "a*" must name one file in wildcards/',
        ),
        (
            'dynamic: "{!a|b}", count: 1',
            "m.yaml:4:27: sweep.prompt.dynamic: `!` and `@` choose no order here: write count, or all: true",
        ),
        (
            'dynamic: "${x={a|b}} ${x}", count: 1',
            (
                "m.yaml:4:27: sweep.prompt.dynamic: dynamicprompts' own variables are not read: "
                'write `_x: {dynamic: "…"}` beside it, and ${_x} here'
            ),
        ),
        ('dynamic: "__animal(x=1)__", count: 1', f"m.yaml:4:27: sweep.prompt.dynamic: {ONLY}"),
        (
            'dynamic: "${_x} {a}", count: 1',
            (
                "m.yaml:4:27: sweep.prompt.dynamic: ${_x} is not set here; there is negative, width, height, length, "
                "fps, batch_size, seed, steps, cfg, sampler_name, scheduler, denoise, checkpoint, gemma_path, "
                "max_length, codec, format, prompt"
            ),
        ),
        ('dynamic: "a"', "m.yaml:4:17: sweep.prompt: takes dynamic and one of count and all: true"),
        (
            'dynamic: "a", count: 1, all: true',
            "m.yaml:4:17: sweep.prompt: takes dynamic and one of count and all: true",
        ),
        ('dynamic: "a", all: false', "m.yaml:4:17: sweep.prompt: takes dynamic and one of count and all: true"),
        ('dynamic: "a", count: 0', "m.yaml:4:39: sweep.prompt.count: must be at least 1, not 0"),
        ('dynamic: "", count: 1', "m.yaml:4:27: sweep.prompt.dynamic: is empty"),
        ('dynamic: "a", cuont: 1', "m.yaml:4:32: sweep.prompt.cuont: unknown key - did you mean count?"),
        (
            'dynamik: "a"',
            (
                "m.yaml:4:17: sweep.prompt: must be a value, a list, {from, to, step}, {from, to, count}, "
                "{count}, {file} or {dynamic} - did you mean dynamic?"
            ),
        ),
    ],
)
def test_wrong(dynamic: str, said: str) -> None:
    """What cannot be read is reported with its place and the cure."""
    assert wrong(dynamic) == said


@needs_library
@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"a": "x\n__b__", "b": "__a__"},
            'wildcards/b.txt:1:1: the wildcard "a" leads back to itself',
        ),
        ({"a": "x\n\n{y|"}, f'wildcards/a.txt:3:1: "{{y|" {NOT_DYNAMIC}'),
        ({"a": "# nothing\n"}, 'm.yaml:4:27: sweep.prompt.dynamic: "wildcards/a.txt" has no lines'),
        (
            {letter: f"__{chr(ord(letter) + 1)}__" for letter in "abcdefghijkl"},
            "wildcards/j.txt:1:1: wildcards nested deeper than 10",
        ),
        (
            {**{letter: f"__{chr(ord(letter) + 1)}__ " * 40 for letter in "abcdefg"}, "h": "{}"},
            "m.yaml:4:27: sweep.prompt.dynamic: can become longer than 20,000 characters",
        ),
    ],
)
def test_wrong_wildcards(files: dict[str, str], said: str) -> None:
    """A mistake in a wildcard's file is reported there; loops and depth are refused."""
    named = {f"wildcards/{name}.txt": text for name, text in files.items()}
    assert wrong('dynamic: "__a__", count: 2', named) == said


@needs_library
@pytest.mark.parametrize(
    ("dynamic", "said"),
    [
        (
            f'dynamic: "{"{a|b|c|d|e|f|g|h|i|j}" * 12}", all: true',
            "m.yaml:4:8: sweep: makes 1,000,000,000,000 jobs (prompt 1,000,000,000,000); max_jobs is 10,000",
        ),
        (
            'dynamic: "{a|b}", count: 10001',
            "m.yaml:4:8: sweep: makes 10,001 jobs (prompt 10,001); max_jobs is 10,000",
        ),
        (
            f'dynamic: "{"{a|" * 11}b{"}" * 11}", all: true',
            "m.yaml:4:27: sweep.prompt.dynamic: braces nested deeper than 10",
        ),
        (
            f'dynamic: "{"}" * 20}{"{a|" * 11}b{"}" * 11}", all: true',
            "m.yaml:4:27: sweep.prompt.dynamic: braces nested deeper than 10",
        ),
        (
            f'dynamic: "{"{a|b}" * 1501}", count: 1',
            (
                "m.yaml:4:27: sweep.prompt.dynamic: more than 3,000 braces, bars and wildcards: "
                "put long lists in wildcard files, one plain text a line"
            ),
        ),
        (
            f'dynamic: "{"x" * 15_000} {{a|b}}{{c|d}}", count: 2000',
            "m.yaml:4:27: sweep.prompt.dynamic: 2,000 texts of up to 15,011 characters are more than 20,000,000 in all",
        ),
        (
            f'dynamic: "{{21$${"|".join(map(str, range(30)))}}}", count: 1',
            "m.yaml:4:27: sweep.prompt.dynamic: takes more than 20 entries of one list at once",
        ),
    ],
)
def test_limits(dynamic: str, said: str) -> None:
    """What would make too many jobs or too long texts is counted and refused before any is made."""
    assert wrong(dynamic) == said


@needs_library
def test_a_long_wildcard_is_quick() -> None:
    """Plain lines of a wildcard are not parsed, and drawing from many costs little."""
    files = {"wildcards/big.txt": "\n".join(map(str, range(100_000)))}
    assert len(set(texts('dynamic: "{2$$ $$__big__}", count: 1000', files))) == 1000


@needs_library
def test_outside_where_that_is_permitted() -> None:
    """`--allow-outside` is for wildcards as for any other file; a missing one is reported as missing."""
    body = 'sweep: {prompt: {dynamic: "__../../no such file__", count: 1}}'
    found = diagnostics(body, options=Options(allow_outside=True))
    assert found.endswith('"wildcards/../../no such file.txt": there is no such file')


@needs_library
def test_a_link_leads_nowhere_else(tmp_path: Path) -> None:
    """A folder of wildcards that is a link out of the manifest's folder is not read."""
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "animal.txt").write_text("secret\n", "utf-8")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "wildcards").symlink_to(tmp_path / "else")
    manifest = tmp_path / "here" / "m.yaml"
    manifest.write_text(HEAD + 'sweep: {prompt: {dynamic: "__animal__", all: true}}\n', "utf-8")
    with pytest.raises(ManifestError, match="leads outside the manifest's folder"):
        load(manifest)
    assert [job.params["prompt"] for job in load(manifest, Options(allow_outside=True)).jobs] == ["secret"]


@needs_library
@pytest.mark.parametrize("name", ["seed", "quality", "codec"])
def test_for_texts_only(name: str) -> None:
    """Numbers, presets and choices take no dynamic prompt."""
    found = diagnostics(f'sweep: {{prompt: a, {name}: {{dynamic: "{{1|2}}", all: true}}}}\n')
    assert found.endswith(f"sweep.{name}: takes no dynamic prompt: that is for texts")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, a diagnostic names the command that installs it."""
    monkeypatch.setitem(sys.modules, "dynamicprompts.parser.parse", None)
    assert wrong('dynamic: "{a|b}", count: 2') == (
        "m.yaml:4:27: sweep.prompt.dynamic: needs the library dynamicprompts: pip install 'batchrunner[wildcards]'"
    )
