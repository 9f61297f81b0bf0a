"""The limit of open files, in a process of its own each."""

from __future__ import annotations

import subprocess
import sys

_TAKE = """
import resource, sys
from batchrunner.process import raise_file_limit
soft, hard, servers = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
found = raise_file_limit(servers, 64)
print(found.downloads, *resource.getrlimit(resource.RLIMIT_NOFILE), bool(found.warning))
"""


def take(soft: int, hard: int, servers: int) -> str:
    """Return the downloads, the limits afterwards, and whether a person is warned."""
    command = [sys.executable, "-c", _TAKE, str(soft), str(hard), str(servers)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def test_the_soft_limit_is_raised_as_far_as_needed() -> None:
    """A hundred servers need 764 open files, and get them where the hard limit allows it."""
    assert take(256, 1024, 100) == "200 764 1024 False"


def test_a_limit_that_is_high_enough_stays() -> None:
    """Few servers change nothing."""
    assert take(512, 1024, 3) == "64 512 1024 False"


def test_a_low_hard_limit_means_fewer_downloads() -> None:
    """A hundred servers get as many downloads as the hard limit has room for, and a person is warned."""
    assert take(256, 400, 100) == "18 400 400 True"
