"""Runs by itself, as a program: hands one notice to apprise, which knows a hundred services.

Apprise waits and follows redirects as it likes and can't be stopped from within, so it gets a program of its own that
can be killed. On the input: `{"url": …, "notice": {"title", "message"}}`; the exit code says how it went.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import IO

UNDELIVERED, UNKNOWN, MISSING = 3, 4, 5
SAYS = {
    UNDELIVERED: "could not deliver",
    UNKNOWN: "does not understand the URL",
    MISSING: "is not installed: pip install 'batchrunner[notify]'",
}


def main(said: IO[bytes]) -> int:
    """Deliver what `said` holds; return 0 if it was."""
    asked = json.loads(said.read())
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        return MISSING
    services = apprise.Apprise()
    if not services.add(asked["url"]):
        return UNKNOWN
    notice = asked["notice"]
    return 0 if services.notify(title=notice["title"], body=notice["message"]) else UNDELIVERED


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer))
