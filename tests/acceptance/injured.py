"""The command with one function replaced by one that raises, quoting the token as badly as an error can.

`python injured.py batchrunner.engine:Engine.run run night.yaml` breaks `Engine.run`; for tests only.
"""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module
from operator import attrgetter

from batchrunner.cli import main


def injure(target: str) -> None:
    """Replace `module:name` or `module:Class.name`."""
    module, _, path = target.partition(":")
    above, _, name = path.rpartition(".")
    owner = import_module(module)
    if above:
        owner = attrgetter(above)(owner)

    def broken(*_: object, **__: object) -> None:
        token = os.environ["BATCHRUNNER_TOKEN"]
        raise RuntimeError(f"<Request headers={{'Authorization': 'Bearer {token}'}}>")

    async def broken_later(*_: object, **__: object) -> None:
        broken()

    setattr(owner, name, broken_later if inspect.iscoroutinefunction(getattr(owner, name)) else broken)


if __name__ == "__main__":
    injure(sys.argv.pop(1))
    main()
