"""The measures of `training.metrics`, summed over the clips of a test set."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from core.face.lips import CLOSED_MM
from training import metrics, sync
from training.judges import Judged
from training.phone_scores import ClosureCount
from training.surfaces import Surface

CHUNK_FRAMES = 100
"""The whole face is compared in parts of so many frames, so that memory does not grow."""
LONGEST_WARP_S = 20.0
"""Longer sequences are warped in equal parts: time warping costs the square of the length."""


class Measure(NamedTuple):
    """How a measure is told.

    Attributes:
        label: For tables.
        unit: Its unit, "" for shares.
        better: "low", "high", "truth" (the truth's own value is the best) or "" (neither).
        scale: Factor from the measure's own unit to `unit`.
    """

    label: str
    unit: str
    better: str
    scale: float = 1.0


MEASURES: dict[str, Measure] = {
    "fve_m2": Measure("FVE", "10⁻⁶ m²", "low", 1e6),
    "lve_m2": Measure("LVE", "10⁻⁵ m²", "low", 1e5),
    "lve_mm": Measure("√LVE", "mm", "low"),
    "ldtw_m": Measure("LDTW", "10⁻³ m", "low", 1e3),
    "ldd_m2": Measure("LDD", "10⁻⁶ m²", "low", 1e6),
    "fdd_m2": Measure("FDD", "10⁻⁶ m²", "low", 1e6),
    "fdd_signed_m2": Measure("FDD, signed", "10⁻⁶ m²", "", 1e6),
    "closure_recall": Measure("closures of p b m made", "", "high"),
    "closure_precision": Measure("closures right", "", "high"),
    "silent_motion_mm_s": Measure("lips in silence", "mm/s", "truth"),
    "lip_lag_ms": Measure("lips behind truth", "ms", ""),
    "audio_lag_ms": Measure("lips behind loudness", "ms", "truth"),
    "lip_jerk_m_s3": Measure("jerk of lips", "m/s³", "truth"),
    "scs": Measure("SCS", "", "high"),
    "sync_ms": Measure("lips behind sound, by the sync network", "ms", "truth"),
    "sync_confidence": Measure("how surely it fits", "", "high"),
}
"""Every measure in the order of tables. Those that need no truth are also given for the truth,
under the same name with "true_" before it: that is what a perfect prediction would get."""


@dataclass
class _Mean:
    """A weighted mean that grows."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, values: np.ndarray) -> None:
        self.total += float(values.sum())
        self.weight += values.size

    def merge(self, other: _Mean) -> None:
        self.total += other.total
        self.weight += other.weight

    @property
    def value(self) -> float:
        return self.total / self.weight if self.weight else math.nan


@dataclass
class _Own:
    """What is measured of one motion by itself, given the speech."""

    closures: ClosureCount = field(default_factory=ClosureCount)
    silent: _Mean = field(default_factory=_Mean)
    jerk: _Mean = field(default_factory=_Mean)
    audio: np.ndarray | float = 0.0

    def add(
        self, lips: np.ndarray, gap_mm: np.ndarray, phones: np.ndarray, loudness: np.ndarray,
        fps: float,
    ) -> None:  # fmt: skip
        wanted, silent, unknown = metrics.closure_flags(phones)
        if not unknown.all():
            closed = (gap_mm.max(axis=1) <= CLOSED_MM) & ~unknown
            self.closures.add(closed, wanted, silent | unknown, fps)
        resting = metrics.silent_steps(phones, fps)
        self.silent.add(metrics.lip_speed_mm_s(lips, fps)[resting])
        self.jerk.add(metrics.lip_jerk(lips, fps))
        opening = gap_mm.mean(axis=1)
        self.audio = self.audio + len(lips) * metrics.cross_correlation(opening, loudness, fps)

    def merge(self, other: _Own) -> None:
        for name in ("wanted", "hit", "made", "right"):
            count = getattr(self.closures, name) + getattr(other.closures, name)
            setattr(self.closures, name, count)
        self.silent.merge(other.silent)
        self.jerk.merge(other.jerk)
        self.audio = self.audio + other.audio

    def summary(self, fps: float) -> dict[str, float]:
        wanted = self.closures.wanted > 0
        return {
            "closure_recall": self.closures.recall if wanted else math.nan,
            "closure_precision": self.closures.precision if wanted else math.nan,
            "silent_motion_mm_s": self.silent.value,
            "audio_lag_ms": metrics.lag_ms(np.atleast_1d(self.audio), fps),
            "lip_jerk_m_s3": self.jerk.value,
        }


class MotionScore:
    """Sums over clips.

    Args:
        surface: The face that motion is measured on.
        fps: Frames per second of motion and phones.
    """

    def __init__(self, surface: Surface, fps: float) -> None:
        self.surface, self.fps = surface, fps
        self.clips = self.frames = 0
        self._face, self._lips, self._warp = _Mean(), _Mean(), _Mean()
        self._lip_dynamics: list[float] = []
        self._face_dynamics: list[tuple[float, float]] = []
        self._lag: np.ndarray | float = 0.0
        self._own, self._true = _Own(), _Own()
        self._style = _Mean()
        self._sync: np.ndarray | float = 0.0
        self._true_sync: np.ndarray | float = 0.0

    def add(
        self, truth: np.ndarray, predicted: np.ndarray, phones: np.ndarray, samples: np.ndarray
    ) -> None:
        """Measure one sequence.

        Args:
            truth: (T, C) captured motion.
            predicted: (T, C) motion to be judged; longer ones are cut.
            phones: (T,) phone indices at the frames, or UNKNOWN_PHONE.
            samples: (S,) the speech, level-normalised, 16 kHz.
        """
        frames = len(truth)
        predicted = predicted[:frames]
        if predicted.shape != truth.shape:
            raise ValueError(f"expected motion of {truth.shape}, found {predicted.shape}")
        surface, fps = self.surface, self.fps
        self.clips += 1
        self.frames += frames
        for first in range(0, frames, CHUNK_FRAMES):
            part = slice(first, first + CHUNK_FRAMES)
            both = (surface.offsets(motion[part], surface.face) for motion in (truth, predicted))
            self._face.add(metrics.face_errors(*both))
        true_lips, lips = (surface.offsets(m, surface.lips) for m in (truth, predicted))
        self._lips.add(metrics.lip_errors(true_lips, lips))
        self._lip_dynamics.append(metrics.dynamics_deviation(true_lips, lips)[0])
        upper = (surface.offsets(m, surface.upper_face) for m in (truth, predicted))
        self._face_dynamics.append(metrics.dynamics_deviation(*upper))
        for part in _parts(frames, round(LONGEST_WARP_S * fps)):
            cost = metrics.dtw(true_lips[part].reshape(-1, 3 * len(surface.lips)),
                               lips[part].reshape(-1, 3 * len(surface.lips)))  # fmt: skip
            self._warp.add(np.full(part.stop - part.start, cost))
        true_gap, gap = surface.lip_gap_mm(truth), surface.lip_gap_mm(predicted)
        loudness = metrics.loudness_db(samples, frames, fps)
        self._own.add(lips, gap, phones, loudness, fps)
        self._true.add(true_lips, true_gap, phones, loudness, fps)
        correlation = metrics.cross_correlation(gap.mean(axis=1), true_gap.mean(axis=1), fps)
        self._lag = self._lag + frames * correlation

    def add_judged(self, judged: Judged, frames: int) -> None:
        """Take in what the judges say of a sequence of so many frames (`training.judges`)."""
        self._style.add(np.full(frames, judged.scs))
        self._sync = self._sync + frames * judged.sync
        self._true_sync = self._true_sync + frames * judged.true_sync

    def merge(self, other: MotionScore) -> None:
        """Add the clips of another score on the same surface."""
        self.clips += other.clips
        self.frames += other.frames
        for own, others in (
            (self._face, other._face),
            (self._lips, other._lips),
            (self._warp, other._warp),
            (self._style, other._style),
        ):
            own.merge(others)
        self._lip_dynamics += other._lip_dynamics
        self._face_dynamics += other._face_dynamics
        self._lag = self._lag + other._lag
        self._own.merge(other._own)
        self._true.merge(other._true)
        self._sync = self._sync + other._sync
        self._true_sync = self._true_sync + other._true_sync

    def summary(self) -> dict[str, float]:
        """Every measure of `MEASURES`; not a number where the clips do not tell."""
        lve = self._lips.value
        absolute, signed = np.array(self._face_dynamics).reshape(-1, 2).mean(axis=0)
        own = self._own.summary(self.fps)
        values = {
            "fve_m2": self._face.value,
            "lve_m2": lve,
            "lve_mm": 1000.0 * math.sqrt(lve),
            "ldtw_m": self._warp.value,
            "ldd_m2": float(np.mean(self._lip_dynamics)),
            "fdd_m2": float(absolute),
            "fdd_signed_m2": float(signed),
            "lip_lag_ms": metrics.lag_ms(np.atleast_1d(self._lag), self.fps),
            **own,
            "scs": self._style.value,
            **_sync_measures(self._sync, self._style.weight),
        }
        true = self._true.summary(self.fps) | _sync_measures(self._true_sync, self._style.weight)
        truths = {f"true_{name}": value for name, value in true.items()}
        counts = {"clips": self.clips, "seconds": self.frames / self.fps}
        found = {name: values[name] for name in MEASURES} | truths | counts
        return {name: float(value) for name, value in found.items()}


def _sync_measures(total: np.ndarray | float, frames: float) -> dict[str, float]:
    """Of similarities at every lag, summed over so many frames."""
    if not frames or not np.any(total):
        return {"sync_ms": math.nan, "sync_confidence": math.nan}
    curve = np.atleast_1d(total) / frames
    return {"sync_ms": sync.offset_ms(curve), "sync_confidence": sync.confidence(curve)}


def _parts(frames: int, longest: int) -> list[slice]:
    """Equal parts of at most `longest` frames."""
    bounds = np.linspace(0, frames, -(-frames // longest) + 1).round().astype(int).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]
