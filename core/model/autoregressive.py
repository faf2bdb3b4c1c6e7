"""Mimic's motion decoder: each frame from the frames before it and the speech of its moment.

Shapes: B batch, T motion frames, D features, H heads, C motion channels, S style condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import AutoregressiveConfig
from core.model.decoder import MotionDecoder, Past
from core.model.layers import StyleAdaptiveNorm, sinusoidal_positions


class Cache(NamedTuple):
    """Keys and values (B, H, T, D/H) of the frames that are decoded already."""

    keys: Tensor
    values: Tensor


class AutoregressiveLayer(nn.Module):
    """Causal self-attention, aligned cross-attention, feed-forward; each followed by SALN.

    In the aligned cross-attention frame i may attend to audio frame i alone (Mimic; FaceFormer,
    eq. 6). A softmax over a single key is 1, whatever query and key are, so what is left of it is
    its value and output projections; queries and keys would be parameters that nothing moves.
    """

    def __init__(self, config: AutoregressiveConfig, speech_width: int, condition: int) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.hear = nn.Sequential(nn.Linear(speech_width, width), nn.Linear(width, width))
        self.widen = nn.Linear(width, config.hidden)
        self.narrow = nn.Linear(config.hidden, width)
        self.norms = nn.ModuleList(StyleAdaptiveNorm(width, condition) for _ in range(3))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, heard: Tensor, condition: Tensor, bias: Tensor, cache: Cache | None = None
    ) -> tuple[Tensor, Cache]:
        """Map (B, T, D) to (B, T, D).

        Args:
            x: The last T frames.
            heard: (B, T, D), what `hear` made of their speech.
            condition: (B, T or 1, S).
            bias: (H, T, P + T) for the attention to all frames so far; −∞ where it may not look.
            cache: Of the P frames before; None when there are none.
        """
        batch, frames, width = x.shape
        query, keys, values = (
            part.view(batch, frames, self.heads, -1).transpose(1, 2)
            for part in self.project(x).chunk(3, dim=-1)
        )  # (B, H, T, D/H)
        if cache is not None:
            keys = torch.cat([cache.keys, keys], dim=2)
            values = torch.cat([cache.values, values], dim=2)
        seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias.to(query.dtype))
        seen = self.out(seen.transpose(1, 2).reshape(batch, frames, width))
        x = self.norms[0](x + self.dropout(seen), condition)
        x = self.norms[1](x + self.dropout(heard), condition)
        inner = self.narrow(self.dropout(F.relu(self.widen(x))))
        return self.norms[2](x + self.dropout(inner), condition), Cache(keys, values)


class AutoregressiveDecoder(MotionDecoder):
    """Mimic's decoder (section 3.4), after FaceFormer (Fan et al., CVPR 2022).

    In inference it rolls out: each frame is decoded from what was decoded before, with keys and
    values kept. In training it learns from the true past with all frames at once, a rising share of
    which is replaced by what the model itself makes of them; Mimic's own training rolls out freely.
    """

    looks_back = True

    def __init__(
        self, config: AutoregressiveConfig, channels: int, speech_width: int, condition: int
    ) -> None:
        super().__init__()
        if config.width % config.heads:
            raise IdiolectError(
                f"the width {config.width} is not a multiple of the {config.heads} heads",
                code="config_invalid",
                setting="model.autoregressive.heads",
            )
        self.config = config
        self.width = config.width
        self.embed = nn.Linear(channels, config.width)
        self.layers = nn.ModuleList(
            AutoregressiveLayer(config, speech_width, condition) for _ in range(config.layers)
        )

    @property
    def reach(self) -> int | None:
        """See `MotionDecoder.reach`: it remembers everything."""
        return None

    def forward(
        self,
        speech: Tensor,
        condition: Tensor,
        mask: Tensor,
        read_out: Callable[[Tensor], Tensor],
        past: Past | None = None,
    ) -> Tensor:
        """See `MotionDecoder.forward`. Padding lies behind all real frames: none of them sees it.

        Raises:
            IdiolectError: No past is given.
        """
        if past is None:
            raise IdiolectError("the autoregressive decoder needs the frame before the first")
        if past.true is None or not self.config.teacher_forcing:
            return self.roll_out(speech, condition, past.start, read_out)
        inputs = _shifted(past.true, past.start)
        if past.own_share > 0.0:
            with torch.no_grad():
                own = _shifted(self.teach(inputs, speech, condition, read_out), past.start)
            chosen = torch.rand(*inputs.shape[:2], 1, device=inputs.device) < past.own_share
            inputs = torch.where(chosen, own, inputs)
        return self.teach(inputs, speech, condition, read_out)

    def teach(
        self,
        inputs: Tensor,
        speech: Tensor,
        condition: Tensor,
        read_out: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """All frames (B, T, C) at once from given earlier ones: `inputs` (B, T, C) are a frame
        late.
        """
        frames = inputs.shape[1]
        x = self.embed(inputs) + self._positions(frames, inputs)
        bias = self._bias(0, frames, inputs.device)
        for layer in self.layers:
            x, _ = layer(x, layer.get_submodule("hear")(speech), condition, bias)
        return read_out(x)

    def roll_out(
        self,
        speech: Tensor,
        condition: Tensor,
        start: Tensor,
        read_out: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Frame by frame from the one before the first (B, C), keys and values kept: (B, T, C)."""
        frames = speech.shape[1]
        heard = [layer.get_submodule("hear")(speech) for layer in self.layers]
        caches: list[Cache | None] = [None] * len(heard)
        positions = self._positions(frames, speech)
        bias = self._bias(0, frames, speech.device)
        condition = condition.expand(-1, frames, -1)
        frame, decoded = start[:, None], []
        for i in range(frames):
            now = slice(i, i + 1)
            x = self.embed(frame) + positions[now]
            for index, layer in enumerate(self.layers):
                x, caches[index] = layer(
                    x, heard[index][:, now], condition[:, now], bias[:, now, : i + 1], caches[index]
                )
            frame = read_out(x)
            decoded.append(frame)
        return torch.cat(decoded, dim=1)

    def _positions(self, frames: int, like: Tensor) -> Tensor:
        """Periodic positions (frames, D): they begin anew every `period` frames."""
        period = self.config.period
        once = sinusoidal_positions(min(period, frames), self.width, like)
        return once.repeat(-(-frames // period), 1)[:frames]

    def _bias(self, first: int, last: int, device: torch.device) -> Tensor:
        """Attention bias (H, last − first, last) of the frames [first, last) to all so far.

        −∞ ahead; backwards a step down after every period, steeper for each head by powers of two
        (ALiBi; Press et al. 2022; FaceFormer, eq. 5).
        """
        heads = torch.arange(1, self.config.heads + 1, device=device)
        slopes = 2.0 ** (-8.0 * heads / self.config.heads)
        at = torch.arange(last, device=device)
        behind = at[first:, None] - at[None]
        steps = torch.div(behind, self.config.period, rounding_mode="floor")
        bias = -slopes[:, None, None] * steps
        return bias.masked_fill(behind < 0, float("-inf"))


def _shifted(motion: Tensor, start: Tensor) -> Tensor:
    """Motion (B, T, C) a frame late, beginning with `start` (B, C)."""
    return torch.cat([start[:, None], motion[:, :-1]], dim=1)
