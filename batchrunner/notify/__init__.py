"""Tells people who sleep: what matters of a batch, by webhook, command or apprise, and never at the batch's cost."""

from batchrunner.notify.notifier import Notifier
from batchrunner.notify.outbox import Target, Waits
from batchrunner.notify.targets import targets

__all__ = ["Notifier", "Target", "Waits", "targets"]
