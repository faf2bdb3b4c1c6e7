"""Conditions of every frame: style codes as tracks in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import IdiolectError


@dataclass(frozen=True)
class StyleTrack:
    """A style code for every moment.

    Attributes:
        codes: (K, d_s); one row holds throughout.
        times_s: (K,) when each row is reached, rising; between rows codes are mixed linearly,
            before the first and after the last they hold.
    """

    codes: np.ndarray
    times_s: np.ndarray

    def __post_init__(self) -> None:
        codes = np.atleast_2d(np.asarray(self.codes, np.float32))
        times = np.atleast_1d(np.asarray(self.times_s, np.float64))
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "times_s", times)
        if codes.ndim != 2 or times.shape != (len(codes),) or len(codes) == 0:
            raise IdiolectError(
                f"a style track needs one time for each code: {codes.shape} and {times.shape}",
                code="bad_style",
                setting="style",
            )
        if not np.isfinite(codes).all() or (np.diff(times) < 0).any():
            raise IdiolectError(
                "a style track needs finite codes at rising times",
                code="bad_style",
                setting="style",
            )

    @classmethod
    def constant(cls, code: np.ndarray) -> StyleTrack:
        """The same style throughout."""
        return cls(np.atleast_2d(code), np.zeros(1))

    @classmethod
    def of_frames(cls, codes: np.ndarray, fps: float) -> StyleTrack:
        """One code a frame: row i at i / fps seconds."""
        return cls(codes, np.arange(len(codes)) / fps)

    @property
    def is_constant(self) -> bool:
        """Whether one code holds throughout."""
        return len(self.codes) == 1

    def at(self, times_s: np.ndarray) -> np.ndarray:
        """Codes at these times: (len(times_s), d_s); (1, d_s) when constant."""
        if self.is_constant:
            return self.codes
        after = np.searchsorted(self.times_s, times_s, side="right").clip(1, len(self.codes) - 1)
        before = after - 1
        span = np.maximum(self.times_s[after] - self.times_s[before], 1e-9)
        share = ((times_s - self.times_s[before]) / span).clip(0.0, 1.0)[:, None]
        mixed = self.codes[before] * (1.0 - share) + self.codes[after] * share
        return mixed.astype(np.float32)


def mix_styles(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """The style between two: share 0 is exactly the first, 1 exactly the second.

    Args:
        first: (d_s,) code.
        second: (d_s,) code.
        share: A number, or (T,) for a track.

    Returns:
        (d_s,) or (T, d_s).
    """
    weight = np.asarray(share, np.float32)[..., None]
    return first * (1.0 - weight) + second * weight


def strengthen_style(
    code: np.ndarray, mean: np.ndarray, strength: np.ndarray | float
) -> np.ndarray:
    """Move a style towards the mean style (strength 0) or past itself (above 1); 1 leaves it."""
    return mean + (code - mean) * np.asarray(strength, np.float32)[..., None]
