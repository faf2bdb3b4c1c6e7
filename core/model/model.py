"""The whole model: what was heard, a style and an emotion in; facial motion out.

Shapes: B batch, N speech frames (50 Hz), T motion frames, R reference frames, C motion channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.autoregressive import AutoregressiveDecoder
from core.model.config import ModelConfig
from core.model.content import ContentEncoder
from core.model.decoder import MotionDecoder, ParallelDecoder, Past, check_decoder_kind
from core.model.duration import PhoneModel, PhoneReading, PhoneRuns, heard_phones
from core.model.emotion import EmotionEncoder, complete_intensities, emotion_known
from core.model.layers import length_mask
from core.model.speech_encoder import SpeechEncoder, SpeechTracks
from core.model.style import IdentityStyles, StyleEncoder, build_style_encoder


class HeardContent(NamedTuple):
    """What the decoder is given of the speech.

    Attributes:
        free: (B, T, D) features that know no style: Mimic's a_{1:T}.
        features: (B, T, D) what the decoder reads.
        phones: What was read about phones, or None.
    """

    free: Tensor
    features: Tensor
    phones: PhoneReading | None


class IdiolectModel(nn.Module):
    """Style encoder, style-adaptive speech encoder and decoder: Mimic, PSE or the union of both.

    Style and emotion are conditions of every frame, each with a learned null token that stands for
    "not given". The speech backbone is a module of its own, since its outputs are computed once and
    kept while conditions change.
    """

    motion_mean: Tensor
    motion_spread: Tensor

    def __init__(self, config: ModelConfig, speech_sizes: dict[str, int]) -> None:
        """Build the model.

        Args:
            config: Sizes, and which parts there are.
            speech_sizes: Width of each of the backbone's tracks, by its name in `SpeechTracks`.

        Raises:
            IdiolectError: "config_invalid" where parts do not fit each other.
        """
        super().__init__()
        _check(config)
        self.config = config
        motion, emotion = config.motion, config.emotion
        condition = config.style.code + (emotion.width if emotion.given else 0)
        self.style_encoder: StyleEncoder | IdentityStyles = build_style_encoder(
            config.style, motion.channels
        )
        self.null_style = nn.Parameter(torch.zeros(config.style.code))
        if emotion.given:
            self.emotion_embedding = nn.Linear(emotion.emotions, emotion.width, bias=False)
            self.null_emotion = nn.Parameter(torch.zeros(emotion.width))
        self.speech_encoder = SpeechEncoder(config.speech, speech_sizes, motion.fps, condition)
        width = config.speech.encoder.width
        self.decoder: MotionDecoder = (
            ParallelDecoder(config.decoder, width, condition)
            if config.decoder_kind == "parallel"
            else AutoregressiveDecoder(config.autoregressive, motion.channels, width, condition)
        )
        head = nn.Linear(self.decoder.width, motion.channels)
        if self.decoder.looks_back:  # one face throughout, until something is learnt (Mimic)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleDict({motion.space: head})
        self.content_encoder = (
            ContentEncoder(config.content, motion.channels) if config.content.code else None
        )
        self.emotion_encoder = EmotionEncoder(emotion, motion.channels) if emotion.encoder else None
        parts = config.duration
        wants_phones = parts.phone_head or parts.predictor or parts.expansion or parts.positions
        self.phone_model = PhoneModel(parts, width, motion.fps) if wants_phones else None
        if motion.normalise:
            self.register_buffer("motion_mean", torch.zeros(motion.channels))
            self.register_buffer("motion_spread", torch.ones(motion.channels))

    def set_motion_statistics(self, mean: Tensor, spread: Tensor) -> None:
        """Take over mean and spread (C,) of the training corpus' motion, if they are wanted."""
        if self.config.motion.normalise:
            self.motion_mean.copy_(mean)
            self.motion_spread.copy_(spread)

    def normalised(self, motion: Tensor) -> Tensor:
        """Motion (…, C) as the networks see it."""
        if not self.config.motion.normalise:
            return motion
        return (motion - self.motion_mean) / self.motion_spread

    def _in_units(self, motion: Tensor) -> Tensor:
        """What the networks put out (…, C), in the motion's own unit."""
        if not self.config.motion.normalise:
            return motion
        return motion * self.motion_spread + self.motion_mean

    @property
    def context(self) -> int | None:
        """Motion frames of speech on each side that a decoded frame depends on; None if all.

        What a decoder that looks back remembers of its own motion is not speech, and not counted.
        """
        phones = self.phone_model.reach if self.phone_model is not None else 0
        decoder = 0 if self.decoder.looks_back else self.decoder.reach
        parts = (self.speech_encoder.stack.reach, decoder, phones)
        if None in parts:
            return None
        align = self.speech_encoder.align
        return sum(part or 0 for part in parts) + -(-align.reach * align.repeat // align.stride)

    @property
    def reach(self) -> int | None:
        """Motion frames on each side that one output frame depends on; None if all of them."""
        return None if self.decoder.reach is None else self.context

    def encode_style(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode reference clips (B, R, C) at `config.style.fps` into style codes (B, d_s).

        Raises:
            IdiolectError: The model knows styles by identity only.
        """
        if isinstance(self.style_encoder, IdentityStyles):
            raise IdiolectError(
                "this model knows the people it was trained on, and cannot read a style",
                hint="Choose one of its ready-made styles, or another model.",
                code="no_style_encoder",
                setting="reference",
            )
        return self.style_encoder(self.normalised(motion), mask)

    def encode_content(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode motion (B, T, C) at `config.motion.fps` into content codes (B, T, d_c).

        Raises:
            IdiolectError: The model has no content encoder.
        """
        if self.content_encoder is None:
            raise IdiolectError(
                "this model has no content encoder",
                hint="Set model.content.code to the width of the speech encoder and train again.",
                code="config_invalid",
                setting="model.content.code",
            )
        return self.content_encoder(self.normalised(motion), mask)

    def read_emotion(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Scores (B, R, 8) of each frame's emotion; their softmax are intensities.

        Args:
            motion: (B, R, C) at `config.style.fps`.
            mask: (B, R), True on real frames.

        Raises:
            IdiolectError: The model cannot read emotion from motion.
        """
        if self.emotion_encoder is None:
            raise IdiolectError(
                "this model cannot read emotion from motion",
                hint="Set the emotion by hand, or choose another model.",
                code="no_emotion_encoder",
                setting="emotion",
            )
        return self.emotion_encoder(self.normalised(motion), mask)

    def forward(
        self,
        tracks: SpeechTracks,
        lengths: Tensor,
        frames: int,
        *,
        style: Tensor | None = None,
        emotion: Tensor | None = None,
        motion_lengths: Tensor | None = None,
        phones: Tensor | None = None,
        past: Past | None = None,
        span: slice = slice(None),
    ) -> Tensor:
        """Speech to motion.

        Args:
            tracks: Speech tracks of N frames, padded at the end.
            lengths: (B,) real speech frames of each clip.
            frames: T, motion frames wanted.
            style: Style codes (B, T or 1, d_s); None for the null token.
            emotion: Emotion intensities (B, T or 1, 8), NaN in frames where the null token stands;
                None for it throughout.
            motion_lengths: (B,) real motion frames of each clip; None when all have T.
            phones: (B, T) phone of each frame where known, −1 elsewhere; None to go by what is
                heard.
            past: For a decoder that looks back, in the motion's unit; None begins at rest.
            span: Of the T frames, those to decode: the others are context of the speech encoder.

        Returns:
            Motion (B, T, C), or the frames of `span`. ARKit weights are not clamped here: the loss
            needs the gradient.
        """
        batch = lengths.shape[0]
        mask = self.frame_mask(batch, frames, motion_lengths, lengths.device)
        condition = self.condition(batch, style, emotion)
        heard = self.hear(tracks, lengths, condition, mask, phones)
        if condition.shape[1] > 1:
            condition = condition[:, span]
        return self.decode(heard.features[:, span], condition, mask[:, span], past)

    @staticmethod
    def frame_mask(batch: int, frames: int, lengths: Tensor | None, device: torch.device) -> Tensor:
        """Mask (B, T) of real motion frames; all of them without `lengths` (B,)."""
        if lengths is None:
            return torch.ones(batch, frames, dtype=torch.bool, device=device)
        return length_mask(lengths, frames)

    def hear(
        self,
        tracks: SpeechTracks,
        lengths: Tensor,
        condition: Tensor,
        mask: Tensor,
        phones: Tensor | None = None,
        planted: PhoneRuns | None = None,
    ) -> HeardContent:
        """Speech tracks to what the decoder reads; arguments as in `forward` and `condition`, and
        `planted` as in `PhoneModel.forward`.
        """
        speech_mask = length_mask(lengths, tracks.prosody.shape[1])
        frames = mask.shape[1]
        free = self.speech_encoder.style_free(tracks, speech_mask, frames)
        styled = self.speech_encoder.stack(free, condition, mask)
        if self.phone_model is None:
            return HeardContent(free, styled, None)
        heard = None
        if self.config.speech.posteriors:
            heard = heard_phones(tracks.posteriors, lengths, frames, self.config.motion.fps)
        features, reading = self.phone_model(free, styled, phones, heard, mask, planted)
        return HeardContent(free, features, reading)

    def decode(
        self, features: Tensor, condition: Tensor, mask: Tensor, past: Past | None = None
    ) -> Tensor:
        """Speech features or content codes (B, T, D) to motion (B, T, C), in its own unit."""
        if self.decoder.looks_back:
            rest = features.new_zeros(len(features), self.config.motion.channels)
            past = past or Past(rest)
            true = None if past.true is None else self.normalised(past.true)
            past = Past(self.normalised(past.start), true, past.own_share)
        head = self.heads[self.config.motion.space]
        return self._in_units(self.decoder(features, condition, mask, head, past))

    def condition(
        self, batch: int, style: Tensor | None, emotion: Tensor | None, *, drop: bool = True
    ) -> Tensor:
        """Join style and emotion into one condition (B, T or 1, d_s + d_e).

        In training each is replaced by its null token now and then, unless `drop` is False.
        """
        if style is None:
            style = self.null_style.expand(batch, 1, -1)
        style = self._drop(style, self.null_style, self.config.style.null_chance, drop)
        if not self.config.emotion.given:
            return style
        if emotion is None:
            embedded = self.null_emotion.expand(batch, 1, -1)
        else:
            embedded = self.emotion_embedding(complete_intensities(emotion))
            known = emotion_known(emotion)[..., None]
            embedded = torch.where(known, embedded, self.null_emotion)
            chance = self.config.emotion.null_chance
            embedded = self._drop(embedded, self.null_emotion, chance, drop)
        frames = max(style.shape[1], embedded.shape[1])
        return torch.cat([style.expand(-1, frames, -1), embedded.expand(-1, frames, -1)], dim=-1)

    def _drop(self, condition: Tensor, null: Tensor, chance: float, wanted: bool) -> Tensor:
        """In training, replace whole clips' conditions by the null token now and then.

        A chance of 1 is the ablation: a condition that was never learnt is not given later either.
        """
        if chance >= 1.0:
            return null.expand_as(condition)
        if not (self.training and wanted) or chance <= 0.0:
            return condition
        dropped = torch.rand(condition.shape[0], 1, 1, device=condition.device) < chance
        return torch.where(dropped, null, condition)


def _check(config: ModelConfig) -> None:
    check_decoder_kind(config.decoder_kind)
    width = config.speech.encoder.width
    if config.content.code not in (0, width):
        raise IdiolectError(
            f"content codes of {config.content.code} numbers cannot take the place of speech "
            f"features of {width}",
            hint=f"Set model.content.code = {width}, or 0 for no content encoder.",
            code="config_invalid",
            setting="model.content.code",
        )
