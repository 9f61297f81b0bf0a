"""Seeds nobody has to think up: the same on every machine, and fair to compare by."""

from __future__ import annotations

import json
from hashlib import sha256


def derive(base: int, index: int, text: str | None = None) -> int:
    """Return the `index`th seed of `base` (0 to 2^64-1); with `text`, one of that text's own."""
    said = json.dumps([base, index] if text is None else [base, index, text])
    return int.from_bytes(sha256(said.encode()).digest()[:8], "big")
