"""How well phones, or a mouth, follow what was said: measures against aligned phones.

Everything is at 50 Hz, frame n at time n / 50 s. Sums are kept, so that clips can be added one by
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.phones import PHONE_TO_VISEME, VISEME_INDEX, VISEME_NAMES, viseme_posteriors

RATE_HZ = 50
TOLERANCE_S = 0.06
IGNORED = 255
CLOSED = VISEME_INDEX["lips_closed"]
SILENT = VISEME_INDEX["silence"]

# How far each viseme opens the jaw and rounds the lips, 0..1: the fixed poses of a classic lip-sync
# tool. They only turn two phone sequences into comparable curves.
_JAW = {
    "silence": 0, "lips_closed": 0, "lip_on_teeth": 0.1, "tongue_on_teeth": 0.25,
    "tongue_behind_teeth": 0.15, "tongue_up": 0.3, "tongue_back": 0.3, "palatal": 0.15,
    "rhotic": 0.25, "rounded": 0.15, "open": 1, "mid": 0.7, "spread": 0.35, "open_rounded": 0.65,
}  # fmt: skip
_ROUND = {"rounded": 1, "open_rounded": 0.7, "palatal": 0.5, "rhotic": 0.5}
JAW_OF_VISEME = np.array([_JAW[name] for name in VISEME_NAMES], dtype=np.float64)
CLOSED_VISEME = np.eye(len(VISEME_NAMES))[CLOSED]
ROUND_OF_VISEME = np.array([_ROUND.get(name, 0) for name in VISEME_NAMES], dtype=np.float64)


@dataclass
class ClosureCount:
    """Lip closures found and wanted.

    Attributes:
        wanted: closures that the reference has.
        hit: those of them that a right closure met.
        made: closures made during speech.
        right: those of them that met one in the reference.
    """

    wanted: int = 0
    hit: int = 0
    made: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Part of the wanted closures that were made."""
        return self.hit / max(1, self.wanted)

    @property
    def precision(self) -> float:
        """Part of the closures made that were wanted."""
        return self.right / max(1, self.made)

    def add(
        self, closed: np.ndarray, wanted: np.ndarray, silent: np.ndarray, rate_hz: float = RATE_HZ
    ) -> None:
        """Counts one clip.

        A closure is a run of closed frames. It is right if it overlaps a reference closure, widened
        by 60 ms,
        that no other run has met, and is not held over other speech: outside the widened closures
            and the silence
        it may not stay closed. Runs within silence (widened likewise; before and after the clip
        there is silence too) are rest, not closures. So a face that never moves makes one wrong
        closure or none, and scores 0.

        Args:
            closed: (T,) bool, lips closed.
            wanted: (T,) bool, p, b or m in the reference; touching ones are one closure.
            silent: (T,) bool, silence in the reference.
            rate_hz: frames a second.
        """
        margin = round(TOLERANCE_S * rate_hz)
        targets = runs(wanted)
        resting = at_rest(silent, margin)
        free = widen(wanted, margin) | resting
        met: set[int] = set()
        for first, last in runs(closed):
            near = [
                index
                for index, (start, end) in enumerate(targets)
                if first < end + margin and last > start - margin
            ]
            held = not free[first:last].all()
            if not near and resting[first:last].all():
                continue
            self.made += 1
            unmet = [index for index in near if index not in met]
            if unmet and not held:
                self.right += 1
                met.add(max(unmet, key=lambda index: _overlap(targets[index], (first, last))))
        self.wanted += len(targets)
        self.hit += len(met)


@dataclass
class PhoneScore:
    """Agreement of phone posteriors with aligned phones; see `summary` for what is measured."""

    frames: int = 0
    phones_right: int = 0
    visemes_right: int = 0
    visemes_near: int = 0
    silence: np.ndarray = field(default_factory=lambda: np.zeros(3))
    closures: ClosureCount = field(default_factory=ClosureCount)
    loose: ClosureCount = field(default_factory=ClosureCount)
    curves: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, labels: np.ndarray, posteriors: np.ndarray) -> None:
        """Counts one clip: labels (N,) at 50 Hz, IGNORED allowed; posteriors (N, 40)."""
        count = min(len(labels), len(posteriors))
        labels, posteriors = labels[:count].astype(np.int64), posteriors[:count]
        known = labels != IGNORED
        reference = np.where(known, PHONE_TO_VISEME[np.where(known, labels, 0)], -1)
        soft = viseme_posteriors(posteriors)
        heard = soft.argmax(axis=1)
        near = heard == reference
        near[1:] |= heard[1:] == reference[:-1]
        near[:-1] |= heard[:-1] == reference[1:]
        self.frames += int(known.sum())
        self.phones_right += int((posteriors.argmax(axis=1) == labels)[known].sum())
        self.visemes_right += int((heard == reference)[known].sum())
        self.visemes_near += int(near[known].sum())
        both = (heard == SILENT) & (reference == SILENT)
        self.silence += both.sum(), (reference == SILENT).sum(), (known & (heard == SILENT)).sum()

        wanted, closed = reference == CLOSED, heard == CLOSED
        # What is not known may have been anything, silence too.
        self.closures.add(closed & known, wanted, (reference == SILENT) | ~known)
        self._add_loosely(closed & known, wanted)
        if known.sum() > RATE_HZ:
            # What is not known is taken to be as it was heard, so as not to bend the curves nearby.
            said = np.eye(len(VISEME_NAMES))[np.where(known, reference, heard)]
            curves = np.stack((JAW_OF_VISEME, ROUND_OF_VISEME, CLOSED_VISEME), axis=1)
            pairs = zip((said @ curves).T, (soft @ curves).T, strict=True)
            fits = [correlation(smooth(a)[known], smooth(b)[known]) for a, b in pairs]
            self.curves.append((int(known.sum()), *fits))

    def _add_loosely(self, closed: np.ndarray, wanted: np.ndarray) -> None:
        """Counts as published comparisons do: any overlap within 60 ms, runs may serve twice."""
        margin = round(TOLERANCE_S * RATE_HZ)
        nearby, reached = widen(wanted, margin), widen(closed, margin)
        found = [bool(reached[first:last].any()) for first, last in runs(wanted)]
        right = [bool(nearby[first:last].any()) for first, last in runs(closed)]
        self.loose.wanted += len(found)
        self.loose.hit += sum(found)
        self.loose.made += len(right)
        self.loose.right += sum(right)

    def summary(self) -> dict[str, float]:
        """The figures.

        - visemes: frames whose viseme is right within one frame (20 ms); visemes_exact: at once;
        - phones: frames whose phone is right;
        - closure_recall, closure_precision: of p, b, m within 60 ms, each closure counted once;
          loose_*: any overlap counts;
        - silence_recall, silence_precision: of frames;
        - jaw, rounding, lips: correlation of curves made from both by fixed poses, weighted by
          length.
        """
        frames = max(1, self.frames)
        both, wanted, heard = np.maximum(self.silence, (0, 1, 1))
        weights = np.array([curve[0] for curve in self.curves], dtype=np.float64)
        values = np.array([curve[1:] for curve in self.curves], dtype=np.float64).reshape(-1, 3)
        means = weights @ values / max(1.0, weights.sum())
        return {
            "seconds": self.frames / RATE_HZ,
            "visemes": self.visemes_near / frames,
            "visemes_exact": self.visemes_right / frames,
            "phones": self.phones_right / frames,
            "closure_recall": self.closures.recall,
            "closure_precision": self.closures.precision,
            "loose_recall": self.loose.recall,
            "loose_precision": self.loose.precision,
            "closures": float(self.closures.wanted),
            "silence_recall": float(both / wanted),
            "silence_precision": float(both / heard),
            "jaw": float(means[0]),
            "rounding": float(means[1]),
            "lips": float(means[2]),
        }


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(first, last + 1) of every stretch of True in flags (T,)."""
    edges = np.diff(np.concatenate(([0], flags.astype(np.int8), [0])))
    return list(zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True))


def widen(flags: np.ndarray, margin: int) -> np.ndarray:
    """Flags (T,) that are True wherever one within `margin` frames is."""
    if margin <= 0 or len(flags) == 0:
        return flags.copy()
    return (
        np.convolve(flags.astype(np.int64), np.ones(2 * margin + 1, dtype=np.int64))[
            margin : margin + len(flags)
        ]
        > 0
    )


def at_rest(silent: np.ndarray, margin: int) -> np.ndarray:
    """Flags (T,) of silence widened by `margin` frames; beyond both ends of a clip it is silent."""
    return widen(np.pad(silent, margin, constant_values=True), margin)[margin:][: len(silent)]


def smooth(curve: np.ndarray, frames: float = 1.5) -> np.ndarray:
    """Curve (T,) under a Gaussian of `frames` standard deviation."""
    reach = int(4 * frames)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), "valid")


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two curves; 0 where one of them does not move."""
    if len(first) < 2 or first.std() < 1e-9 or second.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _overlap(first: Sequence[int], second: Sequence[int]) -> int:
    return min(first[1], second[1]) - max(first[0], second[0])
