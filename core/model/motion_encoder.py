"""What style and content encoder share: motion in, a code for every frame out (Mimic, 3.2).

Shapes: B batch, T motion frames, C channels, D features.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import ContentConfig, StyleConfig
from core.model.layers import sinusoidal_positions


class InstanceNorm(nn.Module):
    """Each feature of a clip to mean 0 and spread 1 over the clip's real frames, without affine.

    What stays the same throughout a clip, and how strong it all is, is taken away: that is manner.

    Args:
        epsilon: Added to the variance, so that what does not change stays small.
    """

    def __init__(self, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise `x` (B, T, D) over the frames where `mask` (B, T) is True."""
        weight = mask[..., None].to(x.dtype)
        count = weight.sum(1, keepdim=True).clamp_min(1.0)
        centred = x - (x * weight).sum(1, keepdim=True) / count
        variance = (centred.square() * weight).sum(1, keepdim=True) / count
        return centred * (variance + self.epsilon).rsqrt()


class ConvolutionLayer(nn.Module):
    """One layer of the temporal convolution network: convolution, norm, ReLU."""

    def __init__(self, width: int, norm: nn.Module) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.norm = norm

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = x.masked_fill(~mask[..., None], 0.0)
        x = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        return F.relu(normalised(self.norm, x, mask))


class MotionEncoder(nn.Module):
    """Temporal convolutions and a transformer over motion.

    Positions are those of time. (The official code indexes them by the place in the batch.)

    Args:
        config: Sizes.
        channels: C.
        over_time: Norms of the convolutional part go over time (`InstanceNorm`), not over features.
    """

    def __init__(
        self, config: StyleConfig | ContentConfig, channels: int, *, over_time: bool
    ) -> None:
        super().__init__()
        width = config.width
        if width % config.heads:
            raise IdiolectError(
                f"the width {width} is not a multiple of the {config.heads} heads",
                code="config_invalid",
                setting="heads",
            )

        def norm() -> nn.Module:
            return InstanceNorm() if over_time else nn.LayerNorm(width)

        self.embed = nn.Linear(channels, width)
        self.convolutions = nn.ModuleList(
            ConvolutionLayer(width, norm()) for _ in range(config.convolutions)
        )
        self.norm = norm()
        self.project = nn.Linear(width, width)
        # Norms come first by default, unlike in the paper: with norms last the codes of all people
        # collapse into one unless the learning rate is a tenth of what the parallel decoder wants.
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            config.hidden,
            config.dropout,
            batch_first=True,
            norm_first=config.norm_first,
        )
        self.transformer = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.out = nn.Linear(width, config.code)

    def frames(self, motion: Tensor, mask: Tensor) -> Tensor:
        """A code for each frame: (B, T, C) to (B, T, code); `mask` (B, T) is True on real ones."""
        x = self.embed(motion)
        for layer in self.convolutions:
            x = layer(x, mask)
        x = self.project(normalised(self.norm, x, mask))
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], x)
        x = self.transformer(x, src_key_padding_mask=~mask)
        return self.out(x)


def normalised(norm: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
    """`x` (B, T, D) through either kind of norm."""
    return norm(x, mask) if isinstance(norm, InstanceNorm) else norm(x)
