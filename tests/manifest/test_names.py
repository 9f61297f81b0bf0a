"""File names: from the manifest alone, readable, safe, no two alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st
from manifests import batch, diagnostics, jobs

from batchrunner.manifest.filenames import Naming, node_labels, slug
from batchrunner.workflow.graph import Node

SAFE = re.compile(r"[^\x00-\x1f<>:\"\\|?*]+")


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ("sweep: {prompt: A cat. Playing, seed: 7}", "a-cat-playing-s7-{job}"),
        ("files: '{quality}/{prompt}'\nsweep: {prompt: Hi!, quality: fast}", "fast/hi"),
        ("files: 'x {cfg} {steps}'\nsweep: {prompt: a, cfg: 4.50, steps: 8}", "x 4.5 8"),
        ("files: '{_n}'\nsweep: {prompt: a, _n: '../../etc/passwd'}", "etc-passwd"),
        ("files: '{prompt}'\nsweep: {prompt: '🐈'}", "untitled"),
        ("files: '{prompt}'\nsweep: {prompt: Ärger für नमस्ते}", "ärger-für-नमस्ते"),
        ("files: '{prompt}'\nsweep: {prompt: con}", "_con"),
        ("files: 'AUX.{seed}'\nsweep: {prompt: a, seed: 1}", "_AUX.1"),
        ("files: '{_s}.json'\nsweep: {prompt: a, _s: x}", "x.json_"),
        ("files: 'run.log/{seed}'\nsweep: {prompt: a, seed: 1}", "run.log_/1"),
        ("files: 'Inputs/{seed}'\nsweep: {prompt: a, seed: 1}", "_Inputs/1"),
        ("files: 'a/inputs/{seed}'\nsweep: {prompt: a, seed: 1}", "a/inputs/1"),
        ("files: state.sqlite3\nsweep: {prompt: a}", "state.sqlite3_"),
        ("files: 'index.html'\nsweep: {prompt: a}", "index.html_"),
        ("files: '-rf .{seed}. '\nsweep: {prompt: a, seed: 1}", "rf .1"),
    ],
)
def test_one_name(body: str, files: str) -> None:
    """A name is made of the job's values and nothing that a file system or a shell would take amiss."""
    found = batch(body)
    assert [job.file for job in found.jobs] == [files.replace("{job}", found.jobs[0].id)]


def test_names_that_would_collide() -> None:
    """Where two jobs would share a name, also on a disk that ignores case, the later one carries its id."""
    found = batch("files: 'V{_n}'\norder: listed\nsweep: {zip: {prompt: [a, b], _n: [x, X]}}")
    assert jobs(found, "file") == ["Vx", f"Vx-{found.jobs[1].id}"]


def test_a_value_that_some_jobs_lack() -> None:
    """A value that only some blocks set is named as missing in the others' files."""
    found = batch("files: '{quality}-{seed}'\nsweep: [{prompt: a, quality: fast}, {prompt: b}]")
    assert jobs(found, "file") == ["fast-42", "no-quality-42"]


def test_default_name_without_prompt() -> None:
    """The default nodes out what a workflow does not have."""
    graph = '{"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "seed": 1}}}'
    found = batch(
        "params: {seed: 1.seed}\nsweep: {seed: 5}", {"w.json": graph}, head="name: t\nserver: sim\nworkflow: w.json\n"
    )
    assert jobs(found, "file") == [f"s5-{found.jobs[0].id}"]


@pytest.mark.parametrize("files", ["../{seed}", "/{seed}", "a//b", "{seed}/", "a/./b", "a/.. /b", "x\\\\y", "a:b", "{"])
def test_names_lead_nowhere_else(files: str) -> None:
    """A template that leads out of the batch folder, or that not every file system takes, is refused."""
    assert diagnostics(f'files: "{files}"\nsweep: {{prompt: a}}').startswith("m.yaml:4:8: files: ")


@given(st.lists(st.text(max_size=300), min_size=1, max_size=6), st.text(max_size=300))
def test_any_text_makes_a_safe_name(texts: list[str], folder: str) -> None:
    """Whatever a prompt holds, its file lies in the batch folder under a name of bearable length, and only once."""
    naming = Naming("{_f}/{_t}", ["_f", "_t"])
    names = [naming.name({"_f": folder, "_t": text}, f"{index:012x}") for index, text in enumerate(texts)]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        parts = name.split("/")
        assert len(parts) == 2
        for part in parts:
            assert SAFE.fullmatch(part)
            assert part.strip(". -")
            assert len(part.encode()) <= 150


@given(st.text())
def test_slugs_are_stable(text: str) -> None:
    """A slug depends on its text alone and is a slug itself."""
    assert slug(slug(text)) == slug(text)


@pytest.mark.parametrize(
    ("titles", "labels"),
    [
        ({"9": "Save base"}, {}),
        ({"9": "Save base", "12": "Save Über/..\\x"}, {"9": "save-base", "12": "save-über-x"}),
        ({"12": "Save Image", "9": "Save image!", "57:8": ""}, {"12": "12", "9": "9", "57:8": "57-8"}),
        ({"9": "7", "7": ""}, {"9": "7-1", "7": "7-2"}),
    ],
)
def test_saving_nodes_are_called_by_their_titles(titles: dict[str, str], labels: dict[str, str]) -> None:
    """One node needs no name; of several each has its title's, or its id where titles are alike or missing."""
    graph = {node: Node("SaveImage", {}, {"_meta": {"title": title}}) for node, title in titles.items()}
    assert node_labels(graph, list(graph)) == labels
