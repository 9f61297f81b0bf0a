"""What the pages show works: manifests load, commands are understood, tables are those of the code."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
import typer
from typer.testing import CliRunner

from batchrunner.cli.app import app
from batchrunner.core.facts import Accepted, File, Rendered, Saved
from batchrunner.errors import BatchrunnerError, BusyError, LocalError, TheirsError, YoursError
from batchrunner.ledger import Ledger
from batchrunner.manifest import Options, load
from batchrunner.manifest.forms import Event, Order, Settings
from batchrunner.manifest.yamltree import MappingNode, compose
from batchrunner.options import RunOptions
from batchrunner.remembered import RECORD, record
from docs import reference
from tests.lab import faults

if TYPE_CHECKING:
    from batchrunner.manifest import Batch

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    if path.name != "CHANGELOG.md"  # it tells of what is no more as well
}
MANIFEST, COMMAND = PAGES["docs/manifest.md"], PAGES["docs/command.md"]
MAKE = "run: .venv/bin/python docs/reference.py"

WORKFLOW = {
    "3": ("KSampler", {"seed": 1, "noise_seed": 1, "steps": 20, "cfg": 5.0, "denoise": 1.0, "positive": ["6", 0]}),
    "6": ("CLIPTextEncode", {"text": "a kite"}, "Positive"),
    "7": ("CLIPTextEncode", {"text": "blurry"}, "Negative"),
    "10": ("LoadVideo", {"file": "example.mp4"}),
    "20": ("LoraStack", {"lora_1": {"name": "a.safetensors", "strength": 1.0}}),
    "30": ("SaveElsewhere", {"filename": "x", "images": ["3", 0]}),
    "40": ("EmptyHunyuanLatentVideo", {"width": 832, "height": 480, "length": 33}),
    "41": ("EmptyAudio", {"frames": 33}),
    "49": ("SaveVideo", {"filename_prefix": "ComfyUI", "video": ["3", 0], "format": "auto", "codec": "auto"}),
    "52": ("LoadImage", {"image": "example.png"}),
    "61": ("MaskFromPath", {"path": "mask.png"}),
}
"""Every workflow that the pages name is this one: it has each node that they speak of."""
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(60)
FILES: dict[str, str | bytes] = {
    **dict.fromkeys(["shots/1.png", "shots/2.png", "shots/10.png"], PICTURE),
    "prompts.txt": "A kettle boils.\n# not this one\nA train passes.\n",
    "scenes.txt": "A fox\nin the snow.\n\nA boat.\n",
    "shots.csv": "text,take\nA fox.,1\nA boat.,2\n",
    "wildcards/animal.txt": "cat\ndog\n",
    "ca.pem": "",
}
LTX2 = {
    "name": "name: example",
    "server": "server: sim",
    "workflow": "workflow: ltx2",
    "sweep": "sweep: {prompt: [A cat, A dog], quality: [fast, high], seed: [1, 7]}",
}
"""What completes an example that is no whole manifest, as docs/manifest.md says; and one that needs own nodes:"""
OWN = {
    **LTX2,
    "workflow": "workflow: example_api.json",
    "params": 'params: {image: 52.image, prompt: "@Positive.text", seed: 3.seed}',
    "sweep": "sweep: {prompt: [A cat, A dog], seed: [1, 7]}",
}
WITH_OWN_NODES = {"params", "workflow", "prefix", "outputs", "FromPattern", "OnServer", "ParamForm"}
VALUES = {"Range", "Seeds", "FromFile", "Dynamic", "FromPattern", "OnServer", "FromTable", "FromBatch"}
"""Forms that stand in a block."""


def completed(text: str, base: dict[str, str]) -> str:
    """Return a manifest: `text`, and the lines of `base` whose keys it lacks."""
    tree = compose(text, "page")
    assert isinstance(tree, MappingNode)
    return "\n".join([text, *(line for key, line in base.items() if key not in tree.entries)])


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every file that the pages' manifests name."""
    folder = tmp_path_factory.mktemp("pages")
    nodes = {
        key: {"class_type": kind, "inputs": inputs, "_meta": {"title": "".join(title)}}
        for key, (kind, inputs, *title) in WORKFLOW.items()
    }
    graph = json.dumps(nodes)
    named = {*re.findall(r"\w+_api\.json", "".join(PAGES.values())), "example_api.json"}
    for name, content in {**FILES, **dict.fromkeys(named, graph)}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    shutil.copy(ROOT / "jobs" / "storms.csv", folder)
    for _, text in MANIFESTS:
        if written := re.search(r"^name: ([\w-]+)", text, re.MULTILINE):
            (folder / f"{written[1]}.yaml").write_text(text, "utf-8")
    return folder


def fenced(language: str) -> list[tuple[str, str]]:
    """Return (page and line, text) of each block of a language."""
    return [
        (f"{name}:{page.count(chr(10), 0, found.start()) + 2}", found[1])
        for name, page in PAGES.items()
        for found in re.finditer(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ]


SIMULATOR = "docs/simulator.md:"
"""A page with scripts of faults in place of manifests."""
MANIFESTS = [(where, text) for where, text in fenced("yaml") if not where.startswith(SIMULATOR)]


def loaded(folder: Path, text: str) -> Batch:
    """Return the batch of a manifest in the folder; README's is one that has run, where rows come from."""
    path = folder / "page.yaml"
    earlier = load(folder / "rainy-cats.yaml")
    path.write_text(text, "utf-8")
    return load(path, Options(out=folder / "out", pending={"rainy-cats": earlier.jobs}))


@pytest.mark.parametrize(("where", "text"), MANIFESTS, ids=[where for where, _ in MANIFESTS])
def test_manifests_plan(folder: Path, where: str, text: str) -> None:
    """Every manifest on a page makes jobs, and each warning is one that the page is about."""
    batch = loaded(folder, completed(text, LTX2))
    assert batch.jobs, where
    assert batch.warnings == ()


def test_other_blocks_are_sound() -> None:
    """Every script of faults is one, and every piece of Python is Python."""
    scripts = [faults.parse(text, where) for where, text in fenced("yaml") if where.startswith(SIMULATOR)]
    pieces = [compile(text, where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) for where, text in fenced("python")]
    assert all((scripts, pieces, *scripts))


@pytest.mark.parametrize("form", reference.EXAMPLES)
def test_examples_plan(folder: Path, form: str) -> None:
    """Every key's example makes jobs."""
    for key, written in reference.EXAMPLES[form].items():
        example = written
        base = OWN if {form, key} & WITH_OWN_NODES else LTX2
        if key == "workflow":
            base = {**base, "params": 'params: {prompt: "@Positive.text", seed: 3.seed}'}
        if form in VALUES:
            lines = [example] if re.search(r"(?<!per: )prompt", written) else [written, "prompt: A cat"]
            example = "sweep:\n" + "\n".join(f"  {line}" for line in lines)
        if form == "ParamForm":
            base = {**base, "sweep": "sweep: {length: [17, 33]}" if key == "input" else "sweep: {mask: shots/1.png}"}
        assert loaded(folder, completed(example, base)).jobs, key


@pytest.mark.parametrize("path", [reference.MANIFEST, reference.COMMAND], ids=lambda path: path.name)
def test_tables_are_the_codes(path: Path) -> None:
    """The pages' tables of keys, parameters, presets, verbs and options are those of the code."""
    page = path.read_text("utf-8")
    assert reference.filled(page) == page, MAKE


def test_nothing_is_left_out() -> None:
    """Every form, verb, order and event has its place on the page, and no other has."""
    assert set(re.findall(r"<!-- keys (\w+) -->", MANIFEST)) == reference.forms() == reference.EXAMPLES.keys()
    assert re.findall(r"<!-- verb (\w+) -->", COMMAND) == re.findall(r"^### (\w+)$", COMMAND, re.MULTILINE)
    assert sorted(re.findall(r"^### (\w+)$", COMMAND, re.MULTILINE)) == sorted(reference.command().commands)
    for kind, title in ((Order, "order"), (Event, "event")):
        table = MANIFEST.split(f"| {title} |")[1].split("\n\n")[0]
        assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(get_args(kind))
    assert {"parameters", "presets"} <= set(re.findall(r"<!-- (\w+) -->", MANIFEST))
    assert reference.schema_of("manifest")["properties"].keys() == Settings.model_fields.keys()


def test_exit_codes() -> None:
    """The page has the exit code of each class of errors, and those of the signals."""
    table = COMMAND.split("| exit |")[1].split("\n\n")[0]
    found = {int(code) for cell in re.findall(r"^\| (\d[\d, ]*)", table, re.MULTILINE) for code in cell.split(", ")}
    errors = {kind.exit_code for kind in (BatchrunnerError, YoursError, TheirsError, BusyError, LocalError)}
    assert found == {0, 1, *errors, 129, 130, 143, 141}


def test_environment_variables() -> None:
    """The page has the variables that the code names as its own, but for the one that is a pipe's number."""
    code = "".join(path.read_text("utf-8") for path in (ROOT / "batchrunner").rglob("*.py"))
    named = set(re.findall(r'"(BATCHRUNNER_[A-Z_]+)"', code)) - {"BATCHRUNNER_SECRETS_FD"}
    table = COMMAND.split("| variable |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == named


# -- Commands.


def commands() -> list[tuple[str, list[str]]]:
    """Return (page, arguments) of every call of batchrunner on the pages, in blocks and within lines."""
    found = []
    for name, page in PAGES.items():
        lines = re.findall(r"^(?:    |ExecStart=)(.*\bbatchrunner .*)$", page, re.MULTILINE)
        prose = re.sub(r"^```.*?^```$|^    .*?$", "", page, flags=re.MULTILINE | re.DOTALL)
        lines += [" ".join(code.split()) for code in re.findall(r"`([^`]*)`", prose) if "batchrunner " in code]
        for line in lines:
            words = shlex.split(re.sub(r"<\([^)]*\)", "/dev/fd/63", line), comments=True)
            starts = [at for at, word in enumerate(words) if word.rpartition("/")[2] == "batchrunner"]
            for at in starts:
                end = next((i for i, word in enumerate(words) if i > at and re.match(r"\d?>|&|\|", word)), len(words))
                if "[OPTIONS]" not in words[at:end] and words[at - 1 : at] != ["new"]:
                    found.append((name, words[at + 1 : end]))
    return found


CALLS = commands()
RUN = {"init", "plan", "status", "retry", "export", "promote"}
USAGE_ERROR = typer.BadParameter.__bases__[0]


def parsed(arguments: list[str]) -> None:
    """Fail unless the command understands these arguments; a verb alone is a mention."""
    verb, *rest = arguments
    if verb.startswith("-"):
        assert verb in {name for param in reference.command().params for name in param.opts} | {"-h"}
    else:
        command = reference.command().commands[verb]
        if rest:
            command.make_context(verb, rest)


def test_commands_are_understood() -> None:
    """Every call on a page has verbs, options and values that the command takes."""
    wrong = []
    for page, arguments in CALLS:
        try:
            parsed(arguments)
        except (USAGE_ERROR, KeyError, AssertionError) as error:
            wrong.append((page, arguments, str(error)))
    assert wrong == []
    assert len(CALLS) > 50
    assert {arguments[0] for _, arguments in CALLS} >= reference.command().commands.keys()


@pytest.fixture(name="finished")
def _finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in the folder, where README's batch has finished; one of its jobs is starred."""
    monkeypatch.chdir(folder)
    manifest = folder / "rainy-cats.yaml"
    batch = load(manifest)
    home = folder / "outputs" / batch.name
    with Ledger.open(home, batch.name) as ledger:
        ledger.keep(batch.jobs)
        ledger.mark(RECORD, value=record(RunOptions(manifest)))
        for job in batch.jobs:
            ledger.append(Accepted(job.id, 1, 0.0, "id", "p", batch.servers[0]))
            ledger.append(Rendered(job.id, 1, 1.0, (File("x.mp4"),), None))
            ledger.append(Saved(job.id, 1, 2.0, "x.mp4", f"{job.file}.mp4", 4, "0" * 64))
            (home / job.file).parent.mkdir(exist_ok=True)
            (home / f"{job.file}.mp4").write_bytes(b"mp4!")
    picks = {"batch": batch.name, "manifest": str(manifest), "picks": [{"job": batch.jobs[0].id}]}
    for place in (folder, home):
        (place / "picks.json").write_text(json.dumps(picks), "utf-8")
    return folder


def test_commands_that_need_no_server_run(finished: Path) -> None:
    """Every `init`, `plan`, `status`, `retry`, `export` and `promote` works, in the pages' own order.

    Those that ask a server, follow a run or name a job are only understood.
    """
    wrong, ran = [], set()
    for page, (verb, *rest) in CALLS:
        if verb not in RUN or {"--ask", "--watch"} & {*rest} or (verb != "status" and not rest):
            continue
        for number, word in enumerate(rest):  # it would not be written over
            if word == "-o":
                (finished / rest[number + 1]).unlink(missing_ok=True)
        for path in finished.glob("rainy-cats-*.yaml"):
            path.unlink()
        result = CliRunner().invoke(app, [verb, *rest])
        ran.add(verb)
        if result.exit_code:
            wrong.append((page, verb, rest, result.output))
    assert wrong == []
    assert ran == RUN


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    """The user unit on the page is one that systemd takes without a warning."""
    ((_, unit),) = fenced("ini")
    runner = tmp_path / "renders" / ".venv" / "bin" / "batchrunner"
    runner.parent.mkdir(parents=True)
    runner.write_text("#!/bin/sh\n", "utf-8")
    runner.chmod(0o755)
    path = tmp_path / "batchrunner@rainy-cats.service"
    path.write_text(unit, "utf-8")
    told = subprocess.run(
        [shutil.which("systemd-analyze") or "", "--user", "verify", str(path)],
        env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (told.returncode, told.stdout + told.stderr) == (0, "")
