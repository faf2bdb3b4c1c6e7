"""How well a face speaks: measures of ARKit motion on the built-in head against aligned phones.

Motion of any frame rate is read at 100 Hz, linearly between its frames, as it is played.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.face.lips import CLOSED_MM, lip_gap_mm
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import BILABIALS, PHONE_INDEX, PHONE_TO_VISEME, SILENCE, VISEME_INDEX, Segment
from training.phone_scores import ClosureCount, correlation, widen

RATE_HZ = 100
LONGEST_LAG_S = 0.2
# Nearer to speech than this, the mouth is still arriving at rest or already leaving it.
REST_MARGIN_S = 0.2
MOVING_MM_PER_S = 10.0
JAW = ARKIT_CHANNELS.index("jawOpen")
ROUND = [ARKIT_CHANNELS.index(name) for name in ("mouthPucker", "mouthFunnel")]


@dataclass
class LipSyncScore:
    """How the lips follow the words, summed over clips; see `summary` for what is measured."""

    closures: ClosureCount = field(default_factory=ClosureCount)
    curves: list[tuple[float, ...]] = field(default_factory=list)
    lag_s: list[float] = field(default_factory=list)
    silent: int = 0
    moving: int = 0
    vowel_gap_mm: list[float] = field(default_factory=list)
    jerk: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def add(self, motion: MotionClip, segments: Sequence[Segment], reference: MotionClip) -> None:
        """Counts one clip.

        Args:
            motion: what is measured, ARKit weights.
            segments: the phones that were said.
            reference: what the procedural animator makes of them, at the same frame rate.
        """
        gaps, *own = _at_100_hz(motion)
        reference_gaps, *wanted = _at_100_hz(reference)
        count = min(len(gaps), len(reference_gaps), round(segments[-1].end_s * RATE_HZ))
        gap, reference_gap = gaps[:count].max(axis=1), reference_gaps[:count].max(axis=1)
        silent = marks(segments, (SILENCE,), count)
        self.closures.add(
            gap <= CLOSED_MM, marks(segments, BILABIALS, count), silent, rate_hz=RATE_HZ
        )
        pairs = [(gap, reference_gap), *zip(own, wanted, strict=True)]
        self.curves.append((count, *(correlation(a[:count], b[:count]) for a, b in pairs)))
        self.lag_s.append(_lag_s(gap, reference_gap))
        at_rest = ~widen(~silent, round(REST_MARGIN_S * RATE_HZ))[:-1]
        speed = np.abs(np.diff(gap)) * RATE_HZ
        self.silent += int(at_rest.sum())
        self.moving += int((at_rest & (speed > MOVING_MM_PER_S)).sum())
        for phone, start_s, end_s in segments:
            inside = gap[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
            open_vowel = PHONE_TO_VISEME[PHONE_INDEX[phone]] == VISEME_INDEX["open"]
            if open_vowel and end_s - start_s >= 0.06 and len(inside):
                self.vowel_gap_mm.append(float(inside.max()))
        self.jerk += _jerk(motion), _jerk(reference), 1

    def summary(self) -> dict[str, float]:
        """The figures.

        - closure_recall, closure_precision: of p, b, m by the inner-lip gap of the built-in head,
          at most 0.5 mm within 60 ms of the aligned phone; each closure counts once, one that is
          held over other speech is wrong;
        - jaw, rounding, lips: correlation of jawOpen, of pucker and funnel together, and of the lip
          gap with those of the procedural animator driven by the aligned phones;
        - moving_in_silence: part of the silent time, 0.2 s and more away from speech, in which the
          lip gap changes by more than 10 mm/s;
        - lag_ms: median delay behind the procedural animator, positive is late;
        - vowel_gap_mm: mean widest lip gap in open vowels;
        - jerk: third derivative of the lip gap (RMS), as a multiple of the procedural animator's.
        """
        table = np.array(self.curves, dtype=np.float64).reshape(-1, 4)
        lips, jaw, rounding = table[:, 0] @ table[:, 1:] / max(1.0, table[:, 0].sum())
        return {
            "closure_recall": self.closures.recall,
            "closure_precision": self.closures.precision,
            "closures": float(self.closures.wanted),
            "jaw": float(jaw),
            "rounding": float(rounding),
            "lips": float(lips),
            "moving_in_silence": self.moving / max(1, self.silent),
            "lag_ms": 1000 * float(np.median(self.lag_s)) if self.lag_s else 0.0,
            "vowel_gap_mm": float(np.mean(self.vowel_gap_mm)) if self.vowel_gap_mm else 0.0,
            "jerk": float(np.sqrt(self.jerk[0] / max(1e-12, self.jerk[1]))),
        }


def marks(segments: Sequence[Segment], phones: Sequence[str], count: int) -> np.ndarray:
    """(count,) bool at 100 Hz: where one of `phones` is said."""
    flags = np.zeros(count, dtype=bool)
    for phone, start_s, end_s in segments:
        if phone in phones:
            first = round(start_s * RATE_HZ)
            flags[first : max(first + 1, round(end_s * RATE_HZ))] = True
    return flags


def _at_100_hz(motion: MotionClip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lip gaps (T, P) in mm, jawOpen (T,) and rounding (T,)."""
    weights = motion.select(ARKIT_CHANNELS)
    frames = np.arange(len(weights)) / motion.fps
    times = np.arange(int(frames[-1] * RATE_HZ) + 1) / RATE_HZ
    gaps = lip_gap_mm(weights)
    columns = [np.interp(times, frames, column) for column in gaps.T]
    jaw, rounding = weights[:, JAW], weights[:, ROUND].sum(axis=1)
    return (
        np.stack(columns, axis=1),
        np.interp(times, frames, jaw),
        np.interp(times, frames, rounding),
    )


def _lag_s(curve: np.ndarray, reference: np.ndarray) -> float:
    """By how much `curve` has to be moved earlier to fit `reference` best."""
    longest = round(LONGEST_LAG_S * RATE_HZ)
    inner = slice(longest, len(reference) - longest)
    if inner.stop - inner.start < RATE_HZ:
        return 0.0
    lags = range(-longest, longest + 1)
    fits = [correlation(np.roll(curve, -lag)[inner], reference[inner]) for lag in lags]
    return lags[int(np.argmax(fits))] / RATE_HZ


def _jerk(motion: MotionClip) -> float:
    """Mean square of the third derivative of the lip gap, mm² / s⁶."""
    gap = lip_gap_mm(motion.select(ARKIT_CHANNELS)).max(axis=1).astype(np.float64)
    return float(np.square(np.diff(gap, 3) * motion.fps**3).mean()) if len(gap) > 3 else 0.0
