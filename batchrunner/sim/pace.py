"""How long things take on the simulated GPU. All times are seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from zlib import crc32

REFERENCE = 768 * 512 * 25
"""The volume (width x height x frames x batch) at which `Pace.step` is measured."""
REFERENCE_STEPS = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """What each kind of node costs, in seconds. The default is a demonstration: 1.5 s for 768x512x25 in 20 steps."""

    step: float = 1.5 / REFERENCE_STEPS
    """One sampler step at the reference volume."""
    exponent: float = 1.0
    """How a step grows with the volume: 1 is in proportion."""
    fixed: float = 0.0
    """What a sampler costs before its first step."""
    load: float = 0.0
    """A model loader."""
    encode: float = 0.0
    """A text encoder, per text."""
    decode: float = 0.0
    """A VAE decoder."""
    save: float = 0.1
    """Writing a file: for so long its first 48 bytes are all there is of it (PROTOCOL.md §1, 7)."""
    lag: float = 0.002
    """How long after `execution_success` the history entry appears (PROTOCOL.md §1, 17)."""
    noise: float = 0.1
    """Spread between samplers: up to so much longer or shorter, as a share. A property of the inputs, not of luck."""
    longest: float | None = 20.0
    """No sampler takes longer than this; None where there is no such mercy."""
    speed: float = 1.0
    """A GPU twice as fast has 2."""

    @classmethod
    def night(cls, speed: float = 1.0) -> Pace:
        """Return the pace of the deployed server: 5 minutes for 768x512 in 20 steps to 17 for 1920x1088 in 40.

        A minute to begin with and 12 s a step at 768x512x121 fit the figures of its document within a minute.
        """
        per_step = 12.0 * (25 / 121) ** 0.42
        return cls(
            step=per_step,
            exponent=0.42,
            fixed=60.0,
            load=5.0,
            encode=1.0,
            decode=8.0,
            save=4.0,
            longest=None,
            speed=speed,
        )

    @classmethod
    def instant(cls) -> Pace:
        """Return a pace at which nothing takes any time."""
        return cls(step=0.0, save=0.0, lag=0.0)

    def sampling(self, volume: int, steps: int, salt: str) -> float:
        """Return how long a sampler runs over `volume` in `steps`; equal `salt`, equal time."""
        wobble = 1.0 + self.noise * (crc32(salt.encode()) / 2**31 - 1.0)
        seconds = self.fixed + steps * self.step * math.pow(volume / REFERENCE, self.exponent) * wobble
        if self.longest is not None:
            seconds = min(seconds, self.longest)
        return seconds / self.speed

    def fixed_cost(self, kind: str) -> float:
        """Return how long a node of this kind (`load`, `encode`, `decode` or `save`) runs; any other takes no time."""
        costs = {"load": self.load, "encode": self.encode, "decode": self.decode, "save": self.save}
        return costs.get(kind, 0.0) / self.speed
