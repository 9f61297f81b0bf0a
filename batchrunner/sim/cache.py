"""The node cache: what a server remembers between prompts (PROTOCOL.md §2, §5)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

    from batchrunner.core.identity import Json

Shown: TypeAlias = "dict[str, Json]"
"""What a node shows in history: `{"images": [...]}` of a save node, empty for others."""
Mode: TypeAlias = Literal["classic", "lru", "none"]


class NodeCache:
    """Results by node signature. `classic` keeps the last prompt's nodes, `lru` the last `size`, `none` nothing."""

    def __init__(self, mode: Mode = "classic", size: int = 200) -> None:
        self.mode = mode
        self._size = size
        self._kept: OrderedDict[str, Shown] = OrderedDict()

    def begin(self, signatures: Collection[str]) -> None:
        """Start a prompt made of these nodes: in `classic` mode everything else is forgotten now."""
        if self.mode == "classic":
            for signature in [key for key in self._kept if key not in signatures]:
                del self._kept[signature]

    def get(self, signature: str) -> Shown | None:
        """Return what the node showed when it ran, or None when it must run."""
        if signature in self._kept:
            self._kept.move_to_end(signature)
        return self._kept.get(signature)

    def put(self, signature: str, shown: Shown) -> None:
        """Remember a node that ran."""
        if self.mode == "none":
            return
        self._kept[signature] = shown
        self._kept.move_to_end(signature)
        while self.mode == "lru" and len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, as `POST /free {"free_memory": true}` and a restart do."""
        self._kept.clear()
