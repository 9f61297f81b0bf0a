"""`--until 07:30`: how many seconds that is from now."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from batchrunner.errors import YoursError

_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def seconds_until(text: str, now: datetime) -> float:
    """Return the seconds from `now` (local, aware) to the next time the clock on the wall shows `text`, `07:30`.

    A night with a change to or from summer time is as long as it really is. Raises YoursError for anything else.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise YoursError(f"--until {text}: a time of day is wanted, such as 07:30")
    local = now.replace(tzinfo=None)
    then = local.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
    if then <= local:
        then += timedelta(days=1)
    return (then.astimezone() - now).total_seconds()


def local_now() -> datetime:
    """Return the time of day here."""
    return datetime.now().astimezone()
