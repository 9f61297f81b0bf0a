"""Media inputs: local files by path, pattern, list, table and variable; what they are called, and what is wrong."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from manifests import batch, diagnostics, jobs

from batchrunner.core.job import InputFile, upload_name
from batchrunner.errors import ManifestError
from batchrunner.manifest import Options, load
from batchrunner.manifest.hashes import MEMORY, Hashes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchrunner.core.job import Job, Json
    from batchrunner.manifest import Batch

GRAPH: dict[str, Json] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png", "upload": "image"}},
    "2": {"class_type": "LoadAudio", "inputs": {"audio": "hum.wav"}},
    "3": {"class_type": "LoadVideo", "inputs": {"file": "walk.mp4"}},
    "4": {"class_type": "OpenPose", "inputs": {"path": "pose.bin", "image": ["1", 0]}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
    "7": {"class_type": "KSampler", "inputs": {"seed": 1, "image": ["1", 0], "text": ["6", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["7", 0]}},
}
HEAD = """\
name: t
server: sim
workflow: w.json
params:
  image: 1.image
  sound: 2.audio
  video: 3.file
  pose: {input: 4.path, upload: true}
  prompt: 6.text
  seed: 7.seed
"""
PNG, MP4, WAV, GIF, GLB = (
    *(b"\x89PNG\r\n\x1a\n", b"\0\0\0\x20ftypisom", b"RIFF\0\0\0\0WAVEfmt ", b"GIF89a", b"glTF\x02\0\0\0"),
)
SHOTS: dict[str, str | bytes] = {f"shots/shot{number}.png": PNG + str(number).encode() for number in (1, 2, 10)}


def name_of(content: bytes, suffix: str = ".png") -> str:
    """Return what a file with this content is called in a workflow."""
    return upload_name(sha256(content).hexdigest(), suffix)


def media(body: str, files: Mapping[str, str | bytes] = SHOTS, options: Options | None = None) -> Batch:
    """Load a manifest of the workflow above."""
    return batch(body, {"w.json": json.dumps(GRAPH), **files}, options, HEAD)


def wrong(body: str, files: Mapping[str, str | bytes] = SHOTS, options: Options | None = None) -> str:
    """Return what loading reports, without the manifest's name."""
    return diagnostics(body, {"w.json": json.dumps(GRAPH), **files}, options, HEAD).replace("m.yaml:", "")


def loaded(found: Batch, job: Job, node: str = "1", name: str = "image") -> Json:
    """Return what a loader's input holds in the workflow that is sent for a job."""
    sent = found.graph(job, "p")[node]
    return sent["inputs"][name] if isinstance(sent, dict) and isinstance(sent["inputs"], dict) else None


def test_a_pattern_is_an_axis_in_natural_order() -> None:
    """Files come as people number them; the workflow holds a name made of the content, the parameter the path."""
    found = media('order: listed\nsweep: {image: {files: "shots/*.png"}, seed: [1, 2]}')
    assert jobs(found, "image seed") == [f"shots/shot{n}.png {seed}" for n in (1, 2, 10) for seed in (1, 2)]
    first = found.jobs[0]
    name = name_of(PNG + b"1")
    assert first.inputs == (InputFile(sha256(PNG + b"1").hexdigest(), len(PNG) + 1, name),)
    assert first.uploads == {"image": name}
    assert loaded(found, first) == name
    assert len(found.inputs) == 3
    assert found.axes == (("image", 3), ("seed", 2))


def test_a_name_is_no_part_of_a_jobs_identity() -> None:
    """A renamed file gives the same job, an edited one another; two names of one content are one job."""
    renamed = {"shots/other.png": SHOTS["shots/shot1.png"]}
    edited: dict[str, str | bytes] = {"shots/shot1.png": PNG + b"edited"}
    ids = [
        media(f"sweep: {{image: {path}}}", files).jobs[0].id
        for path, files in (("shots/shot1.png", SHOTS), ("shots/other.png", renamed), ("shots/shot1.png", edited))
    ]
    assert ids[0] == ids[1] != ids[2]
    both = media("sweep: {image: [shots/shot1.png, shots/other.png]}", {**SHOTS, **renamed})
    assert len(both.jobs) == 1
    assert "joined" in both.warnings[0]


@pytest.mark.parametrize(
    ("body", "files"),
    [
        ("sweep: {image: [shots/shot2.png, shots/shot10.png]}", {}),
        ("sweep: {rows: [{image: shots/shot2.png}, {image: shots/shot10.png}]}", {}),
        ("sweep: {rows: shots/t.csv}", {"shots/t.csv": "image\nshot2.png\nshot10.png\n"}),
        ("sweep: {image: {file: shots/t.csv, column: a}}", {"shots/t.csv": "a\nshot2.png\nshot10.png\n"}),
        ("sweep: {image: {file: shots/t.txt}}", {"shots/t.txt": "shot2.png\n\nshot10.png\n"}),
        (
            "sweep: {rows: {file: t.jsonl, columns: {image: i}}}",
            {"t.jsonl": '{"i": "shots/shot2.png"}\n{"i": "shots/shot10.png"}'},
        ),
        ("sweep: {zip: {image: [shots/shot2.png, shots/shot10.png], seed: [1, 2]}}", {}),
        ("sweep: {_file: [shots/shot2.png, shots/shot10.png], image: '${_file}'}", {}),
        ("sweep: {rows: shots/t.csv, image: '${_file}'}", {"shots/t.csv": "_file\nshot2.png\nshot10.png\n"}),
        ("sweep: {_n: [2, 10], image: 'shots/shot${_n}.png'}", {}),
        ("presets: {look: {a: {image: shots/shot2.png}, b: {image: shots/shot10.png}}}\nsweep: {look: [a, b]}", {}),
    ],
)
def test_any_source_of_values_feeds_a_media_input(body: str, files: dict[str, str | bytes]) -> None:
    """A list, rows, a table's cells (relative to the table), a text's lines, a variable, a preset: all are paths."""
    found = media(body, {**SHOTS, **files})
    assert [loaded(found, job) for job in found.jobs] == [name_of(PNG + b"2"), name_of(PNG + b"10")]


def test_set_replaces_a_file() -> None:
    """--set takes a path relative to the manifest."""
    found = media("sweep: {image: shots/shot1.png}", options=Options(sets=(("image", "shots/shot2.png"),)))
    assert [loaded(found, job) for job in found.jobs] == [name_of(PNG + b"2")]


def test_a_file_on_the_server_is_not_uploaded() -> None:
    """{server: …} is sent as it stands, alone or in a list; so is what the workflow holds where nothing is set."""
    found = media("sweep: {image: [{server: sub/example.png}, shots/shot1.png], _a: 1}")
    assert [loaded(found, job) for job in found.jobs] == ["sub/example.png", name_of(PNG + b"1")]
    assert found.jobs[0].inputs == ()
    alone = media("defaults: {image: {server: a.png}}\nsweep: {seed: 1}")
    assert (loaded(alone, alone.jobs[0]), loaded(alone, alone.jobs[0], "2", "audio")) == ("a.png", "hum.wav")
    assert (alone.inputs, alone.sources) == ((), {})


def test_a_file_stands_as_its_stem() -> None:
    """Within a text and in file names a file is its stem; alone, ${_file} is its path."""
    found = media(
        'files: "{image}-{_file}-s{seed}"\n'
        "sweep: {_file: shots/shot2.png, image: '${_file}', prompt: 'Push in on ${image} (${_file})', seed: 5}"
    )
    assert jobs(found, "image prompt file") == ["shots/shot2.png Push in on shot2 (shot2) shot2-shot2-s5"]
    other = media('files: "{image}"\nsweep: {image: {server: "sub/a.b.png [output]"}, prompt: "${image}!", seed: 5}')
    assert jobs(other, "prompt file") == ["a.b! a-b"]


def test_files_of_one_stem_get_names_of_their_own() -> None:
    """Two folders may hold a picture of the same name."""
    found = media(
        'files: "{image}"\nsweep: {image: [a/x.png, b/x.png]}', {"a/x.png": PNG + b"a", "b/x.png": PNG + b"b"}
    )
    assert jobs(found, "file") == ["x", f"x-{found.jobs[1].id}"]


def test_a_parameter_takes_files_if_it_says_so() -> None:
    """`upload: true` makes an input of any class take files; `upload: false` has a known loader take a text."""
    found = media("sweep: {pose: a.bin}", {"a.bin": b"anything"})
    assert loaded(found, found.jobs[0], "4", "path") == name_of(b"anything", ".bin")
    plain = batch(
        "sweep: {image: nowhere.png}",
        {"w.json": json.dumps(GRAPH)},
        head=HEAD.replace("image: 1.image", "image: {input: 1.image, upload: false}"),
    )
    assert loaded(plain, plain.jobs[0]) == "nowhere.png"


@pytest.mark.parametrize(
    ("param", "said"),
    [
        ("{input: 1.image, uplaod: true}", "params.image.uplaod: unknown key - did you mean upload?"),
        ("{upload: true}", "params.image.input: is required"),
        ("{input: 1.image, upload: yes}", 'params.image.upload: must be true or false, not the text "yes"'),
        ("{input: 1.nope, upload: true}", 'params.image: node 1 (LoadImage) has no input "nope"'),
    ],
)
def test_a_wrong_parameter_is_said(param: str, said: str) -> None:
    """The long form of a parameter is checked as the short one is."""
    head = HEAD.replace("image: 1.image", f"image: {param}")
    assert said in diagnostics("sweep: {seed: 1}", {"w.json": json.dumps(GRAPH)}, head=head)


def test_seeds_of_a_file_stay_when_it_is_renamed() -> None:
    """Seeds per picture are derived from its content."""
    renamed: dict[str, str | bytes] = {"new.png": SHOTS["shots/shot1.png"]}
    before = media("sweep: {image: shots/shot1.png, seed: {count: 2, per: image}}")
    after = media("sweep: {image: new.png, seed: {count: 2, per: image}}", renamed)
    assert {job.id for job in before.jobs} == {job.id for job in after.jobs}
    other = media("sweep: {image: shots/shot2.png, seed: {count: 2, per: image}}")
    assert {job.params["seed"] for job in before.jobs}.isdisjoint(job.params["seed"] for job in other.jobs)


@pytest.mark.parametrize("order", ["breadth", "listed", "grouped", "shuffle", "cheap"])
def test_every_order_takes_files(order: str) -> None:
    """Files are values like any other to the order, the sample and the exclusions."""
    body = f"order: {order}\nsweep: {{image: {{files: 'shots/*'}}, prompt: [a, b], seed: [1, 2]}}\n"
    found = media(f"{body}exclude: [{{image: shot2}}, {{image: shots/shot10.png, seed: 1}}]")
    assert len(found.jobs) == 6
    assert len(media(f"{body}sample: {{count: 5}}").jobs) == 5


def test_grouped_keeps_a_picture_together() -> None:
    """Jobs of one picture follow one another, so that the server keeps what it made of it."""
    found = media("order: grouped\nsweep: {seed: [1, 2], image: {files: 'shots/*'}}")
    images = [job.params["image"] for job in found.jobs]
    assert sorted(images, key=images.index) == images


@pytest.mark.parametrize("value", ["shot2", "shots/shot2.png"])
def test_only_takes_a_path_or_a_stem(value: str) -> None:
    """--only image=shot2 is the file of that stem."""
    found = media("sweep: {image: {files: 'shots/*'}}", options=Options(only=(("image", value),)))
    assert [job.params["image"] for job in found.jobs if job.id in (found.chosen or ())] == ["shots/shot2.png"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sweep: {image: no.png}", '11:16: sweep.image: "no.png": there is no such file'),
        ("sweep: {image: [shots/shot1.png, no.png]}", '11:34: sweep.image[1]: "no.png": there is no such file'),
        ("sweep: {image: empty.png}", '11:16: sweep.image: "empty.png": is empty'),
        ("sweep: {image: shots}", '11:16: sweep.image: "shots": is not a regular file; {files: "FOLDER/*"}'),
        (
            "sweep: {image: shot/shot1.png}",
            '11:16: sweep.image: "shot/shot1.png": there is no such file - did you mean shots?',
        ),
        (
            "sweep: {image: shots/Shot01.PNG}",
            '11:16: sweep.image: "shots/Shot01.PNG": there is no such file - did you mean shot1.png?',
        ),
        (
            "sweep: {image: 'shots\\shot1.png'}",
            '11:16: sweep.image: "shots\\shot1.png": there is no such file; folders are separated by /',
        ),
        ("sweep: {image: clip.mp4}", '11:16: sweep.image: "clip.mp4": is a video, and a picture is loaded here'),
        ("sweep: {image: hum.png}", '11:16: sweep.image: "hum.png": is a sound, and a picture is loaded here'),
        (
            "sweep: {sound: shots/shot1.png}",
            '11:16: sweep.sound: "shots/shot1.png": is a picture, and a sound is loaded',
        ),
        ("sweep: {video: hum.png}", '11:16: sweep.video: "hum.png": is a sound, and a video is loaded here'),
        ("sweep: {video: a.glb}", '11:16: sweep.video: "a.glb": is a mesh, and a video is loaded here'),
        ("sweep: {image: ../x.png}", '11:16: sweep.image: "../x.png": leads outside the manifest\'s folder'),
        ("sweep: {image: /etc/hostname}", '11:16: sweep.image: "/etc/hostname": leads outside the manifest\'s folder'),
        ("sweep: {image: {files: '*.jpg'}}", '11:24: sweep.image.files: "*.jpg" matches no file'),
        ("sweep: {image: {files: '../*.jpg'}}", '11:24: sweep.image.files: "..": leads outside the manifest\'s folder'),
        ("sweep: {image: {files: '*/../../*'}}", '11:24: sweep.image.files: "*/../../*" is not a pattern of files'),
        ("sweep: {image: {files: /}}", '11:24: sweep.image.files: "/" is not a pattern of files'),
        ("sweep: {image: {files: ''}}", "11:24: sweep.image.files: is empty"),
        ("sweep: {image: {files: '*.mp4'}}", '11:24: sweep.image.files: "clip.mp4": is a video, and a picture'),
        ("sweep: {prompt: {files: '*.png'}}", "11:17: sweep.prompt: takes no files"),
        ("sweep: {_a: {files: '*.png'}}", "11:13: sweep._a: takes no files"),
        (
            "sweep: {image: {file: shots/shot1.png}}",
            "11:23: sweep.image: {file: …} is an axis from a text or a table; the file itself is image: shots/shot1",
        ),
        ("sweep: {image: [{file: shots/shot1.png}]}", "11:17: sweep.image[0]: {file: …} is an axis from a text"),
        ("sweep: {image: {dynamic: '{a|b}.png', count: 2}}", "11:16: sweep.image: takes no dynamic prompt"),
        ("sweep: {image: 3}", '11:16: sweep.image: "3": there is no such file'),
        ("sweep: {image: ''}", '11:16: sweep.image: "": is not a file name'),
        ("sweep: {image: {upload: a.png}}", "11:16: sweep.image: must be a value, a list, {files}, {file} or {server}"),
        ("sweep: {prompt: {server: a.png}}", "11:17: sweep.prompt: must be a value, a list, {from"),
        ("sweep: {_file: no.png, image: '${_file}'}", '11:16: sweep._file: "no.png": there is no such file'),
        (
            "sweep: {_n: 3, image: 'shots/shot${_n}.png'}",
            '11:23: sweep.image: "shots/shot3.png": there is no such file',
        ),
        ("sweep: {image: '${_file}', seed: 1}", "11:16: sweep.image: ${_file} is not set here"),
        ("sweep: {rows: t.csv}", 't.csv:3:1: image: "no.png": there is no such file'),
        ("sweep: {seed: 1}\nexclude: {image: no}", ""),
        ("sweep: {seed: 1, _a: 1, image: {server: 3, file: 4}}", "11:32: sweep.image: must be a single value"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_a_complaint(body: str, said: str) -> None:
    """What is missing, empty, no file, outside or plainly of another kind is said with its place."""
    others: dict[str, str | bytes] = {
        "clip.mp4": MP4,
        "empty.png": b"",
        "hum.png": WAV,
        "a.glb": GLB,
        "t.csv": "image\nshots/shot1.png\nno.png\n",
    }
    found = wrong(body, {**SHOTS, **others})
    assert found.startswith(said)
    assert bool(found) == bool(said)
    assert len(found.splitlines()) <= 1


def test_unknown_kinds_pass() -> None:
    """A loader may read more kinds than are known here: a GIF is a picture or a film, an MP4 has a sound."""
    found = media(
        "sweep: {video: a.gif, sound: b.mp4, image: c.xyz}", {"a.gif": GIF, "b.mp4": MP4, "c.xyz": b"new kind"}
    )
    assert len(found.jobs[0].inputs) == 3


def test_a_link_that_leads_outside_is_a_complaint(tmp_path: Path) -> None:
    """Neither a path nor a pattern follows a link out of the manifest's folder, unless that is allowed."""
    (tmp_path / "secret.png").write_bytes(PNG)
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "w.json").write_text(json.dumps(GRAPH))
    (folder / "x.png").symlink_to(tmp_path / "secret.png")
    for value in ("x.png", "{files: '*.png'}"):
        (folder / "m.yaml").write_text(f"{HEAD}sweep: {{image: {value}}}")
        with pytest.raises(ManifestError, match="leads outside"):
            load(folder / "m.yaml")
        assert len(load(folder / "m.yaml", Options(allow_outside=True)).inputs) == 1


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """A named pipe is not waited for."""
    os.mkfifo(tmp_path / "x.png")
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    (tmp_path / "m.yaml").write_text(f"{HEAD}sweep: {{image: x.png}}")
    with pytest.raises(ManifestError, match="is not a regular file"):
        load(tmp_path / "m.yaml")


def test_a_pattern_takes_no_hidden_files_and_no_folders() -> None:
    """What a system leaves beside pictures (`._shot1.png`) is no picture; ** searches folders in folders."""
    files: dict[str, str | bytes] = {"shots/._shot1.png": b"junk", "shots/sub.png/x.txt": "x", "shots/b.png": PNG}
    found = wrong("sweep: {image: {files: 'shots/*.png'}}", {"shots/._a.png": b"junk"})
    assert "matches no file" in found
    assert jobs(
        media("sweep: {image: {files: '**/*.png'}}", {"shots/b.png": files["shots/b.png"], "a.png": PNG + b"a"}),
        "image",
    ) == [
        "a.png",
        "shots/b.png",
    ]


def test_too_many_files_are_counted() -> None:
    """A pattern that matches more files than jobs are allowed is refused by its number."""
    found = wrong("max_jobs: 2\nsweep: {image: {files: 'shots/*'}}")
    assert "makes 3 jobs (image 3); max_jobs is 2" in found


def test_hashes_are_remembered(tmp_path: Path) -> None:
    """A file whose path, size and time of change are known is not read again; one that changed is."""
    (tmp_path / "w.json").write_text(json.dumps(GRAPH))
    picture, manifest = tmp_path / "x.png", tmp_path / "m.yaml"
    picture.write_bytes(PNG + b"1")
    manifest.write_text(f"{HEAD}sweep: {{image: x.png}}")
    found = load(manifest, Options(out=tmp_path))
    assert not (tmp_path / "t").exists()
    memory = tmp_path / "t" / "inputs" / MEMORY
    memory.parent.mkdir(parents=True)
    told = json.loads(found.hashes.content())
    told["files"][str(picture)][2] = "e" * 64
    memory.write_text(json.dumps(told))
    assert load(manifest, Options(out=tmp_path)).inputs[0].sha256 == "e" * 64
    picture.write_bytes(PNG + b"12")
    assert load(manifest, Options(out=tmp_path)).inputs[0].sha256 == sha256(PNG + b"12").hexdigest()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 1, "files": {"/x": [1, 2]}}', '{"version": 1, "files": 3}', "[" * 100_000]
)
def test_a_broken_memory_is_none(tmp_path: Path, content: str) -> None:
    """Hashes that can't be read are computed again."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / MEMORY).write_text(content)
    assert json.loads(Hashes.read(tmp_path).content())["files"] == {}


def test_the_published_case() -> None:
    """Three pictures into one LoadImage: the case that fell short, whole."""
    graph = {key: GRAPH[key] for key in ("1", "6", "7", "9")}
    head = dedent(
        """\
        name: image-1
        server: sim
        ttl: none
        workflow: image-1.json
        params: {prompt: "6.text", image: "1.image", seed: 7.seed}
        """
    )
    files: dict[str, str | bytes] = {f"photos/p{n}.png": PNG + str(n).encode() for n in (1, 2, 3)}
    body = """\
        sweep:
          prompt: ["gentle wind"]
          image: [photos/p1.png, photos/p2.png, photos/p3.png]
          seed: 5
        files: "{image}-s{seed}"
        """
    found = batch(body, {"image-1.json": json.dumps(graph), **files}, head=head)
    assert jobs(found, "image file") == [f"photos/p{n}.png p{n}-s5" for n in (1, 2, 3)]
    assert [loaded(found, job) for job in found.jobs] == [name_of(PNG + str(n).encode()) for n in (1, 2, 3)]


def test_our_files_are_not_looked_for_on_the_server() -> None:
    """/object_info lists what is in the input folder now: ours come later, and files in folders are never listed."""
    info: Json = {name: {"input": {}} for name in ("LoadAudio", "LoadVideo", "OpenPose", "CLIPTextEncode", "SaveImage")}
    assert isinstance(info, dict)
    info |= {"KSampler": {"input": {}}, "LoadImage": {"input": {"required": {"image": [["a.png"], {}]}}}}
    found = media("sweep: {image: [shots/shot1.png, {server: a.png}, {server: sub/b.png}, {server: c.png}]}")
    assert found.refusals(info) == ['node 1 (LoadImage): image must be one of a.png, not "c.png" - did you mean a.png?']
