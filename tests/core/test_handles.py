"""How many downloads are open at once, by the servers and by the files that this process may open."""

from __future__ import annotations

import pytest

from batchrunner.core.localfault import allot

ENOUGH = 1_048_576


@pytest.mark.parametrize(
    ("servers", "soft", "hard", "downloads", "limit"),
    [
        (1, 1024, ENOUGH, 64, 1024),
        (32, 1024, ENOUGH, 64, 1024),
        (100, 1024, ENOUGH, 200, 1024),
        (1000, 1024, ENOUGH, 2000, 7064),
        (1000, ENOUGH, ENOUGH, 2000, ENOUGH),
    ],
)
def test_downloads_grow_with_the_servers(servers: int, soft: int, hard: int, downloads: int, limit: int) -> None:
    """Two per server, 64 at least; the limit of open files is raised only where it is too low."""
    found = allot(servers, 64, soft, hard)
    assert (found.downloads, found.limit, found.warning) == (downloads, limit, "")


def test_a_hard_limit_leaves_fewer_downloads_and_a_word() -> None:
    """What polls, POSTs and sockets need comes first; what is left is for downloads, and a person is told."""
    found = allot(1000, 64, 1024, 4096)
    assert (found.downloads, found.limit) == (516, 4096)
    assert found.warning == (
        "this machine allows 4096 open files and 1000 servers need 7064 (ulimit -n):"
        " downloads at once are limited to 516"
    )


def test_there_is_always_one_download() -> None:
    """A machine that has not even room for the polls still brings files home, one after the other."""
    assert allot(1000, 64, 256, 256).downloads == 1


def test_a_batch_that_wants_more_gets_more() -> None:
    """A higher number of downloads than two per server is kept."""
    assert allot(2, 500, ENOUGH, ENOUGH).downloads == 500
