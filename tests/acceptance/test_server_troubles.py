"""What servers, and whatever stands before them, do wrong at night: no trouble of one server costs the night.

The real command against a real socket behind a proxy that misbehaves as told; each test is a fault that was seen.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import proxy as faults
import pytest
from batches import Batch
from comfyui import free_port
from evidence import assert_home, ours, twice
from processes import ended, telling, until
from proxy import DELETE, ENTRY, INTERRUPT, LIST, NODES, OTHER, PROMPT, QUEUE, VIEW, Fault, Proxy, proxied

from batchrunner.core.lifecycle import folded
from batchrunner.ledger import Ledger
from tests.lab import other_user
from tests.shell import certificates

_JOBS = Path(__file__).parents[2] / "jobs"
_TWELVE = tuple(f"cat-{number}" for number in range(1, 7))
_SOON = 20.0
"""Seconds of a busy machine for what takes three at most; what waits for a dead server takes hours."""
_LONG = 40.0
"""Seconds of a render that nobody sees the end of."""
_BAD_GATEWAY = faults.page(502, "502 Bad Gateway")


# -- 1: who answers works


@pytest.mark.parametrize("up", telling((1, 2), most=(2,)))
def test_a_server_that_is_down(tmp_path: Path, up: int) -> None:
    """In a new folder the servers that answer render everything at once, and the one that is down is named."""
    gone = f"http://127.0.0.1:{free_port()}"
    with proxied(tmp_path / "a") as first, proxied(tmp_path / "b") as second:
        servers = (first, second)[:up]
        batch = Batch(tmp_path / "night", (*(server.url for server in servers), gone))
        end = batch.run()
    assert end.code == 0, end.err
    assert f"{gone} is away: 127.0.0.1" in end.err
    assert_home(batch.home, batch.wanted)
    assert twice(_events(*servers)) == {}
    assert all(_first_post(server) < _SOON for server in servers)


def test_a_server_that_hangs(tmp_path: Path) -> None:
    """Beside one that takes connections and never answers, the other renders everything and the run ends well."""
    with proxied(tmp_path / "a") as up, closing(socket.create_server(("127.0.0.1", 0))) as hung:
        batch = Batch(tmp_path / "night", (up.url, f"http://127.0.0.1:{hung.getsockname()[1]}"))
        end = batch.run()
    assert end.code == 0, end.err
    assert_home(batch.home, batch.wanted)
    assert _first_post(up) < _SOON


def test_what_a_late_server_holds(tmp_path: Path) -> None:
    """A server that could not be asked at the start is asked when it is back; what it holds is not rendered twice."""
    with proxied(tmp_path / "a", seconds=1.0) as late, proxied(tmp_path / "b", seconds=1.0) as other:
        rules = {"order": "breadth"}  # the other server has other jobs to begin with
        prompts = ("cat-1", "cat-2", "cat-3", "cat-4")
        batch = Batch(tmp_path / "night", (late.url,), prompts, rules=rules)
        with batch.start("--only", "seed=8", "--limit", "2") as running:
            late.until("posted", 2)
            running.kill()
        shutil.rmtree(batch.home)
        late.close()
        batch.servers = (late.url, other.url)
        batch.write()
        with batch.start() as running:
            other.until("started", 2)
            late.open()
            end = running.end()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert twice(_events(late, other)) == {}


# -- 2: a server that is gone for good


def test_a_server_is_gone_for_good(tmp_path: Path) -> None:
    """What a server held that no longer exists and is no longer named is rendered elsewhere, and costs no attempt."""
    with proxied(tmp_path / "a", seconds=_LONG) as gone, proxied(tmp_path / "b") as other:
        batch = Batch(tmp_path / "night", (gone.url,))
        with batch.start() as running:
            gone.until("posted", 2)
            running.kill()
        gone.close()
        end = batch.run("--server", other.url)
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert twice(_events(other)) == {}
        assert _spent(batch) == [1] * 6


def test_one_of_two_servers_dies(tmp_path: Path) -> None:
    """What a named server held that is away for longer than `patience` goes to the one that works, for no attempt."""
    with proxied(tmp_path / "a", seconds=_LONG) as gone, proxied(tmp_path / "b") as other:
        batch = Batch(tmp_path / "night", (gone.url, other.url), rules={"patience": "3s"})
        with batch.start() as running:
            gone.until("posted", 2)
            gone.close()
            end = running.end()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert twice(_events(other)) == {}
        assert _spent(batch) == [1] * 6


# -- 3: a proxy's 404 is no proof


def test_a_page_instead_of_every_file(tmp_path: Path) -> None:
    """A proxy's 404 page on /view costs no render, and a new run asks for no file before its first good poll."""
    with proxied(tmp_path / "server") as server:
        batch = Batch(tmp_path / "night", (server.url,), seeds=(7,))
        server.fail(faults.page(404, "Not Found"), VIEW)
        with batch.start() as running:
            server.until("succeeded", 3)
            server.until_asked(VIEW, 4)
            running.kill()
        before = len(server.requests)
        server.fail(_BAD_GATEWAY.first(3), QUEUE)
        with batch.start() as running:
            until(lambda: any(request.kind == VIEW for request in server.requests[before:]), "no GET")
            server.mend()
            end = running.end()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert len(server.events("rendered")) == 3
        assert _spent(batch) == [1] * 3
        again = [(request.kind, request.status) for request in server.requests[before:]]
        assert (QUEUE, 502) in again
        assert again.index((QUEUE, 200)) < [kind for kind, _ in again].index(VIEW)


# -- 4: strangers with heavy prompts


def test_strangers_with_heavy_prompts(tmp_path: Path) -> None:
    """Among sixty prompts of 150 kB each, in the queue and then in the history, our videos are found and come home."""
    with proxied(tmp_path / "server", seconds=0.4) as server:
        for number in range(60):
            server.post({**other_user.prompt(number), "extra_data": {"extra_pnginfo": {"workflow": _editor(150_000)}}})
        batch = Batch(tmp_path / "night", (server.url,), seeds=(7,), rules={"poll": "500ms"})
        end = batch.run()
        assert end.code == 0, end.err
        assert "is away" not in end.err
        assert_home(batch.home, batch.wanted)
        assert [event["what"] for event in ours(server.events("posted", "succeeded"))].count("posted") == 3


# -- 5: prompts that succeed and bring nothing


_TEMPORARY = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
_UNSAVED = {
    "class_type": "VHS_VideoCombine",
    "inputs": {
        "images": ["8", 0],
        "frame_rate": 16,
        "loop_count": 0,
        "filename_prefix": "x",
        "format": "video/h264-mp4",
        "pingpong": False,
        "save_output": False,
    },
}


_OTHERS = {
    "glb": b"glTF\x02\0\0\0\x30\0\0\0\x1c\0\0\0JSON" + b'{"asset":{"version":"2.0"}} ',
    "txt": b"a caption\n",
}


@pytest.mark.parametrize("node", telling((_TEMPORARY, _UNSAVED), most=(_UNSAVED,)), ids=lambda node: node["class_type"])
def test_a_workflow_that_saves_nothing(tmp_path: Path, node: dict[str, Any]) -> None:
    """A workflow that can be seen to keep no file is refused with exit 2 and the node's name, and nothing is sent."""
    with proxied(tmp_path / "server") as server:
        _own(tmp_path, server, node)
        end = ended(tmp_path, "run", "own.yaml")
        assert end.code == 2, end.err
        assert f"node 49 ({node['class_type']})" in end.err
        assert server.requests == []


def test_every_prompt_leaves_nothing(tmp_path: Path) -> None:
    """Twelve jobs whose prompts succeed with temporary files only end after three renders, exit 3, with that reason."""
    with proxied(tmp_path / "server", seconds=0.5) as server:
        for kind in (ENTRY, LIST):
            server.rewrites[kind] = lambda said: said.replace(b'"type": "output"', b'"type": "temp"')
        batch = Batch(tmp_path / "night", (server.url,), _TWELVE)
        end = batch.run()
        assert end.code == 3, end.err
        assert "three different jobs came to nothing alike" in end.err
        assert "left no file of type output" in end.err
        assert len(server.events("posted")) == 3


def test_every_file_is_refused(tmp_path: Path) -> None:
    """Twelve jobs whose files nobody may download end after the third lost file, exit 3, with that reason."""
    with proxied(tmp_path / "server", seconds=1.0) as server:
        server.fail(faults.denial(403), VIEW)
        batch = Batch(tmp_path / "night", (server.url,), _TWELVE)
        end = batch.run()
        assert end.code == 3, end.err
        assert "three different jobs came to nothing alike" in end.err
        assert "refused access (403), though the queue answers" in end.err
        # A file is lost when a second GET is refused as well, a second later: meanwhile the next job may begin.
        assert len(server.events("posted")) <= 6


def test_files_are_refused_for_a_while(tmp_path: Path) -> None:
    """Once a job of the batch was well, a server whose files are refused rests, one job tries, and all comes home."""
    with proxied(tmp_path / "server") as server:
        batch = Batch(tmp_path / "night", (server.url,), rules={"attempts": "10", "depth": "1"})
        with batch.start() as running:
            running.hear("saved")
            server.fail(faults.denial(403), VIEW)
            running.hear("it gets one more in")
            server.mend()
            end = running.end()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)


@pytest.mark.parametrize("suffix", telling(_OTHERS, most=("glb",)))
def test_files_of_other_kinds(tmp_path: Path, suffix: str) -> None:
    """Models and texts of type output come home as they are, byte for byte, under their own suffix."""
    content = _OTHERS[suffix]
    with proxied(tmp_path / "server") as server:
        server.rewrites = {
            kind: lambda said: said.replace(b"_.mp4", f"_.{suffix}".encode()) for kind in (ENTRY, LIST)
        } | {VIEW: lambda _: content}
        server.renames = (f".{suffix}", ".mp4")
        batch = Batch(tmp_path / "night", (server.url,), ("cat-1",))
        end = batch.run()
        assert end.code == 0, end.err
        assert {path.name for path in batch.home.glob(f"cat*.{suffix}")} == {f"cat-1-s7.{suffix}", f"cat-1-s8.{suffix}"}
        assert {path.read_bytes() for path in batch.home.glob(f"cat*.{suffix}")} == {content}
        assert len(server.events("rendered")) == 2


# -- 6: refusals of one prompt, one poll, one token


def test_a_firewall_dislikes_a_text(tmp_path: Path) -> None:
    """Jobs whose text a web firewall refuses fail with its page's title as the reason; the others are home."""
    with proxied(tmp_path / "server") as server:
        batch = Batch(tmp_path / "night", (server.url,))
        server.fail(faults.page(403, "Request blocked").against('"cat-2"'), PROMPT)
        end = batch.run()
        assert end.code == 1, end.err
        assert "Request blocked" in end.err
        jobs = {(job["params"]["prompt"], job["params"]["seed"]): job for job in batch.status()["jobs"]}
        for (text, _), job in jobs.items():
            assert job["state"] == ("failed" if text == "cat-2" else "done")
            assert text != "cat-2" or "Request blocked" in job["why"]
        assert_home(batch.home, {name: what for name, what in batch.wanted.items() if what[0] != "cat-2"})
        assert len(server.events("posted")) == 4


def test_two_challenge_pages(tmp_path: Path) -> None:
    """Two 403 pages on polls a second apart, with a prompt out, do not end the night."""
    with proxied(tmp_path / "server") as server:
        batch = Batch(tmp_path / "night", (server.url,), ("cat-1",), rules={"poll": "1s", "grace": "15s"})
        with batch.start() as running:
            server.until("started")
            server.fail(faults.page(403, "Just a moment...").first(2), QUEUE)
            end = running.end()
        assert end.code == 0, end.err
        assert [poll.status for poll in server.of(QUEUE)].count(403) == 2
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_denied_from_the_start(tmp_path: Path) -> None:
    """A new batch whose token is refused ends at once with 3, a message, and nothing sent."""
    with proxied(tmp_path / "server") as server:
        server.fail(faults.denial(401))
        batch = Batch(tmp_path / "night", (server.url,), rules={"grace": "60s"})
        end = batch.run()
        assert end.code == 3, end.err
        assert re.search(rf"{server.url} refuses the token \(.+\(401\)\).*: correct BATCHRUNNER_TOKEN", end.err)
        assert server.requests[-1].at - server.requests[0].at < _SOON
        assert server.of(PROMPT) == server.events() == []


def test_too_many_requests(tmp_path: Path) -> None:
    """After a 429 no POST goes out before its Retry-After is over; it fails no job and costs no attempt."""
    with proxied(tmp_path / "server") as server:
        server.fail(faults.too_many(2).first(1), PROMPT)
        batch = Batch(tmp_path / "night", (server.url,), rules={"depth": "1"})
        end = batch.run()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert _spent(batch) == [1] * 6
        refused, first = server.of(PROMPT)[:2]
        assert first.at - refused.at >= 1.9


# -- 7: servers that fail for a while, or now and then


def test_the_next_poll_after_a_burst(tmp_path: Path) -> None:
    """With prompts out a server that only fails is asked again every five seconds at the latest."""
    with proxied(tmp_path / "server", seconds=0.5) as server:
        batch = Batch(tmp_path / "night", (server.url,), ("cat-1",), rules={"poll": "1s"})
        with batch.start() as running:
            server.until("started")
            server.fail(_BAD_GATEWAY)
            server.until_asked(QUEUE, status=502)
            first = next(poll.at for poll in server.of(QUEUE) if not poll.passed)
            until(lambda: server.of(QUEUE)[-1].at >= first + 6.0, "no more polls")
            server.mend()
            end = running.end()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}
        times = [poll.at for poll in server.of(QUEUE) if poll.at >= first]
        assert max(after - before for before, after in pairwise(times)) < 6.0


@pytest.mark.parametrize("prompts", telling((_TWELVE[:1], _TWELVE), most=(_TWELVE[:1],)), ids=len)
def test_one_request_in_three_fails(tmp_path: Path, prompts: tuple[str, ...]) -> None:
    """Behind a proxy that fails one request in three, everything comes home and nothing is rendered twice."""
    with proxied(tmp_path / "server") as server:
        server.fail(_BAD_GATEWAY.one_in(3))
        batch = Batch(tmp_path / "night", (server.url,), prompts)
        end = batch.run()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert len(server.events("rendered")) == len(batch.wanted)
        assert set(_spent(batch)) == {1}


# -- 9: a server that offers what the document lists, and nothing else


def test_the_six_endpoints_of_the_document(tmp_path: Path) -> None:
    """Without the list of the history, or of the nodes, everything comes home, also for a runner killed midway."""
    with proxied(tmp_path / "server", seconds=0.3) as server:
        server.fail(Fault(404, "404: Not Found", "text/plain"), LIST, NODES, OTHER)
        batch = Batch(tmp_path / "night", (server.url,), seeds=(7,))
        with batch.start() as running:
            server.until("succeeded")
            running.kill()
        end = batch.run()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert len(server.events("rendered")) == 3
        assert {request.kind for request in server.requests if request.passed} <= {
            *(PROMPT, QUEUE, ENTRY, VIEW, INTERRUPT, DELETE)
        }


# -- 11: each as a person would expect


def test_an_untrusted_certificate(tmp_path: Path) -> None:
    """A new batch whose only server has a certificate that nobody signed ends at once with 2, and says so."""
    (tmp_path / "server.pem").write_text(certificates.KEY + certificates.SOUND, encoding="ascii")
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(tmp_path / "server.pem")
    with proxied(tmp_path / "server", tls=shown) as server:
        batch = Batch(tmp_path / "night", (server.url,))
        end = batch.run()
        assert end.code == 2, end.err
        assert f"{server.url}: 127.0.0.1:{server.port} has a certificate that can't be trusted" in end.err
        assert server.requests == []


def test_a_proxys_own_400_page(tmp_path: Path) -> None:
    """A proxy's 400 page on /view is the proxy's trouble: the file is asked for again, nothing is rendered twice."""
    with proxied(tmp_path / "server") as server:
        server.fail(faults.page(400, "Bad Request").first(3), VIEW)
        batch = Batch(tmp_path / "night", (server.url,), seeds=(7,))
        end = batch.run()
        assert end.code == 0, end.err
        assert_home(batch.home, batch.wanted)
        assert len(server.events("rendered")) == 3
        assert _spent(batch) == [1] * 3


def test_accepted_in_part_and_running(tmp_path: Path) -> None:
    """A prompt that was queued without our output is interrupted by id if it runs already, and its job fails."""
    complaint = {"type": "value_not_in_list", "message": "Value not in list", "details": "codec", "extra_info": {}}
    wrong = {"15": {"errors": [complaint], "dependent_outputs": ["15"], "class_type": "SaveVideo"}}
    with proxied(tmp_path / "server", seconds=20.0) as server:
        server.rewrites[PROMPT] = lambda said: json.dumps(json.loads(said) | {"node_errors": wrong}).encode()
        batch = Batch(tmp_path / "night", (server.url,), ("cat-1",), seeds=(7,))
        end = batch.run()
        assert end.code == 1, end.err
        assert "Value not in list (codec)" in end.err
        assert len(server.of(INTERRUPT)) == 1
        server.until("interrupted")
        assert len(server.events("posted")) == 1
        assert server.events("rendered") == []


# -- what is looked at


def _events(*servers: Proxy) -> list[dict[str, Any]]:
    """Return what happened on several servers."""
    return [event for server in servers for event in server.events()]


def _first_post(server: Proxy) -> float:
    """Return how many seconds after the first request of all the first POST came."""
    return server.of(PROMPT)[0].at - server.requests[0].at


def _spent(batch: Batch) -> list[int]:
    """Return how many attempts each job has spent, by its ledger; fail if that can't be true."""
    snapshot = Ledger.read(batch.home)
    assert snapshot is not None
    return [state.past.spent for state in folded(snapshot.jobs, snapshot.facts).values()]


def _editor(size: int) -> list[list[int]]:
    """Return about `size` bytes of the many small values that ComfyUI's editor sends along."""
    return [[number % 10] * 10 for number in range(size // 32)]


def _own(folder: Path, server: Proxy, node: dict[str, Any]) -> None:
    """Write a manifest for a workflow of one's own that ends in `node`."""
    graph = json.loads((_JOBS / "wan_api.json").read_text(encoding="utf-8"))
    del graph["48"]
    graph["49"] = node
    (folder / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    (folder / "own.yaml").write_text(
        f"name: own\nserver: {server.url}\nttl: none\nsettle: 1s\ngrace: 1s\npoll: 50ms\nworkflow: own.json\n"
        'params: {prompt: "6.text", seed: KSampler.seed, steps: KSampler.steps, width: "40.width",'
        ' height: "40.height", length: "40.length"}\n'
        "defaults: {size: 256x160, length: 5, steps: 2}\n"
        "sweep: {prompt: [a kite, a train], seed: [1, 2]}\n",
        encoding="utf-8",
    )
