"""The memory of a batch: SQLite, facts in and a fold out, and the lock that keeps a second runner away."""

from __future__ import annotations

from batchrunner.ledger.error import StateError
from batchrunner.ledger.lock import hold
from batchrunner.ledger.snapshot import Snapshot
from batchrunner.ledger.store import Ledger

__all__ = ["Ledger", "Snapshot", "StateError", "hold"]
