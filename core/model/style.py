"""Style encoder: a clip of someone's facial motion in, a style code out (Mimic, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.config import StyleConfig
from core.model.layers import masked_mean, sinusoidal_positions


class ConvolutionLayer(nn.Module):
    """One layer of the temporal convolution network: convolution, LayerNorm, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = x.masked_fill(~mask[..., None], 0.0)
        return F.relu(self.norm(self.convolution(x.transpose(1, 2)).transpose(1, 2)))


class StyleEncoder(nn.Module):
    """Temporal convolutions, a transformer, and the mean over time.

    Positions are those of time. (The official code indexes them by the place in the batch.)
    """

    def __init__(self, config: StyleConfig, channels: int) -> None:
        super().__init__()
        width = config.width
        self.embed = nn.Linear(channels, width)
        self.convolutions = nn.ModuleList(
            ConvolutionLayer(width) for _ in range(config.convolutions)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, width)
        # Norms come first, unlike in the paper: with norms last the codes of all people collapse
        # into one unless the learning rate is a tenth of what the decoder wants.
        layer = nn.TransformerEncoderLayer(
            width, config.heads, config.hidden, config.dropout, batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(
            layer, config.layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.out = nn.Linear(width, config.code)
        # How far a jaw opens is a plain statistic of the motion that norms inside the network wash
        # out: without it codes hold habits (a resting smile) but no amplitudes.
        self.statistics = nn.Linear(2 * channels, config.code) if config.statistics else None

    def forward(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode reference clips.

        Args:
            motion: (B, T, channels) at the configured `fps`.
            mask: (B, T), True on real frames.

        Returns:
            Style codes (B, code).
        """
        x = self.embed(motion)
        for layer in self.convolutions:
            x = layer(x, mask)
        x = self.project(self.norm(x))
        x = x + sinusoidal_positions(x.shape[1], x.shape[2], x)
        x = self.transformer(x, src_key_padding_mask=~mask)
        # One size for all codes, or the classifier would blow them up to be surer of itself.
        code = masked_mean(self.out(x), mask)
        if self.statistics is not None:
            mean = masked_mean(motion, mask)
            variance = masked_mean((motion - mean[:, None]).square(), mask)
            # Weights are mostly small; the root brings them nearer to each other.
            spread = torch.cat(
                [mean.abs().sqrt() * mean.sign(), (variance + 1e-6).sqrt().sqrt()], -1
            )
            code = code + self.statistics(4.0 * (spread - 0.2))
        return F.layer_norm(code, code.shape[-1:])
