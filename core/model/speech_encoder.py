"""Speech encoder: what the backbone heard → features at the motion's frame rate.

Shapes: B batch, N speech frames (50 Hz), T motion frames, D features, S style condition.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import SpeechConfig
from core.model.layers import AdaptiveStack, Alignment


class SpeechTracks(NamedTuple):
    """What the backbone heard, 50 times a second.

    Attributes:
        hidden: (B, N, D) last hidden layer.
        posteriors: (B, N, 40) phone probabilities, each frame summing to 1.
        prosody: (B, N, P) loudness and pitch.
    """

    hidden: Tensor
    posteriors: Tensor
    prosody: Tensor


class SpeechEncoder(nn.Module):
    """Speech tracks → features at the motion's frame rate, in the manner of the style (PSE).

    Without blocks it knows no style, and is Mimic's audio encoder behind its backbone.
    """

    def __init__(
        self, config: SpeechConfig, sizes: dict[str, int], fps: float, condition: int
    ) -> None:
        super().__init__()
        self.config = config
        width = config.encoder.width
        read = [name for name in SpeechTracks._fields if getattr(config, name)]
        if not read:
            raise IdiolectError(
                "the speech encoder reads nothing",
                hint="Set at least one of speech.hidden, speech.posteriors, speech.prosody.",
                code="config_invalid",
                setting="speech",
            )
        self.sizes = [sizes[name] for name in read]
        self.inputs = nn.ModuleDict({name: nn.Linear(sizes[name], width) for name in read})
        self.align = Alignment(sum(self.sizes) if config.align_wide else width, fps)
        self.stack = AdaptiveStack(config.encoder, condition)

    def forward(
        self,
        tracks: SpeechTracks,
        speech_mask: Tensor,
        condition: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Encode speech in the manner of a style.

        Args:
            tracks: Speech tracks of N frames.
            speech_mask: (B, N), True on real speech frames.
            condition: (B, T or 1, S).
            mask: (B, T), True on real motion frames.

        Returns:
            (B, T, D).
        """
        return self.stack(self.style_free(tracks, speech_mask, mask.shape[1]), condition, mask)

    def style_free(self, tracks: SpeechTracks, speech_mask: Tensor, frames: int) -> Tensor:
        """What the speech says, (B, T, D), before any style is heard."""
        read = [self._read(name, getattr(tracks, name)) for name in self.inputs]
        projections = self.inputs.values()
        if self.config.align_wide:
            wide = torch.cat(read, dim=-1).masked_fill(~speech_mask[..., None], 0.0)
            parts = self.align(wide, frames).split(self.sizes, dim=-1)
            found = [project(part) for project, part in zip(projections, parts, strict=True)]
            return torch.stack(found).sum(0)
        x = torch.zeros((), device=speech_mask.device)
        for project, track in zip(projections, read, strict=True):
            x = x + project(track)
        x = F.mish(x).masked_fill(~speech_mask[..., None], 0.0)  # (B, N, D)
        return self.align(x, frames)

    def _read(self, name: str, track: Tensor) -> Tensor:
        if name != "hidden":
            return track
        # Its scale is the backbone's own business.
        track = F.layer_norm(track, track.shape[-1:])
        if not self.training or self.config.feature_dropout <= 0.0:
            return track
        # In training some clips go without it, so that the other tracks are learnt as well.
        kept = torch.rand(track.shape[0], 1, 1, device=track.device) >= self.config.feature_dropout
        return track * kept
