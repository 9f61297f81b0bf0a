"""Notifications: tells people about a batch by webhook, command or apprise, and never delays or harms the batch."""

from batchrunner.notify.messages import EventFilter, Kind, Message
from batchrunner.notify.notifier import Notifier, Target, Timing, Undelivered, targets

__all__ = ["EventFilter", "Kind", "Message", "Notifier", "Target", "Timing", "Undelivered", "targets"]
