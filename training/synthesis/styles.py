"""Speaking styles: how one person moves the face, as a handful of numbers.

A style is drawn once for an identity and holds for all its clips. Ranges are wide enough that a
face model trained on them meets restrained and broad, tense and lazy, lopsided and smiling
speakers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True)
class SpeakingStyle:
    """One person's manner of speaking. Gains multiply, habits are ARKit weights that stay."""

    jaw: float = 1.0
    """Gain of the jaw's opening."""
    lips: float = 1.0
    """Gain of raising the upper and lowering the lower lip."""
    rounding: float = 1.0
    """Gain of pucker and funnel."""
    spread: float = 1.0
    """Gain of stretching and smiling on spread vowels."""
    tightness: float = 0.6
    """How hard the lips press together on p, b, m: 0 touch, 1 hard."""
    lip_cover: float = 0.08
    """Share of the jaw's opening that the lips take back by staying together."""
    loudness: float = 1.0
    """How strongly loudness opens the jaw."""
    smoothness: float = 1.0
    """Gain on the time constants: small = every phone distinct, large = slurred."""
    anticipation_s: float = 0.1
    """How early rounding begins, in seconds."""
    upper_share: float = 0.5
    """Of the lips' parting, the share of the upper lip."""
    funnel_share: float = 0.45
    """Of rounding, the share of funnel (the rest is pucker)."""
    asymmetry: float = 0.0
    """Left side stronger (> 0) or right side (< 0)."""
    mouth_shift: float = 0.0
    """Mouth pulled to the left (> 0) or right while speaking."""
    smile: float = 0.0
    """Habitual smile."""
    frown: float = 0.0
    """Habitual lowered mouth corners."""
    purse: float = 0.0
    """Habitual pursed lips."""
    squint: float = 0.05
    """Habitual narrowed eyes."""
    sneer: float = 0.0
    """Habitual raised nose wings."""
    brow_raise: float = 0.0
    """Habitual raised brows."""
    brow_lower: float = 0.0
    """Habitual lowered brows."""
    brow_accent: float = 0.5
    """How much stressed words lift the brows."""
    jaw_forward: float = 0.0
    """Habitual forward jaw while speaking."""
    blinks_per_minute: float = 16.0
    """Blink rate."""


READY_MADE: dict[str, SpeakingStyle] = {
    "neutral": SpeakingStyle(),
    "restrained": SpeakingStyle(
        jaw=0.6, lips=0.55, rounding=0.65, spread=0.5, tightness=0.4, loudness=0.6,
        brow_accent=0.15, lip_cover=0.15,
    ),
    "broad": SpeakingStyle(
        jaw=1.4, lips=1.35, rounding=1.35, spread=1.4, tightness=0.8, loudness=1.3,
        lip_cover=0.0, brow_accent=0.9, brow_raise=0.05,
    ),
    "mumbling": SpeakingStyle(
        jaw=0.55, lips=0.4, rounding=0.5, spread=0.35, tightness=0.2, smoothness=1.5,
        lip_cover=0.35, loudness=0.7, brow_accent=0.1, squint=0.12,
    ),
    "crisp": SpeakingStyle(
        jaw=1.0, lips=1.3, rounding=1.2, spread=1.15, tightness=1.0, smoothness=0.7,
        anticipation_s=0.07, lip_cover=0.0, brow_accent=0.6,
    ),
    "smiling": SpeakingStyle(
        jaw=0.95, lips=1.05, rounding=0.8, spread=1.3, smile=0.38, squint=0.2, brow_raise=0.1,
        brow_accent=0.7, upper_share=0.62,
    ),
    "stern": SpeakingStyle(
        jaw=0.85, lips=0.9, rounding=0.9, spread=0.7, tightness=1.0, frown=0.22, brow_lower=0.4,
        squint=0.18, brow_accent=0.15, upper_share=0.35,
    ),
    "pouting": SpeakingStyle(
        jaw=0.8, lips=0.8, rounding=1.55, spread=0.4, purse=0.22, funnel_share=0.6,
        anticipation_s=0.15,
    ),
    "lopsided": SpeakingStyle(
        jaw=0.9, lips=1.0, asymmetry=0.4, mouth_shift=0.12, smile=0.12, brow_accent=0.5,
    ),
}  # fmt: skip
"""Styles that come with the bundled model, by the name the artist sees."""

# Range of each trait over people. Habits are drawn skewed: most people have little of most of them.
_GAINS: dict[str, tuple[float, float]] = {
    "jaw": (0.5, 1.5),
    "lips": (0.35, 1.5),
    "rounding": (0.4, 1.6),
    "spread": (0.3, 1.6),
    "tightness": (0.15, 1.1),
    "lip_cover": (0.0, 0.35),
    "loudness": (0.5, 1.4),
    "smoothness": (0.7, 1.5),
    "anticipation_s": (0.05, 0.16),
    "upper_share": (0.25, 0.7),
    "funnel_share": (0.2, 0.7),
    "brow_accent": (0.0, 1.1),
    "blinks_per_minute": (6.0, 30.0),
}
_HABITS: dict[str, float] = {
    "smile": 0.4,
    "frown": 0.3,
    "purse": 0.25,
    "squint": 0.35,
    "sneer": 0.16,
    "brow_raise": 0.4,
    "brow_lower": 0.45,
    "jaw_forward": 0.25,
}


def sample_style(rng: np.random.Generator) -> SpeakingStyle:
    """Draw the style of a new identity."""
    traits = {name: float(rng.uniform(*bounds)) for name, bounds in _GAINS.items()}
    for name, most in _HABITS.items():
        traits[name] = float(most * rng.random() ** 2.5)
    if traits["smile"] > 0.08:  # nobody smiles and frowns at once
        traits["frown"] *= 0.2
    traits["asymmetry"] = float(np.clip(rng.normal(0.0, 0.15), -0.45, 0.45))
    traits["mouth_shift"] = float(np.clip(rng.normal(0.0, 0.04), -0.15, 0.15))
    return SpeakingStyle(**traits)


def vary_style(style: SpeakingStyle, rng: np.random.Generator) -> SpeakingStyle:
    """The same person on another take: gains a few per cent off."""
    changed = {
        name: getattr(style, name) * float(np.exp(rng.normal(0.0, 0.05)))
        for name in ("jaw", "lips", "rounding", "spread", "tightness", "brow_accent")
    }
    return replace(style, **changed)


def style_traits(style: SpeakingStyle) -> np.ndarray:
    """The style as a vector (traits,), for measuring how well a model recovers it."""
    return np.array([getattr(style, field.name) for field in fields(style)], np.float32)
