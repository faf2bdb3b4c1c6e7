"""Those who play against the model: classifiers behind a gradient reversal, discriminators.

Shapes: B batch, T motion frames, C motion channels, D features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from core.model.layers import masked_mean


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """`x` itself; gradients flow back times −scale (Ganin and Lempitsky 2015; Mimic, eq. 3)."""
    return _Reversal.apply(x, scale)


def reversal_ramp(done: float) -> float:
    """2 / (1 + e^(−10 p)) − 1, at least 0.1, at the share p of the training (Ganin et al. 2016)."""
    return max(0.1, 2.0 / (1.0 + math.exp(-10.0 * done)) - 1.0)


class InverseClassifier(nn.Module):
    """One linear layer behind a gradient reversal: what it learns to read, codes learn to hide."""

    def __init__(self, code: int, classes: int) -> None:
        super().__init__()
        self.read = nn.Linear(code, classes)

    def forward(self, codes: Tensor, scale: float = 1.0) -> Tensor:
        """Scores (B, classes) of codes (B, D)."""
        return self.read(reverse_gradient(codes, scale))


class InverseClipClassifier(nn.Module):
    """The same for clips of frames: one linear layer on the mean over the clip.

    Where the mean of all codes is 0 that would learn nothing, and so teach nothing: with `hidden` a
    layer of that size sees each frame before the mean is taken, and with it which numbers of a code
    go together.
    """

    def __init__(self, code: int, classes: int, hidden: int = 0) -> None:
        super().__init__()
        self.read = nn.Linear(hidden or code, classes)
        self.look = nn.Linear(code, hidden) if hidden else None

    def forward(self, codes: Tensor, mask: Tensor, scale: float = 1.0) -> Tensor:
        """Scores (B, classes) of codes (B, T, D); `mask` (B, T) is True on real frames."""
        codes = reverse_gradient(codes, scale)
        seen = codes if self.look is None else F.relu(self.look(codes))
        return self.read(masked_mean(seen, mask))


class StyleDiscriminator(nn.Module):
    """Says whether motion is real and this person's (PSE; after Meta-StyleSpeech, section 3.3).

    Spectral-norm convolutions, attention over time, the mean; the score is linear in that, plus its
    product with a learned prototype of the person.
    """

    def __init__(self, channels: int, identities: int, width: int = 128) -> None:
        super().__init__()
        self.embed = spectral_norm(nn.Linear(channels, width))
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv1d(width, width, 5, padding=2)) for _ in range(3)
        )
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.score = spectral_norm(nn.Linear(width, 1))
        self.prototypes = nn.Embedding(identities, width)

    def forward(self, motion: Tensor, mask: Tensor, identities: Tensor) -> Tensor:
        """Scores (B,) of normalised motion (B, T, C) as that of people (B,)."""
        x = F.leaky_relu(self.embed(motion), 0.2)
        for convolution in self.convolutions:
            inner = x.masked_fill(~mask[..., None], 0.0).transpose(1, 2)
            x = x + F.leaky_relu(convolution(inner).transpose(1, 2), 0.2)
        attended, _ = self.attention(x, x, x, key_padding_mask=~mask, need_weights=False)
        pooled = masked_mean(x + attended, mask)
        likeness = (pooled * self.prototypes(identities)).mean(-1)
        return self.score(pooled)[:, 0] + likeness


class SyncDiscriminator(nn.Module):
    """Says whether motion and speech belong together (PSE): by frame, then the mean over time."""

    def __init__(self, channels: int, speech: int, width: int = 128) -> None:
        super().__init__()
        self.embed = spectral_norm(nn.Linear(channels + speech, width))
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv1d(width, width, 5, padding=2)) for _ in range(3)
        )
        self.score = spectral_norm(nn.Linear(width, 1))

    def forward(self, motion: Tensor, speech: Tensor, mask: Tensor) -> Tensor:
        """Scores (B,) of normalised motion (B, T, C) with speech features (B, T, D)."""
        x = F.leaky_relu(self.embed(torch.cat([motion, speech], dim=-1)), 0.2)
        for convolution in self.convolutions:
            inner = x.masked_fill(~mask[..., None], 0.0).transpose(1, 2)
            x = x + F.leaky_relu(convolution(inner).transpose(1, 2), 0.2)
        return masked_mean(self.score(x), mask)[:, 0]


def shifted_in_time(motion: Tensor, lengths: Tensor, least: int) -> Tensor:
    """Each clip's motion (B, T, C) turned round in time by `least` frames or more.

    Real motion at the wrong time is the negative that teaches what synchrony is.

    Args:
        motion: (B, T, C).
        lengths: (B,) real frames.
        least: Frames; clips shorter than twice that turn by half their length.
    """
    spare = (lengths - 2 * least).clamp_min(0)
    shift = torch.where(
        lengths > 2 * least,
        least + (torch.rand(len(lengths), device=motion.device) * (spare + 1)).long(),
        lengths // 2,
    )
    time = torch.arange(motion.shape[1], device=motion.device)[None]
    turned = (time + shift[:, None]) % lengths[:, None].clamp_min(1)
    index = torch.where(time < lengths[:, None], turned, time)
    return motion.gather(1, index[..., None].expand_as(motion))
