"""Speech encoder and motion decoder, both under a per-frame style condition.

Shapes: B batch, N speech frames (50 Hz), T motion frames, D features, S style condition.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import BlockConfig, SpeechConfig
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
    """Speech tracks → features at the motion's frame rate, in the manner of the style (PSE)."""

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
        self.inputs = nn.ModuleDict({name: nn.Linear(sizes[name], width) for name in read})
        self.align = Alignment(width, fps)
        self.stack = AdaptiveStack(config.encoder, condition)

    def forward(
        self,
        tracks: SpeechTracks,
        speech_mask: Tensor,
        condition: Tensor,
        mask: Tensor,
    ) -> Tensor:
        """Encode speech.

        Args:
            tracks: Speech tracks of N frames.
            speech_mask: (B, N), True on real speech frames.
            condition: (B, T or 1, S).
            mask: (B, T), True on real motion frames.

        Returns:
            (B, T, D).
        """
        x = torch.zeros((), device=speech_mask.device)
        for name, project in self.inputs.items():
            track = getattr(tracks, name)
            if name == "hidden":  # its scale is the backbone's own business
                track = self._drop_clips(F.layer_norm(track, track.shape[-1:]))
            x = x + project(track)
        x = F.mish(x).masked_fill(~speech_mask[..., None], 0.0)  # (B, N, D)
        return self.stack(self.align(x, mask.shape[1]), condition, mask)

    def _drop_clips(self, track: Tensor) -> Tensor:
        """In training, silence a track for some clips, so that the others are learnt as well."""
        if not self.training or self.config.feature_dropout <= 0.0:
            return track
        kept = torch.rand(track.shape[0], 1, 1, device=track.device) >= self.config.feature_dropout
        return track * kept


class ParallelDecoder(nn.Module):
    """Non-autoregressive decoder: every frame at once (PSE)."""

    def __init__(self, config: BlockConfig, speech_width: int, condition: int) -> None:
        super().__init__()
        self.embed = nn.Linear(speech_width, config.width)
        self.stack = AdaptiveStack(config, condition)
        self.width = config.width

    def forward(self, speech: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """Map speech features (B, T, D) to motion features (B, T, width)."""
        return self.stack(self.embed(speech), condition, mask)
