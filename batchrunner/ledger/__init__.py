"""The memory of a batch: SQLite, facts in and a fold out, and the lock that keeps a second runner away."""

from __future__ import annotations

from batchrunner.ledger.codec import StateError
from batchrunner.ledger.lock import hold
from batchrunner.ledger.store import Ledger, Snapshot

__all__ = ["Ledger", "Snapshot", "StateError", "hold"]
