"""Named sets of values: those that come with ltx2 (API.md, "Generation Quality", "Common Resolutions")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar

BUILT_IN: Mapping[str, Mapping[str, Mapping[str, Scalar]]] = {
    "quality": {
        "fast": {"steps": 20, "cfg": 4.0},
        "balanced": {"steps": 30, "cfg": 5.0},
        "high": {"steps": 40, "cfg": 6.0},
    },
    "size": {
        "sd": {"width": 768, "height": 512},
        # 1280x720, as people call it, is rendered 704 high (PROTOCOL.md §1, 13).
        "720p": {"width": 1280, "height": 704},
        "1080p": {"width": 1920, "height": 1088},
    },
}
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def size_point(text: str) -> dict[str, int] | None:
    """Return what `WxH` sets, or None when it is not that."""
    found = _SIZE.fullmatch(text)
    return {"width": int(found[1]), "height": int(found[2])} if found else None
