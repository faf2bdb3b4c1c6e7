"""How the eight emotions move a face, and how a performance goes through them.

An emotion does three things: it holds muscles of the upper face and mouth (`held`), it relaxes what
works against it (`eased`), and it changes how far the mouth moves in speech. It never changes when
something is said: the sound is given. What is held follows the descriptions of the basic emotions
by facial action units (Ekman and Friesen, "Unmasking the face", 1975), at the strength of acted
speech and not of a photograph.

Shapes: T motion frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from core.emotions import EMOTION_INDEX, EMOTIONS
from core.motion import ARKIT_CHANNELS


@dataclass(frozen=True)
class Expression:
    """What an emotion of intensity 1 does.

    Attributes:
        held: ARKit weights that the emotion adds; a name without a side stands for both sides.
        eased: Share by which it weakens what else moves a channel: nobody smiles a grief away.
        jaw: Gain of the jaw's opening; `lips`, `rounding`, `spread`, `accent` likewise.
        lips: Gain of the lips' parting.
        rounding: Gain of pucker and funnel.
        spread: Gain of stretched vowels.
        accent: Gain of the brows' accents.
        tension: Added to how hard lips press together.
    """

    held: dict[str, float] = field(default_factory=dict)
    eased: dict[str, float] = field(default_factory=dict)
    jaw: float = 1.0
    lips: float = 1.0
    rounding: float = 1.0
    spread: float = 1.0
    accent: float = 1.0
    tension: float = 0.0


GAINS = ("jaw", "lips", "rounding", "spread", "accent")

_EXPRESSIONS: dict[str, Expression] = {
    "neutral": Expression(),
    "happiness": Expression(
        {"mouthSmile": 0.58, "cheekSquint": 0.50, "eyeSquint": 0.25, "mouthDimple": 0.12,
         "browOuterUp": 0.15, "browInnerUp": 0.10},
        {"mouthFrown": 0.9, "browDown": 0.7, "mouthPucker": 0.3},
        jaw=1.12, lips=1.15, rounding=0.75, spread=1.4, accent=1.4,
    ),
    "anger": Expression(
        {"browDown": 1.0, "noseSneer": 0.32, "eyeSquint": 0.42, "eyeWide": 0.12,
         "mouthFrown": 0.25, "mouthPress": 0.25, "jawForward": 0.12, "mouthStretch": 0.12},
        {"mouthSmile": 0.8, "browOuterUp": 0.8, "browInnerUp": 0.9, "cheekSquint": 0.5},
        jaw=1.2, lips=1.3, rounding=1.05, spread=1.15, accent=0.5, tension=0.4,
    ),
    "sadness": Expression(
        {"browInnerUp": 0.80, "browDown": 0.12, "mouthFrown": 0.52, "mouthShrugLower": 0.28,
         "eyeBlink": 0.20, "eyeLookDown": 0.22, "mouthRollLower": 0.06},
        {"mouthSmile": 0.85, "browOuterUp": 0.7, "cheekSquint": 0.6, "eyeWide": 0.8},
        jaw=0.72, lips=0.70, rounding=0.85, spread=0.55, accent=0.3, tension=-0.15,
    ),
    "contempt": Expression(
        {"mouthSmileLeft": 0.42, "mouthDimpleLeft": 0.50, "mouthPressLeft": 0.25,
         "cheekSquintLeft": 0.28, "mouthLeft": 0.10, "noseSneerLeft": 0.14,
         "browDownLeft": 0.30, "browOuterUpRight": 0.42, "eyeBlink": 0.16, "eyeSquint": 0.22,
         "mouthShrugLower": 0.10},
        {"mouthFrown": 0.5, "eyeWide": 0.8},
        jaw=0.85, lips=0.85, rounding=0.9, spread=0.9, accent=0.6, tension=0.1,
    ),
    "surprise": Expression(
        {"browInnerUp": 0.75, "browOuterUp": 0.80, "eyeWide": 0.70},
        {"browDown": 0.95, "eyeSquint": 0.9, "mouthSmile": 0.4, "cheekSquint": 0.6,
         "mouthFrown": 0.6},
        jaw=1.35, lips=0.95, rounding=1.2, spread=0.75, accent=1.2, tension=-0.1,
    ),
    "fear": Expression(
        {"browInnerUp": 0.80, "browDown": 0.30, "browOuterUp": 0.15, "eyeWide": 0.60,
         "mouthStretch": 0.50, "mouthFrown": 0.25, "mouthRollLower": 0.05},
        {"mouthSmile": 0.85, "eyeSquint": 0.9, "cheekSquint": 0.7, "mouthPucker": 0.4},
        jaw=0.85, lips=1.15, rounding=0.7, spread=1.25, accent=0.6, tension=0.2,
    ),
    "disgust": Expression(
        {"noseSneer": 0.64, "browDown": 0.48, "eyeSquint": 0.45, "cheekSquint": 0.40,
         "mouthShrugLower": 0.32, "mouthFrown": 0.32, "mouthUpperUp": 0.14},
        {"mouthSmile": 0.7, "browOuterUp": 0.7, "browInnerUp": 0.8, "eyeWide": 0.8},
        jaw=0.85, lips=0.8, rounding=0.85, spread=1.0, accent=0.4,
    ),
}  # fmt: skip

EXPRESSIONS: tuple[Expression, ...] = tuple(_EXPRESSIONS[name] for name in EMOTIONS)
"""What each emotion does, in the order of `core.emotions.EMOTIONS`."""

_COLUMN = {name: index for index, name in enumerate(ARKIT_CHANNELS)}


class Feeling:
    """Emotions as they act on each frame of a performance."""

    def __init__(
        self, intensities: np.ndarray, expressions: tuple[Expression, ...] = EXPRESSIONS
    ) -> None:
        """Blend expressions by intensities.

        Args:
            intensities: (T, 8), 0..1, in the order of EMOTIONS.
            expressions: What each does.
        """
        intensities = np.asarray(intensities, np.float64).clip(0.0, 1.0)
        self.held = np.zeros((len(intensities), len(ARKIT_CHANNELS)))
        self.kept = np.ones_like(self.held)
        self.tension = intensities @ [expression.tension for expression in expressions]
        for level, expression in zip(intensities.T, expressions, strict=True):
            if not level.any():
                continue
            for column, weight in _columns(expression.held):
                # Muscles add up, but not beyond their reach.
                self.held[:, column] += (1.0 - self.held[:, column]) * level * weight
            for column, share in _columns(expression.eased):
                self.kept[:, column] *= 1.0 - level * share
        self._gains = {
            name: np.exp(intensities @ np.log([getattr(e, name) for e in expressions]))
            for name in GAINS
        }

    def gain(self, name: str) -> np.ndarray:
        """Gain (T,) of one of `GAINS`; emotions multiply."""
        return self._gains[name]

    def express(self, weights: np.ndarray, parting: np.ndarray) -> None:
        """Add the expression to a face's weights (T, 52), in place.

        Args:
            weights: What speech and manner do.
            parting: (T,) how free the lips are to be held apart: 0 in a closure.
        """
        held = self.held.copy()
        for name, free in _PARTING.items():
            held[:, _COLUMN[name]] *= 1.0 - free * (1.0 - parting)
        weights *= self.kept
        weights += (1.0 - weights.clip(0.0, 1.0)) * held


# What parts the lips lets go, by so much, while they have to stay shut.
_PARTING = {
    "noseSneerLeft": 0.75,
    "noseSneerRight": 0.75,
    "mouthUpperUpLeft": 1.0,
    "mouthUpperUpRight": 1.0,
    "mouthStretchLeft": 0.3,
    "mouthStretchRight": 0.3,
}


def vary_expressions(rng: np.random.Generator) -> tuple[Expression, ...]:
    """The emotions as one performer shows them on one take: every part a little more or less."""
    varied = []
    for expression in EXPRESSIONS:
        overall = float(np.exp(rng.normal(0.0, 0.08)))
        held = {
            name: min(1.0, weight * overall * float(np.exp(rng.normal(0.0, 0.15))))
            for name, weight in expression.held.items()
        }
        gains = {
            name: getattr(expression, name) ** float(np.exp(rng.normal(0.0, 0.2))) for name in GAINS
        }
        varied.append(replace(expression, held=held, **gains))
    return tuple(varied)


def draw_intensities(frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Emotions of a clip, drawn without regard to who speaks or what is said.

    A quarter of the clips is neutral, four tenths show one emotion, a seventh mixes two, and the
    rest goes from one to another (or to or from neutral) within .2 to 1.2 s.

    Args:
        frames: T.
        fps: Frames per second.
        rng: Chance.

    Returns:
        (T, 8) float32. What is neither here nor there of the feelings may be called neutral or
        not: the neutral column says nothing and is drawn so.
    """
    intensities = np.zeros((frames, len(EMOTIONS)))
    first, second = 1 + rng.choice(len(EMOTIONS) - 1, 2, replace=False)
    kind, level, other = rng.random(), _level(rng), _level(rng)
    if 0.25 <= kind < 0.65:
        intensities[:, first] = level
    elif 0.65 <= kind < 0.79:
        share = rng.uniform(0.25, 0.75)
        intensities[:, first], intensities[:, second] = share * level, (1.0 - share) * other
    elif kind >= 0.79:
        length = rng.uniform(0.2, 1.2)
        when = rng.uniform(0.2, 0.8) * frames / fps
        rise = ((np.arange(frames) / fps - when) / length + 0.5).clip(0.0, 1.0)
        rise = rise * rise * (3.0 - 2.0 * rise)
        ends = [(first, level), (second, other)]
        if rng.random() < 0.4:
            ends[int(rng.integers(2))] = (EMOTION_INDEX["neutral"], 0.0)
        for (emotion, most), share in zip(ends, (1.0 - rise, rise), strict=True):
            intensities[:, emotion] = most * share
    rest = 1.0 - intensities.sum(1).clip(0.0, 1.0)
    intensities[:, EMOTION_INDEX["neutral"]] = rest * rng.choice([0.0, 1.0, rng.random()])
    return intensities.astype(np.float32)


def strongest(intensities: np.ndarray) -> np.ndarray:
    """Emotion indices (T,) uint8 of intensities (T, 8): the strongest that shows, or neutral."""
    shown = np.array(intensities)
    shown[:, EMOTION_INDEX["neutral"]] = 0.15
    return shown.argmax(1).astype(np.uint8)


def _level(rng: np.random.Generator) -> float:
    """An intensity; the full one is what artists ask for most."""
    return 1.0 if rng.random() < 0.25 else float(rng.uniform(0.25, 1.0))


def _columns(weights: dict[str, float]) -> list[tuple[int, float]]:
    """Channel indices of names, those without a side on both sides."""
    found = []
    for name, weight in weights.items():
        sides = (name,) if name in _COLUMN else (f"{name}Left", f"{name}Right")
        found += [(_COLUMN[side], weight) for side in sides]
    return found
