"""A server that is ill: it runs out of memory on whatever it is given."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batchrunner.sim.machine import NodeFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.sim.prompts import SimPrompt
    from batchrunner.sim.server import Simulator


def sick(until: float, name: str = "gpu-0") -> Callable[[Simulator], None]:
    """Return what makes one server run out of memory in every sampler, until a second of the loop's clock."""

    def strike(server: Simulator) -> None:
        def fault(prompt: SimPrompt, node: str) -> NodeFailure | None:
            inputs = prompt.workflow[node]
            kind = server.catalogue[str(inputs["class_type"])].kind if isinstance(inputs, dict) else ""
            ill = kind == "sample" and asyncio.get_running_loop().time() < until
            return NodeFailure.out_of_memory() if ill else None

        if server.folder.name == name:
            server.machine.fault = fault

    return strike
