"""What is known about a batch, kept on disk: every fact in one SQLite file, and the lock that admits one runner."""

from __future__ import annotations

from batchrunner.ledger.codec import REBUILD, StateError
from batchrunner.ledger.lock import LOCK, STATE, Holder, hold, holder, is_held_by
from batchrunner.ledger.store import LEARNED_AGAIN, PLACE, Ledger, Snapshot

__all__ = [
    "LEARNED_AGAIN",
    "LOCK",
    "PLACE",
    "REBUILD",
    "STATE",
    "Holder",
    "Ledger",
    "Snapshot",
    "StateError",
    "hold",
    "holder",
    "is_held_by",
]
