"""Conditions of every frame: styles, their mix and strength, and emotions, as tracks in time.

Times are seconds from the start of the speech. Between the moments that a track names its values
are mixed linearly; before the first and after the last they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np

from core.emotions import EMOTIONS
from core.errors import IdiolectError


@dataclass(frozen=True)
class Track:
    """A row of values for every moment.

    Attributes:
        values: (K, D) float32; one row holds throughout. A row of one number may be given bare.
        times_s: (K,) when each row is reached, rising.
    """

    values: np.ndarray
    times_s: np.ndarray

    setting: ClassVar[str] = ""

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float32)
        values = values[:, None] if values.ndim == 1 else values
        times = np.atleast_1d(np.asarray(self.times_s, np.float64))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "times_s", times)
        if values.ndim != 2 or times.shape != (len(values),) or len(values) == 0:
            raise self.bad(f"one time for each row: {values.shape} and {times.shape}")
        if not (np.isfinite(values).all() and np.isfinite(times).all()):
            raise self.bad("finite numbers")
        if (np.diff(times) < 0).any():
            raise self.bad("rising times")

    @classmethod
    def constant(cls, row: np.ndarray | float) -> Self:
        """The same row throughout."""
        return cls(np.atleast_1d(np.asarray(row, np.float32))[None], np.zeros(1))

    @classmethod
    def of_frames(cls, rows: np.ndarray, fps: float) -> Self:
        """One row a frame: row i at i / fps seconds."""
        return cls(rows, np.arange(len(rows)) / fps)

    @property
    def is_constant(self) -> bool:
        """Whether one row holds throughout."""
        return len(self.values) == 1

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Values at these times: (len(times_s), D); (1, D) when constant."""
        if self.is_constant:
            return self.values
        after = np.searchsorted(self.times_s, times_s, side="right").clip(1, len(self.values) - 1)
        before = after - 1
        span = np.maximum(self.times_s[after] - self.times_s[before], 1e-9)
        share = ((times_s - self.times_s[before]) / span).clip(0.0, 1.0)
        return mix_styles(self.values[before], self.values[after], share)

    @classmethod
    def bad(cls, wanted: str) -> IdiolectError:
        """What is said of a track that does not hold what is wanted."""
        name = cls.setting or "value"
        return IdiolectError(
            f"a {name} track needs {wanted}", code=f"bad_{name}", setting=cls.setting
        )


class StyleTrack(Track):
    """A style code for every moment: rows of d_s numbers."""

    setting = "style"


class EmotionTrack(Track):
    """Intensities of `core.emotions.EMOTIONS` for every moment: rows of eight numbers, 0..1."""

    setting = "emotion"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.shape[1] != len(EMOTIONS):
            raise self.bad(f"{len(EMOTIONS)} intensities in a row, not {self.values.shape[1]}")
        if self.values.min() < 0.0 or self.values.max() > 1.0:
            raise self.bad("intensities of 0..1")


class Styles(Protocol):
    """What gives a style code for every moment."""

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Codes at these times: (len(times_s), d_s), or (1, d_s) when they do not change."""
        ...  # pragma: no cover (an interface)


STRONGEST = 2.0
"""The most that a style may be exaggerated."""


@dataclass(frozen=True)
class StyleControl:
    """Two styles, mixed and strengthened over time.

    Attributes:
        a: (d_s,) code.
        b: (d_s,) code.
        mean: (d_s,) code of the average manner.
        mix: 0 = exactly `a`, 1 = exactly `b`.
        strength: 0 = exactly `mean`, 1 = as captured, at most `STRONGEST`.
    """

    a: np.ndarray
    b: np.ndarray
    mean: np.ndarray
    mix: Track
    strength: Track

    def __post_init__(self) -> None:
        for name, track, most in (("mix", self.mix, 1.0), ("strength", self.strength, STRONGEST)):
            if track.values.shape[1] != 1 or not 0 <= track.values.min() <= most:
                raise _out_of_range(name, most)
            if track.values.max() > most:
                raise _out_of_range(name, most)

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Codes at these times: (len(times_s), d_s); (1, d_s) when nothing changes."""
        share, strength = self.mix.at(times_s)[:, 0], self.strength.at(times_s)[:, 0]
        return strengthen_style(mix_styles(self.a, self.b, share), self.mean, strength)


def _out_of_range(name: str, most: float) -> IdiolectError:
    return IdiolectError(
        f"{name} must be numbers from 0 to {most:g}",
        hint=f"Set the {name} within that range.",
        code=f"bad_{name}",
        setting=name,
    )


def mix_styles(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """What lies between two rows: share 0 is exactly the first, 1 exactly the second.

    Args:
        first: (D,) or (T, D).
        second: The same shape.
        share: A number, or (T,) for a track.

    Returns:
        (D,) or (T, D) float32.
    """
    weight = np.asarray(share, np.float32)[..., None]
    return (first * (1.0 - weight) + second * weight).astype(np.float32)


def strengthen_style(
    code: np.ndarray, mean: np.ndarray, strength: np.ndarray | float
) -> np.ndarray:
    """Move a style towards the mean style (strength 0, exactly) or past itself (above 1).

    Strength 1 leaves it exactly as it is.
    """
    return mix_styles(np.broadcast_to(mean, code.shape), code, strength)
