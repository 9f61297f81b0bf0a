"""A batch remembers how it was run: every command that is printed is whole, and does what it says when it is run."""

from __future__ import annotations

import json
import shlex
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.app import app
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Lost, Rendered, Saved, Why
from batchrunner.ledger import Ledger, hold, holder
from batchrunner.manifest import Options, load
from batchrunner.options import RunOptions
from batchrunner.remembered import NO_MANIFEST, RECORD, recalled, record, resume_command
from batchrunner.show.runner import FILE, read_runner
from batchrunner.state import chosen_ids, job_states, past_runs, read_state, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.ledger import Snapshot

CLOSED = "http://127.0.0.1:1"
"""Nobody listens there, so that a run ends after `patience`."""
_NIGHT = """
name: night
{server}workflow: ltx2
patience: 50ms
grace: 50ms
settle: 50ms
poll: 50ms
defaults: {{length: 25}}
sweep: {{prompt: {prompt}, seed: [1, 2]}}
"""
_LATER = f"{datetime.now().astimezone() + timedelta(hours=3):%H:%M}"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """Stand in a folder below another one."""
    folder = tmp_path / "my cats"
    folder.mkdir()
    with chdir(folder):
        yield folder


def _write(name: str = "night.yaml", server: str = "", prompt: str = "[a cat, a dog]") -> None:
    text = _NIGHT.format(server=f"server: {server}\n" if server else "", prompt=prompt)
    Path(name).write_text(text, encoding="utf-8")


def _call(*arguments: str) -> tuple[int, str, str]:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as ended:
        app(arguments, prog_name="batchrunner")
    assert "Traceback" not in err.getvalue()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def _typed(command: str) -> tuple[int, str, str]:
    """Call what a person would paste into a shell."""
    name, *arguments = shlex.split(command)
    assert name == "batchrunner"
    return _call(*arguments)


def _next(text: str) -> str:
    """Return the command in the line that says what to type next."""
    (line,) = [line for line in text.splitlines() if line.startswith("next: ")]
    return line.removeprefix("next: ")


def _stored(folder: Path) -> Snapshot:
    content = read_state(folder, "night")
    assert content is not None
    return content


def _asked(folder: Path) -> RunOptions:
    """Return what a batch remembers."""
    return recalled(_stored(folder).marks, RunOptions(NO_MANIFEST))


_COMBINATIONS = [
    ("night.yaml", CLOSED, []),
    ("night.yaml", "", ["--server", CLOSED]),
    ("night.yaml", "", ["--server", CLOSED, "--server", "http://127.0.0.1:2"]),
    ("a night's work.yaml", CLOSED, ["--set", "size=sd"]),
    ("night.yaml", CLOSED, ["--set", 'negative=it\'s "$HOME" `x` -- #1', "--set", "steps=7"]),
    ("night.yaml", CLOSED, ["--only", "seed=1", "--only", "prompt=a cat"]),
    ("night.yaml", CLOSED, ["--limit", "1"]),
    ("-night.yaml", CLOSED, ["--out", "my runs"]),
    ("night.yaml", CLOSED, ["--allow-outside"]),
    ("night.yaml", CLOSED, ["--until", _LATER]),
    ("night.yaml", CLOSED, ["--hours", "00:00-23:59"]),
    ("night.yaml", CLOSED, ["--token-file", "the token"]),
    (
        "night.yaml",
        "",
        [
            *("--server", CLOSED, "--out", "../other runs", "--set", "size=sd", "--only", "seed=2", "--limit", "1"),
            *("--until", _LATER, "--token-file", "the token", "--allow-outside"),
        ],
    ),
]


@pytest.mark.parametrize("file", ["/dev/fd/63", "/proc/self/fd/9"])
def test_a_pipe_is_in_no_later_command(file: str) -> None:
    """The next command does not name `<(pass show gpu)` as the shell did: that is gone with the command it was for."""
    options = RunOptions(Path("night.yaml"), token_file=Path(file))
    assert resume_command(options) == "batchrunner run night.yaml"


@pytest.mark.parametrize(("name", "server", "options"), _COMBINATIONS, ids=lambda value: "" if value else "-")
def test_the_next_command_goes_on_with_the_same_batch(folder: Path, name: str, server: str, options: list[str]) -> None:
    """What a run prints at its end is run: it finds the same batch and the same jobs, all of them."""
    outside = "--allow-outside" in options
    (folder.parent / "prompts.txt").write_text("a cat\na dog\n", encoding="utf-8")
    _write(name, server, "{file: ../prompts.txt}" if outside else "[a cat, a dog]")
    (folder / "the token").write_text("s3cret-token", encoding="ascii")
    (folder / "the token").chmod(0o600)
    code, _, told = _call("run", *options, "--", name)
    assert code == 3, told
    home = next(path.parent for path in folder.parent.rglob("state.sqlite3"))
    before, asked = _stored(home), _asked(home)
    assert len(before.current) == 4
    command = _next(told)
    found = (home / "report.md").read_text(encoding="utf-8")
    lasting = next(line.strip() for line in found.splitlines() if line.startswith("    batchrunner run "))
    where = "." if home.is_relative_to(folder) else ".."
    assert _next(_call("status", str(home))[1]).startswith("batchrunner run ")
    for typed, place in ((command, "."), (lasting, "/")):
        with chdir(place):
            code, _, told = _typed(typed)
        assert code == 3, (typed, told)
        after = _stored(home)
        assert (after.current, after.gone) == (before.current, frozenset())
        assert recalled(after.marks, RunOptions(NO_MANIFEST)) == asked
    assert [path.parent for path in (folder / where).resolve().rglob("state.sqlite3")] == [home]
    assert _next(told) == lasting
    assert b"s3cret" not in b"".join(path.read_bytes() for path in home.iterdir() if path.is_file())


# -- What the other commands need: the folder, or a manifest that says no more than the name.


def _ran(options: RunOptions, *facts: Fact) -> list[str]:
    """Make the state of a batch that was run so; return its jobs' ids."""
    batch = load(options.manifest, options.manifest_options)
    with Ledger.open(options.out / batch.name, batch.name) as ledger:
        ledger.keep(batch.jobs)
        ledger.mark(RECORD, record(options))
        for fact in facts:
            ledger.append(fact)
    return [job.id for job in batch.jobs]


def _failed(job: str) -> tuple[Fact, ...]:
    return Claimed(job, 1, 1.0, "id", "p", CLOSED, ""), Lost(job, 1, 2.0, Why.ERROR, "no", final=True)


def _done(job: str, path: str, size: int = 5) -> tuple[Fact, ...]:
    return (
        Claimed(job, 1, 1.0, "id", "p", CLOSED, ""),
        Accepted(job, 1, 1.0, "id", "p", CLOSED),
        Rendered(job, 1, 9.0, (File("x.mp4"),), None, 8.0),
        Saved(job, 1, 9.0, "x.mp4", path, size, "f" * 64),
    )


_LAST = RunOptions(Path("night.yaml"), Options((CLOSED,), (("size", "sd"),)))
_COMMAND = f"batchrunner run night.yaml --server {CLOSED} --set size=sd"


@pytest.mark.parametrize("place", ["night.yaml", "/outputs/night"])
def test_other_commands_need_no_options(folder: Path, place: str) -> None:
    """Status, gallery, verify, retry and cancel see every job of the last run, without its options."""
    _write()
    jobs = _ran(_LAST)
    if place.startswith("/"):
        place = str(folder / place[1:])
    assert _call("gallery", place)[0] == 0
    page = (folder / "outputs" / "night" / "gallery-data.js").read_text(encoding="ascii")
    assert all(job in page for job in jobs)
    _ran(_LAST, *_failed(jobs[0]), *_done(jobs[1], "b.mp4"))
    known = {"id": jobs[0], "state": "failed"}.items()
    told = json.loads(_call("status", place, "--json")[1])
    assert (told["total"], [job["id"] for job in told["jobs"]]) == (4, jobs)
    assert known <= told["jobs"][0].items()
    assert _next(_call("status", place)[1]) == _COMMAND
    again = _call("verify", place)[1].splitlines()
    assert again[-1] == "to render them again: batchrunner verify --redo outputs/night"
    assert _call("retry", place)[2] == f"to be tried again: 1 job; now run: {_COMMAND}\n"
    assert _call("cancel", place)[2].splitlines() == ["cancelled: 3 jobs", f"to continue: {_COMMAND}"]
    assert json.loads(_call("status", place, "--json")[1])["total"] == 1
    assert [path.name for path in (folder / "outputs").iterdir()] == ["night"]


def test_retry_names_what_the_last_choice_left_out(folder: Path) -> None:
    """A failed job that the last run's --only does not choose is named in the command to run, else it would wait on."""
    _write()
    last = replace(_LAST, manifest_options=replace(_LAST.manifest_options, only=(("seed", "1"),)))
    jobs = [job.id for job in load(last.manifest, last.manifest_options).jobs if job.params["seed"] == 2]
    _ran(last, *_failed(jobs[0]))
    command = _call("retry", "outputs/night")[2].partition("; now run: ")[2].strip()
    assert command == f"{_COMMAND} --only job={jobs[0]}"
    code, _, told = _typed(command)
    assert (code, "1 left" in told or "4 left" in told) == (3, True), told
    assert _call("retry", "outputs/night", "--only", "seed=9")[0] == 2
    assert folder.name == "my cats"


def test_a_choice_that_is_done_is_not_repeated(folder: Path) -> None:
    """Once all that --only chose is done, the next command goes on with the others."""
    _write()
    last = replace(_LAST, manifest_options=replace(_LAST.manifest_options, only=(("seed", "1"),)))
    jobs = [job.id for job in load(last.manifest, last.manifest_options).jobs if job.params["seed"] == 1]
    for place, job in enumerate(jobs):
        (folder / "outputs" / "night").mkdir(parents=True, exist_ok=True)
        (folder / "outputs" / "night" / f"{place}.mp4").write_bytes(b"12345")
        _ran(last, *_done(job, f"{place}.mp4"))
    assert _next(_call("status", "outputs/night")[1]) == _COMMAND
    assert _next(_call("run", *shlex.split(_COMMAND)[2:], "--only", "seed=1")[2]) == _COMMAND


def test_a_folder_from_elsewhere_says_nothing_of_files(folder: Path) -> None:
    """What another user or machine remembered is not obeyed: it could name any manifest, server or permission."""
    _write()
    _ran(_LAST)
    for planted in ({"allow_outside": True}, {"manifest": "/home/me/other.yaml"}, {"seal": "0" * 64}):
        with Ledger.open(folder / "outputs" / "night", "night") as ledger:
            ledger.mark(RECORD, {**record(_LAST), **planted})
        assert _asked(folder / "outputs" / "night") == RunOptions(NO_MANIFEST)
    code, _, told = _call("cancel", "outputs/night")
    assert (code, "name the manifest" in told) == (2, True)
    assert _call("cancel", "outputs/night", "--set", "size=sd")[0] == 2
    for broken in ([], {"manifest": 7}, {**record(_LAST), "sets": ["x"]}):
        assert recalled({RECORD: broken}, RunOptions(NO_MANIFEST)) == RunOptions(NO_MANIFEST)


def test_a_renamed_folder_is_no_second_batch(folder: Path) -> None:
    """A folder that was given another name is read, and not changed: what continues it would begin a second batch."""
    _write()
    _ran(_LAST)
    (folder / "outputs" / "night").rename(folder / "outputs" / "day")
    assert _call("status", "outputs/day")[0] == 0
    code, _, told = _call("retry", "outputs/day")
    assert (code, told) == (2, "outputs/day: this is the folder of the batch 'night'; call it so again\n")


def test_a_run_that_was_refused_changes_nothing(folder: Path) -> None:
    """A command line that is wrong leaves what is remembered, and which jobs are the batch's, as they were."""
    _write()
    jobs = _ran(_LAST)
    for wrong in (["--set", "size=sd"], ["--server", "http://me:s3cret@gpu"], ["--server", CLOSED, "--only", "seed=9"]):
        assert _call("run", "night.yaml", *wrong)[0] == 2
    assert [job.id for job in _stored(folder / "outputs" / "night").current] == jobs
    assert record(_asked(folder / "outputs" / "night")) == record(_LAST)
    assert b"s3cret" not in (folder / "outputs" / "night" / "state.sqlite3").read_bytes()


def test_a_run_with_other_values_says_what_it_leaves_out(folder: Path) -> None:
    """A run that forgets --set is told how many jobs of the last run that costs, and what they were run with."""
    _write()
    _ran(_LAST)
    told = _call("run", "night.yaml", "--server", CLOSED)[2]
    assert "4 jobs of the last run left the batch: it had --set size=sd" in told
    assert "left the batch" not in _call("run", "night.yaml", "--server", CLOSED)[2]
    assert len(_stored(folder / "outputs" / "night").gone) == 4


def test_a_secret_in_an_option_is_not_remembered(folder: Path) -> None:
    """The token that somebody also put into a parameter stands in no file, and in no command."""
    _write()
    (folder / "token").write_text("s3cret-token", encoding="ascii")
    (folder / "token").chmod(0o600)
    told = _call(
        "run",
        "night.yaml",
        "--server",
        CLOSED,
        "--token-file",
        "token",
        "--set",
        "negative=x s3cret-token",
        "--limit",
        "1",
    )[2]
    assert "s3cret" not in _next(told)
    kept = json.dumps(_stored(folder / "outputs" / "night").marks)
    assert "s3cret" not in kept


# -- Which jobs `--limit` means, which files are gone, and when a runner lives.


def test_a_limit_counts_what_is_still_to_do(folder: Path) -> None:
    """`--limit 1` run twice comes to two jobs: what is done or failed is not counted again."""
    _write(server=CLOSED)
    batch = load(folder / "night.yaml")
    ids = [job.id for job in batch.jobs]
    states = job_states("night", ids, [*_done(ids[0], "a.mp4"), *_failed(ids[1])])
    assert chosen_ids(batch, states, 1) == {ids[2]}
    assert chosen_ids(replace(batch, chosen=frozenset(ids[:2] + ids[3:])), states, 2) == {ids[3]}
    assert chosen_ids(batch, states, None) is None


def test_a_deleted_video_is_told(folder: Path) -> None:
    """With a video deleted from the folder neither run nor status calls the batch done without saying so."""
    _write(prompt="[a cat]")
    jobs = [job.id for job in load(_LAST.manifest, _LAST.manifest_options).jobs]
    _ran(_LAST, *_done(jobs[0], "a.mp4"), *_done(jobs[1], "b.mp4"))
    home = folder / "outputs" / "night"
    for name in ("a.mp4", "b.mp4"):
        (home / name).write_bytes(b"12345")
    run = shlex.split(_COMMAND)[1:]
    assert _call(*run)[2].count("every job is done\n") == 1
    assert "missing" not in _call("status", "night.yaml")[1]
    (home / "a.mp4").unlink()
    (home / "b.mp4").write_bytes(b"1234")
    told = _call(*run)[2]
    redo = "batchrunner verify --redo outputs/night"
    assert f"missing or changed on disk: 2 files: a.mp4, b.mp4; to render them again: {redo}" in told
    assert "every job was done, but 2 files are missing or changed on disk" in told
    told = _call("status", "night.yaml")[1]
    assert "missing or changed on disk: 2 files: a.mp4, b.mp4" in told
    assert _next(told) == "batchrunner verify --redo outputs/night"
    assert json.loads(_call("status", "night.yaml", "--json")[1])["missing"] == ["a.mp4", "b.mp4"]


def test_the_lock_tells_whether_a_runner_lives(folder: Path) -> None:
    """A batch that nobody holds is not running, whatever files of a killed runner say; one that is held is."""
    _write()
    _ran(_LAST)
    home = folder / "outputs" / "night"
    assert holder(home) is None
    left = {"since": 1.0, "at": 2.0, "ends_at": 9e9, "guessed": False, "servers": [], "messages": ["no room"]}
    (home / FILE).write_text(json.dumps({"pid": 0, **left}), encoding="ascii")
    told = _call("status", "night.yaml")[1]
    assert "\nnot running since Thu 1 Jan " in told
    assert "done at" not in told
    with hold(home):
        held = holder(home)
        assert held is not None
        assert "another command is using it" in _call("status", "night.yaml")[1]
        assert json.loads(_call("status", "night.yaml", "--json")[1])["runner"] is None
        (home / FILE).write_text(json.dumps({"pid": held.pid, **left}), encoding="ascii")
        told = _call("status", "night.yaml")[1]
        assert f"(process {held.pid}); done about " in told
        assert "\nno room\n" in told
        assert "next: " not in told
        assert json.loads(_call("status", "night.yaml", "--json")[1])["runner"] == {
            "pid": held.pid,
            "since": "1970-01-01T00:00:01.000Z",
        }
    assert holder(home) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pid": "x"}', '{"pid": 1, "since": 1, "at": 1, "servers": [7]}'])
def test_a_runner_file_that_is_none(tmp_path: Path, text: str) -> None:
    """A file that no runner wrote tells nothing, and breaks nothing."""
    (tmp_path / FILE).write_text(text, encoding="ascii")
    assert read_runner(tmp_path) is None
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).symlink_to("/dev/zero")
    assert read_runner(tmp_path) is None


def test_when_runners_ran(tmp_path: Path) -> None:
    """Runs are kept from their beginning to their end, a killed one to its last fact; idle ones but the last go."""
    with Ledger.open(tmp_path, "night") as ledger:
        for began, ended in ((10.0, 20.0), (30.0, 35.0)):
            times = iter((began, ended))
            with running(ledger, ledger.content(), lambda times=times: next(times)):  # type: ignore[misc]
                for fact in _failed("j") if began == 10.0 else ():
                    ledger.append(replace(fact, at=12.0))
        assert past_runs(ledger.content()) == [(10.0, 20.0), (30.0, 35.0)]
        ledger.mark("runs", [[1.0, None], [11.0, None]])
        assert past_runs(ledger.content()) == [(11.0, 12.0)]
        for damaged in (7, [7], [[]], [["x", 2]], [[1.0, 2.0, 3.0]]):
            ledger.mark("runs", damaged)
            assert past_runs(ledger.content()) == []


def test_a_damaged_video_is_rendered_again_at_once(folder: Path) -> None:
    """Verify --redo tries the missing file only, now, whatever --only, --limit and --hours the last run had."""
    _write(server=CLOSED)
    now = datetime.now().astimezone()
    hours = "-".join(f"{now + timedelta(hours=later):%H:%M}" for later in (3, 4))
    last = RunOptions(Path("night.yaml"), Options(only=(("seed", "1"),)), hours=hours, limit=1)
    jobs = [job for job in load(last.manifest, last.manifest_options).jobs if job.params["seed"] == 2]
    _ran(last, *_done(jobs[0].id, "gone.mp4"))
    code, found, told = _call("verify", "outputs/night", "--redo")
    assert (code, "gone.mp4: missing" in found, f"{CLOSED} does not answer" in told) == (3, True, True), told
    assert _next(told) == f"batchrunner run night.yaml --only job={jobs[0].id}"
    assert record(_asked(folder / "outputs" / "night")) == record(last)
