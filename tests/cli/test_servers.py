"""Servers of a manifest: names, headers, certificates; and which host gets which secret."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from batchrunner import consent
from batchrunner.comfy.secret import Secret
from batchrunner.core.facts import Lost, Why
from batchrunner.core.settings import Rules
from batchrunner.errors import ManifestError, YoursError
from batchrunner.manifest import Batch, Options, load
from batchrunner.servers import UNREACHABLE, ServerAccess, variables

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = Secret("t0p-s3cret")
POD = '{url: "https://pod.example.net/comfy/", headers: {X-API-Key: "${POD_KEY}", X-User: me}, ttl: none, depth: 4}'


def batch(folder: Path, server: str, *named: str) -> Batch:
    """Load a manifest with this `server`, the command line's `named` instead."""
    path = folder / "m.yaml"
    path.write_text(f"name: t\nserver: {server}\nworkflow: ltx2\nsweep: {{prompt: a}}\n", encoding="utf-8")
    return load(path, Options(servers=named))


def wrong(folder: Path, server: str) -> str:
    """Return the one diagnostic of this `server`, without the file."""
    with pytest.raises(ManifestError) as error:
        batch(folder, server)
    (line,) = str(error.value).splitlines()
    return line.partition("m.yaml:")[2]


def test_a_server_with_its_own_settings(tmp_path: Path) -> None:
    """A mapping says where a server is, what it is sent, and what differs there; its path prefix is kept."""
    found = batch(tmp_path, f"[http://gpu:8188, {POD}]")
    assert found.servers == ("http://gpu:8188", "https://pod.example.net/comfy")
    assert found.server_rules() == {
        "http://gpu:8188": Rules(),
        "https://pod.example.net/comfy": Rules(ttl=None, depth=4, max_depth=4),
    }


def test_a_server_has_a_name(tmp_path: Path) -> None:
    """A server that changes its address keeps its name, and `--server` knows it by both."""
    manifest = "[{url: http://a:1, name: gpu-1}, {url: http://b:1, name: gpu-2}]"
    assert batch(tmp_path, manifest).servers == ("gpu-1", "gpu-2")
    assert batch(tmp_path, manifest, "gpu-2").server_settings["gpu-2"].url == "http://b:1"
    assert batch(tmp_path, manifest, "http://b:1/").servers == ("gpu-2",)
    assert batch(tmp_path, manifest, "http://c:1").servers == ("http://c:1",)


def test_a_single_mapping_needs_no_brackets(tmp_path: Path) -> None:
    """One server may be one mapping."""
    assert batch(tmp_path, POD).servers == ("https://pod.example.net/comfy",)


@pytest.mark.parametrize(
    ("server", "diagnostic"),
    [
        ("{url: ftp://a}", '2:15: server.url: must be sim, or begin with http:// or https://, not "ftp://a"'),
        ("{url: http://a, tll: 1m}", "2:25: server.tll: unknown key - did you mean ttl?"),
        ("{name: x}", "2:9: server.url: is required"),
        ("[http://a, {url: http://b, depth: 0}]", "2:43: server[1].depth: must be at least 1, not 0"),
        (
            "{url: http://a, headers: {Authorization: Bearer abc}}",
            (
                "2:34: server.headers: the value of Authorization is a secret: put it in an environment variable, "
                "and write ${NAME} here"
            ),
        ),
        (
            "{url: http://a, headers: {Host: b}}",
            '2:34: server.headers: has no header "Host": it is not a header\'s name, or batchrunner sets it itself',
        ),
        (
            "[{url: http://a, name: x}, {url: http://b, name: x}]",
            '2:36: server[1]: two servers are called "x": give them different names',
        ),
        ("{url: sim, depth: 3}", "2:9: server: sim takes no settings: write it alone"),
        (
            "{url: http://a, name: sim}",
            "2:9: server: the name sim belongs to the built-in simulator: give it another",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, server: str, diagnostic: str) -> None:
    """Every mistake is one line with its place and its cure."""
    assert wrong(tmp_path, server) == diagnostic


def test_a_secret_goes_where_it_is_named_for(tmp_path: Path) -> None:
    """The token goes to servers without headers of their own; a variable to its server; neither to any other host."""
    access = ServerAccess(batch(tmp_path, f"[http://gpu:8188, {POD}, sim]"), TOKEN, {"POD_KEY": " p0d-s3cret\n"})
    assert access.credentials("http://gpu:8188").headers() == {"Authorization": "Bearer t0p-s3cret"}
    assert access.credentials("https://pod.example.net/comfy").headers() == {"X-API-Key": "p0d-s3cret", "X-User": "me"}
    assert access.credentials("sim").headers() == {}
    assert access.credentials("http://evil:8188").headers() == {}
    assert access.secrets == ("t0p-s3cret", "p0d-s3cret")
    assert "s3cret" not in repr(access.credentials("http://gpu:8188"))


def test_a_bearer_from_a_variable(tmp_path: Path) -> None:
    """`Bearer ${NAME}` is filled in, and only the variable's value is the secret."""
    server = '{url: http://a, headers: {Authorization: "Bearer ${KEY}"}}'
    access = ServerAccess(batch(tmp_path, server), None, {"KEY": "abcdefgh"})
    assert access.credentials("http://a").headers() == {"Authorization": "Bearer abcdefgh"}
    assert access.secrets == ("abcdefgh",)


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    """Variables that are not set and certificates that can't be read are told together, before anything is sent."""
    servers = f"[{POD}, {{url: https://b, ca: no.pem}}]"
    with pytest.raises(YoursError) as error:
        ServerAccess(batch(tmp_path, servers), None, {})
    assert [line.partition(": ")[2] for line in str(error.value).splitlines()] == [
        "the environment variable POD_KEY is not set; the header X-API-Key needs it",
        f"ca {tmp_path / 'no.pem'}: No such file or directory",
    ]


def test_certificates_lie_beside_the_manifest(tmp_path: Path) -> None:
    """A manifest's `ca` may not lead out of its folder."""
    assert "leads outside the manifest's folder" in wrong(tmp_path, "{url: https://b, ca: ../ca.pem}")


def test_sending_a_variable_needs_consent(tmp_path: Path) -> None:
    """Which variable goes to which host is agreed to, and asked again for another host."""
    found = batch(tmp_path, POD)
    assert list(variables(found)) == [("POD_KEY", "https://pod.example.net", "X-API-Key")]
    (line,) = consent.requests(found)
    assert line == "send the environment variable POD_KEY to https://pod.example.net, in the header X-API-Key"
    other = consent.requests(batch(tmp_path, POD.replace("pod.example", "evil.example")))
    plain = consent.requests(batch(tmp_path, POD.replace("https:", "http:")))
    assert len({consent.mark(request) for request in (line, *other, *plain)}) == 3


def test_a_state_from_elsewhere_agrees_to_nothing(tmp_path: Path) -> None:
    """What a downloaded state claims was agreed to counts only if this user said so on this machine."""
    (line,) = consent.requests(batch(tmp_path, POD))
    forged = {f"allowed {sha256(line.encode()).hexdigest()}": True}
    with pytest.raises(YoursError, match="--allow-commands"):
        consent.obtain((line,), forged, allowed=False)
    assert consent.obtain((line,), {consent.mark(line): True}, allowed=False) == ()


def test_a_server_that_lost_its_name_is_found_where_it_was(tmp_path: Path) -> None:
    """A run remembers where its named servers are, so that no later one renders what they hold a second time."""
    first = ServerAccess(batch(tmp_path, "{url: http://a:1, name: pod}"), TOKEN, {})
    later = ServerAccess(batch(tmp_path, "{url: http://a:1, name: pod2}"), TOKEN, {})
    later.remember(first.places())
    assert (later.url("pod"), later.is_named("pod")) == ("http://a:1", True)
    other = ServerAccess(batch(tmp_path, "http://b:1"), TOKEN, {})
    other.remember(first.places())
    assert (other.url("pod"), other.is_named("pod")) == ("http://a:1", False)
    assert other.credentials("pod").headers() == {}


def test_a_header_that_holds_a_space(tmp_path: Path) -> None:
    """A variable with `Bearer ` in it is told with its name, its header and the cure."""
    with pytest.raises(YoursError, match="POD_KEY, for the header X-API-Key, holds a space"):
        ServerAccess(batch(tmp_path, POD), None, {"POD_KEY": "Bearer abcdefgh"})


def test_an_address_that_nobody_knows(tmp_path: Path) -> None:
    """A server that the manifest no longer names goes by its name if that is an address; else it can't be reached."""
    access = ServerAccess(batch(tmp_path, "http://a"), TOKEN, {})
    assert (access.url("http://b:1"), access.url("gpu-2")) == ("http://b:1", UNREACHABLE)
    assert not access.is_named("http://b:1")


def test_a_server_that_was_given_a_name_is_the_same_host(tmp_path: Path) -> None:
    """What an earlier run called by its URL gets the credentials of the server that has this URL now."""
    access = ServerAccess(batch(tmp_path, "{url: http://a:1, name: gpu-1}"), TOKEN, {})
    assert access.is_named("http://a:1")
    assert access.credentials("http://a:1").headers() == {"Authorization": "Bearer t0p-s3cret"}


def test_a_secret_without_encryption_is_told(tmp_path: Path) -> None:
    """Whoever sends a secret over plain HTTP is told, unless it stays on this machine."""
    servers = '[http://gpu:8188, https://gpu, http://127.0.0.1:1, "http://[::1]:1", http://localhost:1, sim]'
    found = batch(tmp_path, servers)
    assert list(ServerAccess(found, TOKEN, {}).insecure()) == [
        "http://gpu:8188: the token is sent unencrypted, others on the network can read it; use https"
    ]
    assert list(ServerAccess(found, None, {}).insecure()) == []


def test_no_fact_holds_a_secret(tmp_path: Path) -> None:
    """What a server slipped into a fact all the same is taken out before anything is written; a short token is not."""
    fact = Lost("0" * 12, 1, 0.0, Why.ERROR, "said t0p-s3cret", burns=True, final=False, error="t0p-s3cret #3")
    access = ServerAccess(batch(tmp_path, "http://a"), TOKEN, {})
    assert access.redact(fact) == replace(fact, message="said ***", error="*** #3")
    assert ServerAccess(batch(tmp_path, "http://a"), Secret("0"), {}).redact(fact) == fact


def test_a_machine_without_an_id_is_known_by_its_boot(tmp_path: Path) -> None:
    """Where the usual file is missing, empty or not filled in, as in containers, the next one counts."""
    boot, missing = tmp_path / "boot_id", tmp_path / "missing"
    boot.write_text("0b0c7a5e-1f3d-4b52-9a53-0d4f6f5c1c11\n", encoding="ascii")
    for content in ("", "uninitialized\n"):
        (tmp_path / "machine-id").write_text(content, encoding="ascii")
        found = consent.machine_id((missing, tmp_path / "machine-id", boot))
        assert found == "0b0c7a5e-1f3d-4b52-9a53-0d4f6f5c1c11"
    assert consent.machine_id((missing,)) == ""
    (tmp_path / "machine-id").write_text(f"{'a1' * 16}\n", encoding="ascii")
    assert consent.machine_id((tmp_path / "machine-id", boot)) == "a1" * 16
