"""The whole model: what was heard, a style and an emotion in; facial motion out.

Shapes: B batch, N speech frames (50 Hz), T motion frames, C motion channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.model.config import ModelConfig
from core.model.decoder import ParallelDecoder, SpeechEncoder, SpeechTracks
from core.model.layers import length_mask
from core.model.style import StyleEncoder


class IdiolectModel(nn.Module):
    """Style encoder, style-adaptive speech encoder and decoder (the union of Mimic and PSE).

    Style and emotion are conditions of every frame, each with a learned null token that stands for
    "not given". The speech backbone is a module of its own, since its outputs are computed once and
    kept while conditions change.
    """

    def __init__(self, config: ModelConfig, speech_sizes: dict[str, int]) -> None:
        """Build the model.

        Args:
            config: Sizes.
            speech_sizes: Width of each of the backbone's tracks, by its name in `SpeechTracks`.
        """
        super().__init__()
        self.config = config
        condition = config.style.code + config.emotion.width
        self.style_encoder = StyleEncoder(config.style, config.motion.channels)
        self.null_style = nn.Parameter(torch.zeros(config.style.code))
        # No bias: an emotion track of zeros is plainly neutral, and not the same as "not given".
        self.emotion_embedding = nn.Linear(
            config.emotion.emotions, config.emotion.width, bias=False
        )
        self.null_emotion = nn.Parameter(torch.zeros(config.emotion.width))
        self.speech_encoder = SpeechEncoder(
            config.speech, speech_sizes, config.motion.fps, condition
        )
        self.decoder = ParallelDecoder(config.decoder, config.speech.encoder.width, condition)
        self.heads = nn.ModuleDict(
            {config.motion.space: nn.Linear(config.decoder.width, config.motion.channels)}
        )

    @property
    def reach(self) -> int | None:
        """Motion frames on each side that one output frame depends on; None if all of them."""
        parts = (self.speech_encoder.stack.reach, self.decoder.stack.reach)
        if None in parts:
            return None
        align = self.speech_encoder.align
        return sum(part or 0 for part in parts) + -(-align.reach * align.repeat // align.stride)

    def encode_style(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode reference clips (B, T, C) at `config.style.fps` into style codes (B, d_s)."""
        return self.style_encoder(motion, mask)

    def forward(
        self,
        tracks: SpeechTracks,
        lengths: Tensor,
        frames: int,
        *,
        style: Tensor | None = None,
        emotion: Tensor | None = None,
        motion_lengths: Tensor | None = None,
    ) -> Tensor:
        """Speech to motion.

        Args:
            tracks: Speech tracks of N frames, padded at the end.
            lengths: (B,) real speech frames of each clip.
            frames: T, motion frames wanted.
            style: Style codes (B, T or 1, d_s); None for the null token.
            emotion: Emotion intensities (B, T or 1, 8); None for the null token.
            motion_lengths: (B,) real motion frames of each clip; None when all have T.

        Returns:
            Motion (B, T, C). ARKit weights are not clamped here: the loss needs the gradient.
        """
        batch = lengths.shape[0]
        speech_mask = length_mask(lengths, tracks.prosody.shape[1])
        if motion_lengths is None:
            mask = torch.ones(batch, frames, dtype=torch.bool, device=lengths.device)
        else:
            mask = length_mask(motion_lengths, frames)
        condition = self.condition(batch, style, emotion)
        speech = self.speech_encoder(tracks, speech_mask, condition, mask)
        features = self.decoder(speech, condition, mask)
        return self.heads[self.config.motion.space](features)

    def condition(self, batch: int, style: Tensor | None, emotion: Tensor | None) -> Tensor:
        """Join style and emotion into one condition (B, T or 1, d_s + d_e)."""
        if style is None:
            style = self.null_style.expand(batch, 1, -1)
        style = self._drop(style, self.null_style, self.config.style.null_chance)
        if emotion is None:
            embedded = self.null_emotion.expand(batch, 1, -1)
        else:
            embedded = self.emotion_embedding(emotion)
            embedded = self._drop(embedded, self.null_emotion, self.config.emotion.null_chance)
        frames = max(style.shape[1], embedded.shape[1])
        return torch.cat([style.expand(-1, frames, -1), embedded.expand(-1, frames, -1)], dim=-1)

    def _drop(self, condition: Tensor, null: Tensor, chance: float) -> Tensor:
        """In training, replace whole clips' conditions by the null token now and then."""
        if not self.training or chance <= 0.0:
            return condition
        dropped = torch.rand(condition.shape[0], 1, 1, device=condition.device) < chance
        return torch.where(dropped, null, condition)
