"""How near motion comes to a captured performance: the field's measures, each defined once.

Sources: Mimic (AAAI 2024) for FVE, LVE, LDTW and LDD; CodeTalker (CVPR 2023) for FDD. Where
definitions in papers and code differ, what is computed here is what is written here.

Convention: offsets from the face at rest, metres, in arrays (T, n, 3) of exactly the vertices that
are measured: regions are chosen by index, never multiplied by a mask, so that what lies outside
does not dilute a mean. Squared distances are in m² (published as "mm"); a distance of 1 mm is 1e-6.

Shape letters: T frames, n vertices, K lags.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist

from core.audio import SAMPLE_RATE_HZ
from core.phones import BILABIALS, PHONE_INDEX, SILENCE
from training.corpus import UNKNOWN_PHONE

MAX_LAG_S = 0.3
STILL = 1e-4
"""Deviation, in mm or dB, of a curve that does not move but for rounding."""
SILENCE_MARGIN_S = 0.2
"""Lips move before speech and come to rest after it: that much of a pause is not its middle."""


def face_errors(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Squared error of each frame, the mean over its vertices: (T,), m².

    Their mean over all frames is FVE: mean over frames and vertices of the squared L2 distance
    (the sum over x, y and z).
    """
    return np.square(truth - predicted).sum(axis=2).mean(axis=1)


def lip_errors(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Squared error of the worst vertex of each frame: (T,), m².

    Their mean over all frames of all sequences is LVE: first the MAXIMUM over the lips' vertices of
    the squared L2 distance, then the mean. Its root is given in mm as well.
    """
    return np.square(truth - predicted).sum(axis=2).max(axis=1)


def motion_spread(offsets: np.ndarray) -> np.ndarray:
    """How much each vertex moves: the standard deviation over time of ‖offset‖², (n,), m²."""
    return np.square(offsets).sum(axis=2).std(axis=0)


def dynamics_deviation(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Difference in how much vertices move, over one sequence, m².

    Returns:
        Mean over vertices of the absolute difference of `motion_spread` (LDD on the lips, FDD on
        the upper face), and of the signed one, truth − prediction (FDD as CodeTalker reports it, in
        which too much here and too little there cancel). Both are then averaged over sequences.
    """
    difference = motion_spread(truth) - motion_spread(predicted)
    return float(np.abs(difference).mean()), float(difference.mean())


def dtw(first: np.ndarray, second: np.ndarray) -> float:
    """Dynamic time warping: cost of the cheapest path divided by the path's length.

    Steps are (1, 1), (1, 0) and (0, 1); the local cost is the Euclidean distance of frames; of
    paths that cost the same the one with more diagonal steps at its end counts. LDTW is this on lip
    offsets with each frame as one vector (3n,), in metres; for comparison only, since it grows with
    the number of vertices.

    Args:
        first: (T, D) sequence.
        second: (U, D) sequence.
    """
    local = cdist(first, second)
    rows, columns = local.shape
    # Along anti-diagonals, so that numpy does the inner loop. Entry i + 1 belongs to row i.
    cost = [np.full(rows + 1, np.inf), np.full(rows + 1, np.inf)]
    steps = [np.zeros(rows + 1), np.zeros(rows + 1)]
    cost[0][0] = 0.0
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        before = np.stack([cost[0][row], cost[1][row], cost[1][row + 1]])
        length = np.stack([steps[0][row], steps[1][row], steps[1][row + 1]])
        best, place = before.argmin(axis=0), np.arange(len(row))
        next_cost, next_steps = np.full(rows + 1, np.inf), np.zeros(rows + 1)
        next_cost[row + 1] = before[best, place] + local[row, diagonal - row]
        next_steps[row + 1] = length[best, place] + 1
        cost, steps = [cost[1], next_cost], [steps[1], next_steps]
    return float(cost[1][rows] / steps[1][rows])


def lip_jerk(offsets: np.ndarray, fps: float) -> np.ndarray:
    """Jerk of each frame, m/s³: mean over vertices of ‖third difference‖ · fps³, (T − 3,)."""
    return np.linalg.norm(np.diff(offsets, n=3, axis=0), axis=2).mean(axis=1) * fps**3


def lip_speed_mm_s(offsets: np.ndarray, fps: float) -> np.ndarray:
    """Speed of the lips from each frame to the next, mm/s: mean over vertices, (T − 1,)."""
    return np.linalg.norm(np.diff(offsets, axis=0), axis=2).mean(axis=1) * fps * 1000.0


def silent_steps(phones: np.ndarray, fps: float) -> np.ndarray:
    """Steps from frame to frame in the middle of pauses, (T − 1,) bool.

    Both frames are at least `SILENCE_MARGIN_S` from anything that is not known to be silence.
    Mouth motion in silence is the mean of `lip_speed_mm_s` over them.
    """
    margin = math.ceil(SILENCE_MARGIN_S * fps)
    other = np.pad((phones != PHONE_INDEX[SILENCE]).astype(int), margin)
    near = np.convolve(other, np.ones(2 * margin + 1, int), mode="valid") > 0
    return ~(near[1:] | near[:-1])


def closure_flags(phones: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where lips must close (p, b, m), where nobody speaks, what is unknown: each (T,) bool."""
    wanted = np.isin(phones, [PHONE_INDEX[phone] for phone in BILABIALS])
    return wanted, phones == PHONE_INDEX[SILENCE], phones == UNKNOWN_PHONE


def cross_correlation(curve: np.ndarray, reference: np.ndarray, fps: float) -> np.ndarray:
    """Correlation of a curve with a reference at every lag up to `MAX_LAG_S`, (2K + 1,).

    Entry K + k: mean of curve[t + k] · reference[t] over the frames that both have, both brought to
    mean 0 and variance 1; so the largest entry is at the lag of the curve BEHIND the reference.
    Zeros where one of them does not move, or is not longer than twice the largest lag.
    """
    reach = round(MAX_LAG_S * fps)
    count = min(len(curve), len(reference))
    if count <= 2 * reach or min(curve[:count].std(), reference[:count].std()) < STILL:
        return np.zeros(2 * reach + 1)
    a, b = ((c[:count] - c[:count].mean()) / c[:count].std() for c in (curve, reference))
    shifts = range(-reach, reach + 1)
    return np.array([(a[max(0, k) : count + min(0, k)]
                      * b[max(0, -k) : count - max(0, k)]).mean() for k in shifts])  # fmt: skip


def lag_ms(correlation: np.ndarray, fps: float) -> float:
    """Where a cross-correlation is highest, ms, between frames by a parabola; > 0 is late.

    Not a number where there is no peak within `MAX_LAG_S`.
    """
    peak = int(correlation.argmax())
    if not 0 < peak < len(correlation) - 1 or correlation[peak] <= 0:
        return math.nan
    before, here, after = correlation[peak - 1 : peak + 2]
    bend = before - 2 * here + after
    between = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return 1000.0 * (peak + between - len(correlation) // 2) / fps


def loudness_db(samples: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Loudness of speech around each motion frame, (T,) dB, over 40 ms, at least −60."""
    half = round(0.02 * SAMPLE_RATE_HZ)
    power = np.cumsum(np.pad(np.square(samples, dtype=np.float64), (half + 1, half)))
    centre = (np.arange(frames) / fps * SAMPLE_RATE_HZ).round().astype(int)
    centre = centre.clip(0, max(0, len(samples) - 1))
    return 10 * np.log10((power[centre + 2 * half] - power[centre]) / (2 * half) + 1e-6)
