"""Jobs: what the manifest asks for, one video (or image, or sound) each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Job:
    """One thing to render. Its identity is what would be rendered, not what it is called."""

    id: str
    """The first 12 hex digits of the digest (`identity.job_id`)."""
    digest: str
    """sha256 of the resolved workflow without any file prefix: equal digests are equal renders."""
    params: Mapping[str, Scalar]
    """Resolved values, the preset names and the own variables they came from."""
    file: str
    """Local name below the batch folder, `/` between folders, without an extension."""
    cost: float
    """Relative effort: width x height x frames x steps where the workflow has them, else 0."""
