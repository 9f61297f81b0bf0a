"""The page about the conditions of a server, printed from the tables in `core/health.py`."""

from __future__ import annotations

from pathlib import Path

from batchrunner.core.health import ALLOWED, NEXT, Condition, Event

PAGE = Path(__file__).parents[2] / "docs" / "health.md"
_HEAD = """# How a server does

A server is in one of seven conditions. What its answers say of it is an event: the first table holds what follows in
every condition, `-` where nothing changes; the second one what each condition allows. Printed from the code by
`python tests/core/health_page.py`, and a test keeps it current. No condition outlives a run: each run begins with
`unknown`. When a server is no longer waited for, and when what it holds is rendered elsewhere, is a matter of time as
well (`grace`, `patience`): see `core/health.py` and `core/giveup.py`.

"""


def document() -> str:
    """Return the page as it stands under `docs/`."""
    lines = [f"| | {' | '.join(Event)} |", "|---|" + "---|" * len(Event)]
    for condition in Condition:
        cells = (NEXT[condition].get(event, condition) for event in Event)
        lines.append(f"| **{condition}** | {' | '.join('-' if cell is condition else cell for cell in cells)} |")
    lines += ["", "| | polls | POSTs | downloads |", "|---|---|---|---|"]
    for condition in Condition:
        allowed = ALLOWED[condition]
        lines.append(
            f"| **{condition}** | {allowed.polls} | {allowed.posts} | {'yes' if allowed.downloads else 'none'} |"
        )
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
