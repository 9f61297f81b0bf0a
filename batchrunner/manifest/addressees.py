"""Whom a manifest wants told: each by one way, and no secret among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.manifest.batch import Addressee
from batchrunner.manifest.check import check, join
from batchrunner.manifest.forms import NO_URL, Target
from batchrunner.manifest.tree import Items, Leaf, Table

if TYPE_CHECKING:
    from batchrunner.manifest.complaints import Complaints
    from batchrunner.manifest.tree import Tree

_MOST = 16
_WAYS = ("url_env", "apprise_env", "command")
_ONE_OF = "url_env (a variable's name), apprise_env or command"


def read_addressees(tree: Tree, complaints: Complaints) -> tuple[Addressee, ...]:
    """Return what `notify` says: a target, or a list of them. What is wrong is complained about, and left out."""
    if not isinstance(tree, Items):
        found = [_addressee(tree, "notify", complaints)]
    else:
        if not 1 <= len(tree.items) <= _MOST:
            complaints.add(tree.spot, "notify", f"must be 1 to {_MOST} targets, not {len(tree.items)}")
        found = [_addressee(item, join("notify", index), complaints) for index, item in enumerate(tree.items[:_MOST])]
    return tuple(addressee for addressee in found if addressee)


def _addressee(tree: Tree, path: str, complaints: Complaints) -> Addressee | None:
    if isinstance(tree, Leaf):
        # What stands there is not repeated: it may be a URL.
        complaints.add(tree.spot, path, NO_URL if "://" in tree.text else f"must be a mapping with {_ONE_OF}")
        return None
    if isinstance(tree, Table) and "url" in tree.entries:
        complaints.add(tree.entries["url"].spot, join(path, "url"), f"is url_env: {NO_URL}")
        return None
    target = check(Target, tree, path, complaints)
    if target is None:
        return None
    ways = [way for way in _WAYS if getattr(target, way)]
    if len(ways) != 1:
        complaints.add(tree.spot, path, f"needs exactly one of {_ONE_OF}")
    if target.topic and not target.url_env:
        complaints.add(tree.spot, join(path, "topic"), "goes with url_env only")
    return Addressee(target.url_env, target.apprise_env, target.command, target.topic, frozenset(target.on))
