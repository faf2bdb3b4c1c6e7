"""Fewer keys than frames, within a bound: so that an artist can edit what the machine has made.

Between two keys runs the cubic that fits the motion best (Blender's Bezier with free handles: a
twelfth of all keys remains at a bound of 0.005, where straight lines need a seventh, and slopes
read off the motion a tenth). Keys are added where the error is greatest until none is above the
bound at any whole frame. Peaks, and whatever the caller asks for, are keys from the start and so
kept exactly.

Shapes: C curves, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_MARGIN = 0.9
"""Share of the bound that is used: the rest is left to rounding, which in Blender is single."""

_AT_ONCE = 1_000_000
"""Values worked on at a time: an hour of speech has more than the memory should hold tenfold."""

_LEANING = 0.3
"""How much slopes lean to those of the motion where too few frames decide."""

_SEALED = 0.02
"""Opening of the lips, in units of ``jawOpen``, below which they are seen to touch."""

CLOSING = (
    "jawOpen",
    "mouthClose",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
)
"""Channels that make or unmake a closure of the lips: at closures their keys are exact."""


@dataclass(frozen=True)
class Reduced:
    """Where the keys are.

    Attributes:
        is_key: (C, T).
        slope_in: (C, T) change per frame with which the motion arrives at each frame.
        slope_out: (C, T) change per frame with which it leaves.
        error: the greatest at any frame of any curve.
    """

    is_key: Flags
    slope_in: Array
    slope_out: Array
    error: float


def reduce(values: npt.ArrayLike, bound: float, exact: Flags | None = None) -> Reduced:
    """Choose keys.

    Args:
        values: (C, T), one row a curve, T ≥ 1.
        bound: how far a curve may be off at any frame; > 0.
        exact: (C, T) frames that must be keys.
    """
    motion = np.array(values, np.float64, ndmin=2)
    rows = max(1, _AT_ONCE // motion.shape[1])
    if len(motion) > rows:
        return _joined(
            [
                reduce(
                    motion[row : row + rows], bound, None if exact is None else exact[row:][:rows]
                )
                for row in range(0, len(motion), rows)
            ]
        )
    is_key = turns(motion, 2.0 * bound)
    if exact is not None:
        is_key |= exact
    is_key[:, [0, -1]] = True
    fit = _Fit(motion)
    # All curves in one row: each begins and ends with a key, so no piece reaches into another.
    (keys,) = np.nonzero(is_key.ravel())
    first, last = keys[:-1], keys[1:]
    error = 0.0
    while len(first):
        worst, off = fit.draw(first, last)
        bad = off > bound * _MARGIN
        error = max(error, float(off[~bad].max(initial=0.0)))
        is_key.ravel()[worst[bad]] = True
        first, last = (
            np.concatenate([first[bad], worst[bad]]),
            np.concatenate([worst[bad], last[bad]]),
        )
    slope_in, slope_out = fit.slope_in.reshape(motion.shape), fit.slope_out.reshape(motion.shape)
    return Reduced(is_key, slope_in, slope_out, error)


def _joined(parts: list[Reduced]) -> Reduced:
    """Curves of several reductions."""
    return Reduced(
        np.concatenate([part.is_key for part in parts]),
        np.concatenate([part.slope_in for part in parts]),
        np.concatenate([part.slope_out for part in parts]),
        max(part.error for part in parts),
    )


class _Fit:
    """Cubics between keys, fitted to the motion by least squares, each piece by itself.

    Hermite's cubic is ``base + leave · a + arrive · b`` with the slopes at its ends, so only those
    two are to be found.
    """

    def __init__(self, motion: Array) -> None:
        step = np.diff(motion, axis=1, prepend=motion[:, :1])
        rises, falls = step.ravel(), -np.roll(step, -1, axis=1).ravel()
        self.motion = motion.ravel()
        self.guess = np.gradient(motion, axis=1).ravel() if motion.shape[1] > 1 else rises
        self.slope_in, self.slope_out = self.guess.copy(), self.guess.copy()
        # No curve rises out of a peak, or falls out of a valley: not even between two frames.
        peak, valley = (rises >= 0) & (falls >= 0), (rises <= 0) & (falls <= 0)
        self.highest, self.lowest = np.where(peak, 0.0, np.inf), np.where(valley, 0.0, -np.inf)

    def draw(self, first: Ints, last: Ints) -> tuple[Ints, Array]:
        """Fit pieces (P,) between two keys each.

        Returns:
            The frame (P,) at which each is off the most, and how far (P,) that is.
        """
        worst, off = first.copy(), np.zeros(len(first))
        short = last - first == 1
        step = self.motion[last[short]] - self.motion[first[short]]
        self.slope_out[first[short]] = self.slope_in[last[short]] = step
        (rest,) = np.nonzero(~short)
        if not len(rest):
            return worst, off
        start, end = first[rest], last[rest]
        width, left = end - start, self.motion[start]
        begins = np.concatenate([[0], np.cumsum(width - 1)[:-1]])
        piece = np.repeat(np.arange(len(rest)), width - 1)
        frame = np.arange(len(piece)) - begins[piece] + start[piece] + 1

        u = (frame - start[piece]) / width[piece]
        a, b = width[piece] * u * (1.0 - u) ** 2, width[piece] * u * u * (u - 1.0)
        base = left[piece] + (self.motion[end] - left)[piece] * u * u * (3.0 - 2.0 * u)
        leave, arrive = self.guess[start], self.guess[end]
        lacking = self.motion[frame] - base - leave[piece] * a - arrive[piece] * b
        products = (a * a, a * b, b * b, a * lacking, b * lacking)
        aa, ab, bb, al, bl = (np.add.reduceat(product, begins) for product in products)
        aa, bb = aa + _LEANING, bb + _LEANING
        determinant = aa * bb - ab * ab
        leave = leave + (bb * al - ab * bl) / determinant
        arrive = arrive + (aa * bl - ab * al) / determinant
        leave = leave.clip(self.lowest[start], self.highest[start])
        arrive = arrive.clip(-self.highest[end], -self.lowest[end])
        self.slope_out[start], self.slope_in[end] = leave, arrive

        wrong = np.abs(base + leave[piece] * a + arrive[piece] * b - self.motion[frame])
        off[rest] = np.maximum.reduceat(wrong, begins)
        (at,) = np.nonzero(wrong == off[rest][piece])
        worst[rest[piece[at[::-1]]]] = frame[at[::-1]]  # the first, where several are as bad
        return worst, off


def turns(motion: Array, least: float) -> Flags:
    """Peaks and valleys (C, T): where a curve turns back by more than ``least``."""
    found = np.zeros(motion.shape, bool)
    rows = np.flatnonzero(np.ptp(motion, axis=1) > least)
    if not len(rows):
        return found
    columns = np.ascontiguousarray(motion[rows].T)
    high, low = columns[0].copy(), columns[0].copy()
    high_at, low_at = np.zeros(len(rows), int), np.zeros(len(rows), int)
    rising, falling = np.ones(len(rows), bool), np.ones(len(rows), bool)  # at first, either
    for frame, now in enumerate(columns):
        higher, lower = now > high, now < low
        high[higher], high_at[higher] = now[higher], frame
        low[lower], low_at[lower] = now[lower], frame
        fell = rising & (now < high - least)
        rose = falling & (now > low + least) & ~fell
        if fell.any():
            found[rows[fell], high_at[fell]] = True
            low[fell], low_at[fell] = now[fell], frame
            rising[fell], falling[fell] = False, True
        if rose.any():
            found[rows[rose], low_at[rose]] = True
            high[rose], high_at[rose] = now[rose], frame
            rising[rose], falling[rose] = True, False
    return found


def closures(channels: tuple[str, ...], weights: npt.ArrayLike) -> Flags:
    """Frames (T,) at which lips meet, are closest, or part: what a viewer sees of a "b".

    Args:
        channels: names of the C columns.
        weights: (T, C) ARKit weights.
    """
    columns = dict(zip(channels, np.asarray(weights, np.float64).T, strict=True))
    nothing = np.zeros(len(np.asarray(weights)))

    def of(name: str) -> Array:
        return columns.get(name, nothing)

    opening = of("jawOpen") - of("mouthClose") + 0.2 * sum(map(of, CLOSING[2:]))
    shut = np.concatenate([[False], opening <= _SEALED, [False]])
    starts, ends = np.flatnonzero(shut[1:] & ~shut[:-1]), np.flatnonzero(shut[:-1] & ~shut[1:])
    kept = np.zeros(len(nothing), bool)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        kept[[start, start + int(opening[start:end].argmin()), end - 1]] = True
    if len(opening) > 2:  # lips that nearly meet between two sounds
        inner = opening[1:-1]
        kept[1:-1] |= (inner <= opening[:-2]) & (inner < opening[2:]) & (inner < 3 * _SEALED)
    return kept
