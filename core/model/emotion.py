"""Emotion: the condition of every frame, and its reading from motion.

Shapes: B batch, T or R frames, D features, 8 emotions in the order of `core.emotions.EMOTIONS`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.config import EmotionConfig

_DILATIONS = (1, 2, 4, 8)


def complete_intensities(emotion: Tensor) -> Tensor:
    """Intensities with "neutral", the first, set to what the others leave of 1.

    So a track of zeros and a track of full neutrality mean the same.

    Args:
        emotion: (..., 8), each 0..1. NaN in a frame means that its emotion is not known.

    Returns:
        (..., 8), rows adding up to 1 unless the others alone exceed it; zeros where not known.
    """
    others = emotion[..., 1:].nan_to_num(0.0)
    neutral = (1.0 - others.sum(-1, keepdim=True)).clamp_min(0.0)
    known = emotion_known(emotion)[..., None]
    return torch.cat([neutral, others], dim=-1) * known


def emotion_known(emotion: Tensor) -> Tensor:
    """Where (...) the emotion (..., 8) of a frame is known."""
    return ~emotion.isnan().any(-1)


class EmotionEncoder(nn.Module):
    """Motion → emotion of each frame: dilated convolutions that see a second to each side.

    It serves "emotion from a reference clip", and while training it tells whether motion shows
    the emotion that was asked for.
    """

    def __init__(self, config: EmotionConfig, channels: int) -> None:
        super().__init__()
        width = config.encoder
        self.embed = nn.Linear(channels, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
            for dilation in _DILATIONS
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in _DILATIONS)
        self.out = nn.Linear(width, config.emotions)

    def forward(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Read emotions.

        Args:
            motion: (B, R, C) at the style encoder's frame rate.
            mask: (B, R), True on real frames.

        Returns:
            Scores (B, R, 8); their softmax are intensities.
        """
        x = F.mish(self.embed(motion))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Padding is zeroed, so that it reads as what lies beyond a clip's end.
            inner = x.masked_fill(~mask[..., None], 0.0).transpose(1, 2)
            x = norm(x + F.mish(convolution(inner).transpose(1, 2)))
        return self.out(x)
