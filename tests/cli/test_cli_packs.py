"""The first manifest of each workflow written after a public pack, run as `init` writes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from short_runs import URL_OF_SERVER, run_once, serving

from batchrunner.manifest import Options, load
from batchrunner.sim.record import What
from batchrunner.workflow import first_manifest, read_graph
from tests.lab.clock import VirtualLoop, run

if TYPE_CHECKING:
    from batchrunner.manifest import Batch

PACKS = sorted((Path(__file__).parent.parent / "workflow" / "packs").glob("*.json"))
LOADING = ("controlnet", "ltx_enhancer", "partner_node", "upscale_video", "wan_i2v_vhs")
"""Those that load a picture or a video."""
CONTENT = {"image": b"\x89PNG\r\n\x1a\n", "video": b"\x00\x00\x00\x20ftypisom"}
_OFFERED = re.compile(r"# ((image|video): \{files: \"\w+/\*\"\})")
"""What `init` writes for a loader, as a comment."""


def first_batch(folder: Path, pack: Path, *, own_files: bool) -> Batch:
    """Return the batch that `init` makes of a pack; `own_files` puts its comments about own files into force."""
    text = pack.read_text("utf-8")
    manifest = first_manifest(pack.name, read_graph(text))
    if own_files:
        manifest = _OFFERED.sub(r"\1", manifest)
        for kind, content in CONTENT.items():
            (folder / kind).mkdir()
            (folder / kind / "mine").write_bytes(content)
    (folder / pack.name).write_text(text, "utf-8")
    (folder / "first.yaml").write_text(manifest, "utf-8")
    return load(folder / "first.yaml", Options(servers=(URL_OF_SERVER,)))


def rendered(folder: Path, batch: Batch) -> tuple[int, int, int]:
    """Run a batch against a simulator in virtual time; return exit code, renders, and files that were uploaded."""

    async def main(loop: VirtualLoop) -> tuple[int, int, int]:
        async with serving(loop, folder / "gpu", strict=False) as server:
            code = await loop.spawn("runner").start(run_once(loop, batch, folder / "home"))
            return code, len(server.record.of(What.SUCCEEDED)), len(server.record.of(What.UPLOADED))

    return run(main, seed=1)


@pytest.mark.parametrize("pack", PACKS, ids=lambda pack: pack.stem)
def test_a_first_manifest_runs(tmp_path: Path, pack: Path) -> None:
    """As `init` writes it, a manifest runs to its end on the simulator: exit 0, and files of every job on this disk."""
    batch = first_batch(tmp_path, pack, own_files=False)
    assert rendered(tmp_path, batch) == (0, len(batch.jobs), 0)
    assert len(list((tmp_path / "home").glob("*.json"))) >= len(batch.jobs)


@pytest.mark.parametrize("name", LOADING)
def test_a_first_manifest_takes_own_files(tmp_path: Path, name: str) -> None:
    """With the line about own files in force, they are uploaded, and the run ends as well."""
    pack = next(pack for pack in PACKS if pack.stem == name)
    batch = first_batch(tmp_path, pack, own_files=True)
    assert len(batch.inputs) == 1
    assert rendered(tmp_path, batch) == (0, len(batch.jobs), 1)
