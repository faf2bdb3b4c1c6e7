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

_MARGIN = 0.9
"""Share of the bound that is used: the rest is left to rounding, which in Blender is single."""

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
    is_key = turns(motion, 2.0 * bound)
    if exact is not None:
        is_key |= exact
    is_key[:, [0, -1]] = True
    error, slope_in, slope_out = np.zeros(len(motion)), np.zeros_like(motion), np.zeros_like(motion)
    rows = np.arange(len(motion))
    while len(rows) and motion.shape[1] > 1:
        keys = is_key[rows]
        drawn, slope_in[rows], slope_out[rows] = _drawn(motion[rows], keys)
        off = np.abs(drawn - motion[rows])
        error[rows] = off.max(axis=1)
        flat, flat_keys = off.ravel(), keys.ravel()
        # The worst frame of each piece between two keys; a row starts with a key.
        worst = np.maximum.reduceat(flat, np.flatnonzero(flat_keys))[np.cumsum(flat_keys) - 1]
        is_key[rows] |= ((flat > bound * _MARGIN) & (flat == worst)).reshape(keys.shape)
        rows = rows[error[rows] > bound * _MARGIN]
    return Reduced(is_key, slope_in, slope_out, float(error.max(initial=0.0)))


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


def _drawn(motion: Array, keys: Flags) -> tuple[Array, Array, Array]:
    """What the keys alone draw, (C, T), and the slopes into and out of them, (C, T) each.

    Between two keys Hermite's cubic is ``base + leave · a + arrive · b`` with slopes ``leave`` and
    ``arrive``, which least squares find for each piece by itself.
    """
    frames = np.arange(motion.shape[1])
    before = np.maximum.accumulate(np.where(keys, frames, 0), axis=1)
    after = np.where(keys, frames, frames[-1])[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1]
    width = np.maximum(after - before, 1)
    u = (frames - before) / width
    left, right = (np.take_along_axis(motion, at, 1) for at in (before, after))
    base = left + (right - left) * u * u * (3.0 - 2.0 * u)
    a, b = width * u * (1.0 - u) ** 2, width * u * u * (u - 1.0)
    guess = np.gradient(motion, axis=1)
    leave, arrive = (np.take_along_axis(guess, at, 1) for at in (before, after))
    lacking = motion - base - leave * a - arrive * b

    starts = np.flatnonzero(keys.ravel())
    piece = np.cumsum(keys.ravel()) - 1
    products = (a * a, a * b, b * b, a * lacking, b * lacking)
    aa, ab, bb, al, bl = (np.add.reduceat(product.ravel(), starts) for product in products)
    aa, bb = aa + _LEANING, bb + _LEANING
    determinant = aa * bb - ab * ab
    leave += ((bb * al - ab * bl) / determinant)[piece].reshape(motion.shape)
    arrive += ((aa * bl - ab * al) / determinant)[piece].reshape(motion.shape)
    # A piece's frames all know where it arrives; its end key, first of the next piece, is told.
    slope_in = np.concatenate([guess[:, :1], arrive[:, :-1]], axis=1)
    return base + leave * a + arrive * b, slope_in, leave
