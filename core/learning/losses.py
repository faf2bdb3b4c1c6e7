"""The losses, each a plain function of predicted and true motion.

Shapes: B batch, T motion frames, C channels, L lip pairs. `mask` (B, T) is True on real frames;
every mean is taken over real frames only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.emotion import complete_intensities, emotion_known


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term; 0 switches it off."""

    reconstruction: float = 10.0
    """L1 between predicted and true motion (PSE's weight)."""
    velocity: float = 10.0
    """L1 between their frame-to-frame changes (PSE's weight)."""
    lips: float = 0.2
    """Error of the gap between the lips, in millimetres, heaviest where the lips should be shut."""
    closure_sharpness: float = 0.7
    """How fast that weight falls with the true gap: exp(-sharpness · gap in mm)."""
    silence: float = 2.0
    """Movement of the mouth while nobody speaks."""
    identity: float = 0.1
    """Cross-entropy of the identity read from the style code (Mimic, eq. 2)."""
    traits: float = 1.0
    """Error of the traits read from the style code, where the corpus knows them. Who someone is can
    be told from a resting smile alone; how far the jaw opens must be asked for."""
    emotion_adversary: float = 0.0
    """Cross-entropy of the emotion that a classifier reads from the style code; the code learns to
    hide it (gradient reversal), so that style and emotion are independent."""
    emotion_reading: float = 0.0
    """Cross-entropy of the emotion that the emotion encoder reads from motion."""


def reconstruction_loss(
    predicted: Tensor, true: Tensor, mask: Tensor, channel_weights: Tensor
) -> Tensor:
    """Weighted L1 over channels (C,)."""
    error = ((predicted - true).abs() * channel_weights).sum(-1) / channel_weights.sum()
    return _mean(error, mask)


def velocity_loss(predicted: Tensor, true: Tensor, mask: Tensor, channel_weights: Tensor) -> Tensor:
    """Weighted L1 between changes from frame to frame."""
    return reconstruction_loss(
        predicted.diff(dim=1), true.diff(dim=1), mask[:, 1:] & mask[:, :-1], channel_weights
    )


def lip_loss(
    predicted: Tensor,
    true: Tensor,
    mask: Tensor,
    lip_matrix: Tensor,
    lip_rest: Tensor,
    sharpness: float,
) -> Tensor:
    """Error of the lips' gap, weighted by how shut they should be, or are.

    An ARKit face is linear in its weights, so the signed gap of a lip pair is too:
    rest + matrix · w. The weight exp(-k · gap) is Audio2Face-3D's (arXiv 2508.16401): a closure
    missed by a millimetre is seen, a wide vowel off by one is not. We take the smaller of the true
    and the predicted gap: weighed by the true one alone, closing always is the safe bet, and an
    unsure model mumbles through closed lips.

    Args:
        predicted: (B, T, C).
        true: (B, T, C).
        mask: (B, T).
        lip_matrix: (L, C), millimetres for a full weight.
        lip_rest: (L,) gap of the neutral face, millimetres.
        sharpness: k, in 1/mm.
    """
    gap = (predicted @ lip_matrix.T + lip_rest).mean(-1)  # (B, T)
    wanted = (true @ lip_matrix.T + lip_rest).mean(-1)
    tightest = torch.minimum(wanted, gap.detach()).clamp_min(0.0)
    weight = torch.exp(-sharpness * tightest) + 0.1
    return _mean((gap - wanted).abs() * weight, mask)


def silence_loss(predicted: Tensor, silent: Tensor, mask: Tensor, mouth: Tensor) -> Tensor:
    """Mean absolute change of the mouth's channels (`mouth`, (C,) bool) in silent frames (B, T)."""
    still = silent[:, 1:] & silent[:, :-1] & mask[:, 1:]
    return _mean(predicted.diff(dim=1)[..., mouth].abs().mean(-1), still)


def identity_loss(scores: Tensor, identities: Tensor) -> Tensor:
    """Cross-entropy of identity scores (B, I) against identity indices (B,); Mimic, eq. 2."""
    return F.cross_entropy(scores, identities)


def traits_loss(read: Tensor, traits: Tensor) -> Tensor:
    """Mean square error of standardised traits (B, K)."""
    return F.mse_loss(read, traits)


def emotion_loss(scores: Tensor, emotion: Tensor) -> Tensor:
    """Cross-entropy of scores (…, 8) against intensities (…, 8), over frames or clips whose
    emotion is known (not NaN).
    """
    wanted = complete_intensities(emotion)
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp_min(1e-6)
    return _mean(-(wanted * scores.log_softmax(-1)).sum(-1), emotion_known(emotion))


def mean_emotion(emotion: Tensor) -> Tensor:
    """Mean intensities (B, 8) over the known frames of (B, T, 8); NaN where none is known."""
    return emotion.nanmean(1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
