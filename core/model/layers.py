"""Building blocks: style-adaptive norm, relative attention, feed-forward-transformer block,
alignment.

Shapes: B batch, T motion frames, N speech frames (50 Hz), D features, H heads, S style condition.
Masks are boolean, True on real frames; padding never reaches a real frame.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import BlockConfig

SPEECH_RATE_HZ = 50
"""Speech features a second."""


class StyleAdaptiveNorm(nn.Module):
    """Layer norm whose gain and bias are one linear map of the style condition (Mimic, eq. 1).

    At initialisation the map gives gain 1 and bias 0 whatever the condition, so the layer starts as
    a plain LayerNorm.
    """

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.width = width
        self.affine = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        with torch.no_grad():
            self.affine.bias[:width] = 1.0

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normalise `x` (B, T, D) under `condition` (B, T or 1, S)."""
        # Scaled to unit length: Adam moves every weight of the map by about the learning rate at
        # once, and the gains would jump by the sum over all numbers of the condition.
        condition = condition * condition.shape[-1] ** -0.5
        gain, bias = self.affine(condition).chunk(2, dim=-1)  # (B, T or 1, D) each
        return gain * F.layer_norm(x, (self.width,)) + bias


class RelativeAttention(nn.Module):
    """Self-attention with learned relative keys and values (Shaw et al. 2018, eqs. 3-5).

    Offsets between frames are clipped at ±max_relative, so any length works. With `reach` a frame
    attends only to that many frames on each side: then a window of a long clip gives exactly what
    the whole would, as soon as its margin covers the stack's reach. Without `relative` the offsets
    are not heard (PSE's ablation): the tables are one row that stands for all of them.
    """

    def __init__(
        self, width: int, heads: int, reach: int, max_relative: int, *, relative: bool = True
    ) -> None:
        super().__init__()
        if width % heads:
            raise IdiolectError(
                f"the width {width} is not a multiple of the {heads} heads",
                code="config_invalid",
                setting="heads",
            )
        self.heads = heads
        self.reach = reach
        self.clip = (min(max_relative, reach) if reach else max_relative) if relative else 0
        size = width // heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        # One table for all heads, row r for the offset r - clip.
        self.relative_keys = nn.Parameter(torch.randn(2 * self.clip + 1, size) * size**-0.5)
        self.relative_values = nn.Parameter(torch.randn(2 * self.clip + 1, size) * size**-0.5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend within `x` (B, T, D); `mask` (B, T) is True on real frames.

        With a reach, queries are taken in blocks of K frames that each see W = K + 2 · reach keys,
        so the work grows with T and not with its square.
        """
        batch, frames, width = x.shape
        size = width // self.heads
        block = 2 * self.reach or frames  # K
        tail = -frames % block
        query, key, value = (
            part.view(batch, frames, self.heads, size).transpose(1, 2)  # (B, H, T, D/H)
            for part in self.project(x).chunk(3, dim=-1)
        )
        query = F.pad(query, (0, 0, 0, tail)).unflatten(2, (-1, block))  # (B, H, T/K, K, D/H)
        key, value = (
            F.pad(part, (0, 0, self.reach, self.reach + tail)).unfold(
                2, block + 2 * self.reach, block
            )  # (B, H, T/K, D/H, W)
            for part in (key, value)
        )
        seen = F.pad(mask, (self.reach, self.reach + tail)).unfold(
            1, block + 2 * self.reach, block
        )  # (B, T/K, W)

        query_time = torch.arange(block, device=x.device)[:, None]
        key_time = torch.arange(block + 2 * self.reach, device=x.device)[None] - self.reach
        offset = key_time - query_time  # (K, W)
        scores = query @ key  # (B, H, T/K, K, W)
        row = (offset.clamp(-self.clip, self.clip) + self.clip).expand_as(scores)
        scores = scores + (query @ self.relative_keys.T).gather(-1, row)
        allowed = seen[:, None, :, None, :]
        if self.reach:
            allowed = allowed & (offset.abs() <= self.reach)
        # A padded query may have no allowed key: it gets an even spread instead of NaN.
        scores = (scores * size**-0.5).masked_fill(~allowed, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1)
        per_row = weights.new_zeros(*weights.shape[:-1], 2 * self.clip + 1).scatter_add(
            -1, row, weights
        )  # (B, H, T/K, K, R): attention by offset
        mixed = weights @ value.transpose(-1, -2) + per_row @ self.relative_values
        mixed = mixed.flatten(2, 3)[:, :, :frames]  # (B, H, T, D/H)
        return self.out(mixed.transpose(1, 2).reshape(batch, frames, width))


class AdaptiveBlock(nn.Module):
    """Feed-forward-transformer block with style-adaptive norms (Meta-StyleSpeech; PSE section
    3).
    """

    def __init__(self, config: BlockConfig, condition: int) -> None:
        super().__init__()
        width, kernel = config.width, config.kernel
        self.attention = RelativeAttention(
            width, config.heads, config.reach, config.max_relative, relative=config.relative
        )
        self.attention_norm = StyleAdaptiveNorm(width, condition)
        self.widen = nn.Conv1d(width, config.hidden, kernel, padding=kernel // 2)
        self.narrow = nn.Conv1d(config.hidden, width, 1)
        self.feed_norm = StyleAdaptiveNorm(width, condition)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D) under `condition` (B, T or 1, S)."""
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)), condition)
        # Padding is zeroed, so that the convolution sees what it would see beyond a clip's end.
        inner = x.masked_fill(~mask[..., None], 0.0).transpose(1, 2)  # (B, D, T)
        inner = self.narrow(F.mish(self.widen(inner))).transpose(1, 2)
        return self.feed_norm(x + self.dropout(inner), condition)


class AdaptiveStack(nn.Module):
    """A stack of `AdaptiveBlock`."""

    def __init__(self, config: BlockConfig, condition: int) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(AdaptiveBlock(config, condition) for _ in range(config.blocks))

    @property
    def reach(self) -> int | None:
        """Frames on each side that one output frame depends on; None when it is all of them."""
        if not self.config.blocks:
            return 0
        if not self.config.reach:
            return None
        return self.config.blocks * (self.config.reach + self.config.kernel // 2)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        for block in self.blocks:
            x = block(x, condition, mask)
        return x


class Alignment(nn.Module):
    """Brings 50 Hz features to the motion's frame rate: repeat r times, convolve with stride s.

    fps / 50 = r / s; Mimic's own case is 25 fps with r 1, s 2, kernel 15, padding 7. Output frame i
    is centred on feature i·50/fps. The number of output frames is given, and the input is padded
    with zeros or trimmed to fit it, so that lengths never drift apart.
    """

    def __init__(self, width: int, fps: float) -> None:
        super().__init__()
        ratio = Fraction(fps / SPEECH_RATE_HZ).limit_denominator(50)
        if ratio <= 0 or abs(float(ratio) * SPEECH_RATE_HZ - fps) > 1e-6 or ratio.numerator > 12:
            raise IdiolectError(
                f"the model cannot work at {fps:g} frames a second",
                hint="Use 24, 25, 30, 50 or 60; motion is resampled to the scene's afterwards.",
                code="config_invalid",
                setting="motion.fps",
            )
        self.repeat, self.stride = ratio.numerator, ratio.denominator
        # Wide enough that no feature falls between two output frames.
        kernel = max(15, 2 * self.stride + 1)
        self.padding = kernel // 2
        self.convolution = nn.Conv1d(width, width, kernel, stride=self.stride)

    @property
    def reach(self) -> int:
        """Speech frames on each side that one output frame depends on."""
        return math.ceil(self.padding / self.repeat)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """Map speech features (B, N, D) to (B, frames, D)."""
        x = x.transpose(1, 2).repeat_interleave(self.repeat, dim=-1)  # (B, D, N·r)
        wanted = (frames - 1) * self.stride + 1 + self.padding
        x = F.pad(x, (self.padding, wanted - x.shape[-1]))  # a negative pad trims
        return self.convolution(x).transpose(1, 2)


def sinusoidal_positions(frames: int, width: int, like: Tensor) -> Tensor:
    """Positions of Vaswani et al. (2017, section 3.5) as a (frames, width) tensor like `like`."""
    time = torch.arange(frames, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(
        torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
        * (-math.log(10000.0) / width)
    )
    table = torch.stack([(time * rate).sin(), (time * rate).cos()], dim=-1)
    return table.flatten(1)[:, :width].to(like.dtype)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` (B, T, D) over the frames where `mask` (B, T) is True, as (B, D)."""
    weight = mask[..., None].to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp_min(1.0)


def length_mask(lengths: Tensor, frames: int) -> Tensor:
    """Mask (B, frames), True where the frame's index is under its clip's length (B,)."""
    return torch.arange(frames, device=lengths.device)[None] < lengths[:, None]
