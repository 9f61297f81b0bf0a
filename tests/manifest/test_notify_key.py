"""Whom a manifest wants told, and of what."""

from __future__ import annotations

from manifests import batch, diagnostics

from batchrunner.consent import requests
from batchrunner.manifest.batch import Recipient

SWEEP = "\nsweep: {prompt: a}\n"
ALL = frozenset({"finished", "failed", "stopped", "breaker", "stuck"})


def test_nobody_is_told_unless_said() -> None:
    """Without the key nobody is told."""
    assert batch(SWEEP).notify == ()


def test_one_target_or_several() -> None:
    """One target stands by itself, several in a list; unsaid, a target is told of everything."""
    hook = Recipient("HOOK", "", (), "cats", ALL)
    assert batch("notify: {url_env: HOOK, topic: cats}" + SWEEP).notify == (hook,)
    listed = "notify:\n- {apprise_env: APP, on: [failed]}\n- command: [say, 'a b', '-x']\n  on: stuck\n"
    assert batch(listed + SWEEP).notify == (
        Recipient("", "APP", (), "", frozenset({"failed"})),
        Recipient("", "", ("say", "a b", "-x"), "", frozenset({"stuck"})),
    )


def test_a_url_is_not_repeated() -> None:
    """Wherever a URL stands by mistake, it is refused without showing it: it is a secret by itself."""
    url = "'https://hooks.example/T0/s3cret'"
    for said in (url, f"{{url: {url}}}", f"{{url_env: {url}}}", f"[{url}]", f"{{apprise_env: {url}}}"):
        told = diagnostics(f"notify: {said}{SWEEP}")
        assert "secret" in told
        assert "s3cret" not in told


def test_targets_are_counted() -> None:
    """Nobody needs a thousand targets."""
    said = diagnostics("notify:\n" + "- {url_env: A}\n" * 17 + SWEEP)
    assert said.endswith("must be 1 to 16 targets, not 17")


def test_a_command_for_each_saved_file() -> None:
    """`on_saved` is a list, which no shell splits, and needs consent word by word."""
    saved = batch("on_saved: [cp, 'a b']" + SWEEP)
    assert saved.on_saved == ("cp", "a b")
    assert requests(saved) == ("run this command for each saved file: cp 'a b'",)
    assert "must be a list" in diagnostics("on_saved: cp {}" + SWEEP)
