"""Tells people about a batch by webhook, command or apprise, and runs `on_saved`; never delays or harms the batch."""

from batchrunner.notify.messages import EventFilter, Kind, Message
from batchrunner.notify.notifier import (
    Deliver,
    Notifier,
    Target,
    Timing,
    Undelivered,
    run_program,
    shared_environment,
    targets,
)
from batchrunner.notify.saved import SavedCommands, handled_mark, saved_json

__all__ = [
    "Deliver",
    "EventFilter",
    "Kind",
    "Message",
    "Notifier",
    "SavedCommands",
    "Target",
    "Timing",
    "Undelivered",
    "handled_mark",
    "run_program",
    "saved_json",
    "shared_environment",
    "targets",
]
