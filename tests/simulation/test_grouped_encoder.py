"""What `grouped` saves on a server that keeps the last prompt's results and has a slow text encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.comfy.submission import post_body
from batchrunner.comfy.wire import parse
from batchrunner.manifest import Options, load
from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator
from tests.lab.clock import VirtualLoop, run

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = """
name: encoder
server: http://gpu
workflow: ltx2
order: {order}
defaults: {{width: 64, height: 64, length: 9, steps: 1, negative: blurry}}
sweep: {{seed: {{count: 5}}, prompt: [a cat, rain on a roof, a paper boat, a night train]}}
"""
_ENCODE = 1.0


def _encoding(folder: Path, order: str) -> float:
    """Return the seconds that the text encoder works for 4 prompts x 5 seeds in that order."""
    folder.mkdir()
    (folder / "m.yaml").write_text(_MANIFEST.format(order=order), encoding="utf-8")
    batch = load(folder / "m.yaml", Options())

    async def night(loop: VirtualLoop) -> float:
        simulator = Simulator(folder / "server", pace=Pace(encode=_ENCODE), wall=loop.wall)
        await simulator.start()
        for number, job in enumerate(batch.jobs):
            prompt = f"00000000-0000-5000-8000-{number:012}"
            status, _ = simulator.submit(parse(post_body(batch.graph(job, f"p{number}"), prompt, "me")))
            assert status == 200
        await simulator.idle()
        await simulator.stop()
        return len(list(simulator.record.of(What.ENCODED))) * _ENCODE

    return run(night, seed=0)


def test_grouped_spares_the_encoder_its_time(tmp_path: Path) -> None:
    """For 4 prompts x 5 seeds, `grouped` needs at least 1.5 times less encoder time than seed-major `listed`."""
    listed, grouped = _encoding(tmp_path / "listed", "listed"), _encoding(tmp_path / "grouped", "grouped")
    assert (listed, grouped) == (21.0, 5.0)
    assert listed >= 1.5 * grouped
