"""ARKit weights as visemes, and back, for characters that have mouth shapes only.

Each viseme is written once as an ARKit pose (``_POSES``). The way back is a product with these
poses. The way there finds, in every frame, the visemes from 0 to 1 whose poses add up to the face
in question (least squares), then lets the lips decide: where they touch, no viseme may open them,
and PP alone stands, as far as the mouth is doing something (a mouth at rest is no p).

Shapes: T frames, P visemes, C channels.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_SPELLINGS = {
    "aa": "aa a あ fclmtha visemeaa mouth_a",
    "ih": "ih i い fclmthi visemei visemeih",
    "ou": "ou u う fclmthu visemeu visemeou",
    "E": "ee e え fclmthe visemee",
    "oh": "oh o お fclmtho visemeo visemeoh",
    "PP": "visemepp",
    "FF": "visemeff",
    "TH": "visemeth",
    "DD": "visemedd",
    "kk": "visemekk",
    "CH": "visemech",
    "SS": "visemess",
    "nn": "visemenn",
    "RR": "visemerr",
}
_BY_SPELLING = {word: name for name, words in _SPELLINGS.items() for word in words.split()}
_VOWELS = {"aa", "ih", "ou", "E", "oh"}

# Features of a speaking mouth: the channels that make them, averaged, and how much each counts.
_FEATURES = {
    "open": (("jawOpen",), 2.0),  # less mouthClose: what is seen
    "funnel": (("mouthFunnel",), 1.0),
    "pucker": (("mouthPucker",), 1.0),
    "stretch": (("mouthStretchLeft", "mouthStretchRight"), 0.8),
    "smile": (("mouthSmileLeft", "mouthSmileRight"), 0.4),
    "lower": (("mouthLowerDownLeft", "mouthLowerDownRight"), 0.8),
    "upper": (("mouthUpperUpLeft", "mouthUpperUpRight"), 0.8),
    "roll": (("mouthRollLower",), 0.8),
    "tongue": (("tongueOut",), 0.3),
}
_POSES: dict[str, dict[str, float]] = {
    "FF": {"open": 0.08, "roll": 0.45, "upper": 0.25},
    "TH": {"open": 0.15, "lower": 0.2, "upper": 0.1, "tongue": 0.4},
    "DD": {"open": 0.12, "lower": 0.25, "upper": 0.15},
    "kk": {"open": 0.16, "lower": 0.2, "upper": 0.15, "stretch": 0.1},
    "CH": {"open": 0.08, "funnel": 0.55, "lower": 0.15, "upper": 0.2},
    "SS": {"open": 0.06, "stretch": 0.35, "smile": 0.15, "lower": 0.3, "upper": 0.2},
    "nn": {"open": 0.1, "lower": 0.2, "upper": 0.1},
    "RR": {"open": 0.12, "funnel": 0.35, "pucker": 0.25},
    "aa": {"open": 0.55, "lower": 0.3, "upper": 0.2},
    "E": {"open": 0.28, "stretch": 0.3, "smile": 0.25, "lower": 0.35, "upper": 0.25},
    "ih": {"open": 0.16, "stretch": 0.35, "smile": 0.3, "lower": 0.35, "upper": 0.25},
    "oh": {"open": 0.35, "funnel": 0.5, "pucker": 0.15},
    "ou": {"open": 0.12, "funnel": 0.3, "pucker": 0.65},
}
# What p, b and m look like on the way back: the jaw is down a little, and the lips are sealed.
_SEALED = {"jawOpen": 0.1, "mouthClose": 0.1, "mouthPressLeft": 0.3, "mouthPressRight": 0.3}

# How far each channel parts the lips at full weight, mm at the middle of the built-in head's mouth.
_PARTING_MM = {
    **{"jawOpen": 29.9, "mouthClose": -29.9, "mouthFunnel": 15.1, "mouthShrugUpper": 4.9},
    **{f"mouthLowerDown{side}": 3.9 for side in ("Left", "Right")},
    **{f"mouthUpperUp{side}": 3.3 for side in ("Left", "Right")},
    **{f"noseSneer{side}": 2.9 for side in ("Left", "Right")},
}
# Lips nearer than this touch; farther than that nothing is held back.
_TOUCHING_MM, _APART_MM = 0.5, 2.0
# Of these a closed mouth is doing something as soon as they add up to this much.
_EFFORT = ("jawOpen", "mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper")
_FULL_EFFORT = 0.08
# Prefers few small visemes to many that undo each other.
_RIDGE = 0.02


def visemes_of(key_names: list[str]) -> dict[str, str]:
    """Viseme to the key that shows it; nothing unless the five vowels are there."""
    found: dict[str, str] = {}
    for name in key_names:
        words = [word.lower() for word in re.split(r"[\W_]+", name) if word]
        for start in range(len(words)):
            viseme = _BY_SPELLING.get("".join(words[start:]))
            if viseme:
                found.setdefault(viseme, name)
                break
    return found if set(found) >= _VOWELS else {}


def to_visemes(weights: dict[str, Array], names: list[str]) -> Array:
    """Visemes (T, P) of ARKit weights: each (T,) by its channel; what is left out is zero."""
    frames = len(next(iter(weights.values()), np.zeros(0)))
    shape = np.array([_FEATURES[feature][1] for feature in _FEATURES])
    face = np.stack([_feature(weights, feature, frames) for feature in _FEATURES], axis=1) * shape
    shown = [name for name in names if name in _POSES]
    poses = np.array([[_POSES[n].get(f, 0.0) for f in _FEATURES] for n in shown]) * shape
    gram = poses @ poses.T + _RIDGE * np.eye(len(shown))
    values = solve_within(gram, face @ poses.T)
    apart = np.clip((lip_gap_mm(weights, frames) - _TOUCHING_MM) / (_APART_MM - _TOUCHING_MM), 0, 1)
    found = np.zeros((frames, len(names)))
    for column, name in enumerate(names):
        if name in shown:
            found[:, column] = values[:, shown.index(name)] * apart
        elif name == "PP":
            effort = np.sum([_of(weights, channel, frames) for channel in _EFFORT], axis=0)
            found[:, column] = (1 - apart) * np.clip(effort / _FULL_EFFORT, 0, 1)
    return found


def from_visemes(values: Array, names: list[str]) -> dict[str, Array]:
    """ARKit weights, each (T,) by its channel, that visemes (T, P) of these names stand for."""
    weights: dict[str, Array] = {}
    for column, name in enumerate(names):
        for feature, share in _POSES.get(name, {}).items():
            for channel in _FEATURES[feature][0]:
                weights[channel] = weights.get(channel, 0.0) + share * values[:, column]
        if name == "PP":
            for channel, share in _SEALED.items():
                weights[channel] = weights.get(channel, 0.0) + share * values[:, column]
    return {channel: np.clip(value, 0.0, 1.0) for channel, value in weights.items()}


def lip_gap_mm(weights: dict[str, Array], frames: int) -> Array:
    """How far apart the lips would be (T,) on the built-in head; negative: pressed together."""
    gaps = [gain * _of(weights, channel, frames) for channel, gain in _PARTING_MM.items()]
    return np.sum(gaps, axis=0)


def solve_within(gram: Array, targets: Array, sweeps: int = 200) -> Array:
    """Minimise x·G·x / 2 − b·x within 0..1 by coordinate descent.

    Args:
        gram: (N, N) positive definite.
        targets: (T, N) b of each frame.
        sweeps: at most so many rounds.

    Returns:
        (T, N).
    """
    values = np.zeros_like(targets)
    slope = -targets
    for _ in range(sweeps):
        largest = 0.0
        for i in range(len(gram)):
            new = np.clip(values[:, i] - slope[:, i] / gram[i, i], 0.0, 1.0)
            change = new - values[:, i]
            slope = slope + change[:, None] * gram[i]
            values[:, i] = new
            largest = max(largest, float(np.abs(change).max(initial=0.0)))
        if largest < 1e-5:
            break
    return values


def _feature(weights: dict[str, Array], feature: str, frames: int) -> Array:
    value = np.mean([_of(weights, channel, frames) for channel in _FEATURES[feature][0]], axis=0)
    if feature == "open":
        value = np.maximum(value - _of(weights, "mouthClose", frames), 0.0)
    return value


def _of(weights: dict[str, Array], channel: str, frames: int) -> Array:
    return weights.get(channel, np.zeros(frames))
