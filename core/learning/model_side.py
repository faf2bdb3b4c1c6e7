"""The model's side of a training: every term of both papers' losses that has a weight.

Shapes: B batch, T motion frames, R reference frames, C motion channels, D features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.emotions import EMOTIONS
from core.learning import losses
from core.learning.adversaries import InverseClassifier, InverseClipClassifier, reversal_ramp
from core.learning.batch import Batch
from core.learning.critics import Critics, Swapped
from core.learning.face import FaceMeasures
from core.learning.losses import LossWeights
from core.learning.optim import OptimConfig, risen_and_falling
from core.learning.sides import Side, Term
from core.model.decoder import Past
from core.model.layers import length_mask
from core.model.model import IdiolectModel
from core.model.speech import SpeechBackbone
from core.model.speech_encoder import SpeechTracks
from core.model.style import IdentityStyles

FIRST_TEMPERATURE = 0.07
COLDEST = 0.01
"""The contrastive loss' temperature: where it begins, and how low it may be learnt."""


class Readers(nn.Module):
    """What is read from codes while training, so that they hold it, or hide it."""

    def __init__(self, model: IdiolectModel, identities: int, traits: int) -> None:
        super().__init__()
        style, content = model.config.style.code, model.config.content.code
        hidden = 2 * content if model.config.content.over_time else 0
        self.identity = nn.Linear(style, identities)
        self.traits = nn.Linear(style, traits) if traits else None
        self.emotion = InverseClassifier(style, len(EMOTIONS))
        self.content_identity = (
            InverseClipClassifier(content, identities, hidden) if content else None
        )
        self.log_temperature = nn.Parameter(torch.tensor(FIRST_TEMPERATURE).log())

    @property
    def temperature(self) -> Tensor:
        """The contrastive loss' temperature."""
        return self.log_temperature.exp().clamp_min(COLDEST)


class ModelSide(Side):
    """The model, and what reads its codes."""

    def __init__(
        self,
        model: IdiolectModel,
        readers: Readers,
        critics: Critics | None,
        face: FaceMeasures,
        optim: OptimConfig,
        weights: LossWeights,
        backbone: SpeechBackbone | None = None,
    ) -> None:
        modules: dict[str, nn.Module] = {"model": model, "readers": readers}
        if backbone is not None:
            modules["backbone"] = backbone
        super().__init__("model", modules, optim)
        self.model, self.readers, self.critics = model, readers, critics
        self.backbone = backbone
        self.face, self.weights = face, weights

    def rate(self, step: int) -> float:
        """See `Side.rate`."""
        return risen_and_falling(step, self.optim)

    def terms(self, batch: Batch, step: int, shared: dict[str, Any]) -> dict[str, Term]:
        """See `Side.terms`."""
        weights, model = self.weights, self.model
        style = self._style(batch).float()  # (B, d_s)
        terms = self._style_terms(style, batch, step)
        if terms and model.training and step < self.optim.style_first:
            return terms
        mask = length_mask(batch.motion_lengths, batch.motion.shape[1])
        condition = model.condition(len(style), style[:, None], batch.emotion)
        tracks = self._tracks(batch)
        heard = model.hear(tracks, batch.speech_lengths, condition, mask, self._phones(batch))
        past = self._past(batch, step)
        predicted = model.decode(heard.features, condition, mask, past).float()
        terms |= self._motion_terms(predicted, batch, mask)
        if heard.phones is not None:
            scores, log_durations, runs = heard.phones
            if weights.phones > 0.0 and scores is not None and batch.phones is not None:
                loss = losses.phone_loss(scores.float(), batch.phones)
                terms["phones"] = Term(loss, weights.phones)
            if weights.durations > 0.0 and log_durations is not None:
                loss = losses.duration_loss(log_durations.float(), runs.durations)
                terms["durations"] = Term(loss, weights.durations)
        if weights.uses_content:
            content = model.encode_content(batch.motion, mask)
            terms |= self._content_terms(content, heard.free, batch, mask, step)
            if weights.content_branch > 0.0:
                decoded = model.decode(content, condition, mask, past).float()
                terms |= self._branch_terms(decoded, batch, mask)
            if weights.swaps_content:
                terms |= self._cycle_terms(content, style, batch, mask)
        begun = step >= weights.first_adversarial_step(self.optim.steps)
        if self.critics is not None and model.training and begun:
            terms |= self._adversarial_terms(style, tracks, batch, mask, shared)
        return terms

    def predict(self, batch: Batch) -> Tensor:
        """See `Side.predict`."""
        return self.model(
            self._tracks(batch),
            batch.speech_lengths,
            batch.motion.shape[1],
            style=self._style(batch)[:, None],
            emotion=batch.emotion,
            motion_lengths=batch.motion_lengths,
            past=self._past(batch, 0),
        )

    def _style(self, batch: Batch) -> Tensor:
        if isinstance(self.model.style_encoder, IdentityStyles):
            return self.model.style_encoder(batch.identities)
        mask = length_mask(batch.reference_lengths, batch.reference.shape[1])
        return self.model.encode_style(batch.reference, mask)

    def _tracks(self, batch: Batch) -> SpeechTracks:
        """Speech tracks: computed before, or anew by a backbone that learns."""
        if self.backbone is None or batch.samples is None:
            return batch.tracks
        self.backbone.train(self.model.training)
        hidden = self.backbone(batch.samples).hidden
        return batch.tracks._replace(hidden=hidden[:, : batch.tracks.hidden.shape[1]])

    def _phones(self, batch: Batch) -> Tensor | None:
        """Known phones, where they are wanted: in half of the steps what the backbone heard must do
        instead, since that is what there will be.
        """
        heard = self.model.config.speech.posteriors
        if not self.model.training or self.model.phone_model is None:
            return None
        return None if heard and torch.rand(()) < 0.5 else batch.phones

    def _past(self, batch: Batch, step: int) -> Past | None:
        """What a decoder that looks back learns from; in validation it rolls out."""
        if not self.model.decoder.looks_back:
            return None
        start = torch.zeros_like(batch.motion[:, 0]) if batch.before is None else batch.before
        if not self.model.training:
            return Past(start)
        settings = self.model.config.autoregressive
        risen = step / max(1.0, settings.rollout_until * self.optim.steps)
        return Past(start, batch.motion, settings.rollout * min(1.0, risen))

    def _style_terms(self, style: Tensor, batch: Batch, step: int) -> dict[str, Term]:
        """Terms that need the style code (B, d_s) and the reference alone."""
        weights, readers = self.weights, self.readers
        terms: dict[str, Term] = {}
        if weights.identity > 0.0:
            loss = losses.identity_loss(readers.identity(style), batch.identities)
            terms["identity"] = Term(loss, weights.identity)
        if weights.traits > 0.0 and batch.traits is not None and readers.traits is not None:
            loss = losses.traits_loss(readers.traits(style), batch.traits)
            terms["traits"] = Term(loss, weights.traits)
        emotion = batch.reference_emotion
        if emotion is None:
            return terms
        if weights.emotion_adversary > 0.0:
            scores = readers.emotion(style, reversal_ramp(step / self.optim.steps))
            loss = losses.emotion_loss(scores, losses.mean_emotion(emotion))
            terms["emotion_adversary"] = Term(loss, weights.emotion_adversary)
        if weights.emotion_reading > 0.0 and self.model.emotion_encoder is not None:
            mask = length_mask(batch.reference_lengths, batch.reference.shape[1])
            loss = losses.emotion_loss(self.model.read_emotion(batch.reference, mask), emotion)
            terms["emotion_reading"] = Term(loss, weights.emotion_reading)
        return terms

    def _motion_terms(self, predicted: Tensor, batch: Batch, mask: Tensor) -> dict[str, Term]:
        """How far predicted motion (B, T, C) is from the true one."""
        face, weights = self.face, self.weights
        terms = self._regression(predicted, batch, mask)
        if weights.lips > 0.0:
            loss = losses.lip_loss(
                predicted,
                batch.motion,
                mask,
                face.lip_matrix,
                face.lip_rest,
                weights.closure_sharpness,
            )
            terms["lips"] = Term(loss, weights.lips)
        if weights.lip_range > 0.0:
            loss = losses.lip_range_loss(predicted, batch.motion, mask, face.lip_matrix)
            terms["lip_range"] = Term(loss, weights.lip_range)
        if weights.silence > 0.0:
            shown = self._compared(predicted)
            loss = losses.silence_loss(shown, batch.silent, mask, face.mouth)
            terms["silence"] = Term(loss, weights.silence)
        return terms

    def _branch_terms(self, decoded: Tensor, batch: Batch, mask: Tensor) -> dict[str, Term]:
        """The regression of motion decoded from content codes (Mimic, eq. 9)."""
        share = self.weights.content_branch
        terms = self._regression(decoded, batch, mask)
        return {f"content_{n}": Term(value, share * w) for n, (value, w) in terms.items()}

    def _regression(self, predicted: Tensor, batch: Batch, mask: Tensor) -> dict[str, Term]:
        face, weights = self.face, self.weights
        shown, true = self._compared(predicted), self._compared(batch.motion)
        terms: dict[str, Term] = {}
        if weights.reconstruction > 0.0:
            loss = losses.reconstruction_loss(shown, true, mask, face.channel_weights)
            terms["reconstruction"] = Term(loss, weights.reconstruction)
        if weights.squared_error > 0.0:
            variance = (weights.variance or face.variance) / face.unit**2
            loss = losses.squared_loss(shown, true, mask, variance)
            terms["squared_error"] = Term(loss, weights.squared_error)
        if weights.velocity > 0.0:
            loss = losses.velocity_loss(shown, true, mask, face.channel_weights)
            terms["velocity"] = Term(loss, weights.velocity)
        return terms

    def _compared(self, motion: Tensor) -> Tensor:
        """What is compared of motion, in the face's unit."""
        shown = motion if self.face.surface is None else self.face.surface(motion)
        return shown / self.face.unit

    def _content_terms(
        self, content: Tensor, speech: Tensor, batch: Batch, mask: Tensor, step: int
    ) -> dict[str, Term]:
        """Terms of content codes (B, T, D) beside the speech features (B, T, D)."""
        weights, readers = self.weights, self.readers
        terms: dict[str, Term] = {}
        if weights.content_identity > 0.0 and readers.content_identity is not None:
            done = step / self.optim.steps
            scale, factor = losses.inverse_identity_weight(weights.identity_schedule, done)
            scores = readers.content_identity(content.float(), mask, scale)
            loss = losses.identity_loss(scores, batch.identities)
            terms["content_identity"] = Term(loss, factor * weights.content_identity)
        if weights.contrastive > 0.0:
            loss = losses.contrastive_loss(
                content.float(), speech.float(), mask, readers.temperature
            )
            terms["contrastive"] = Term(loss, weights.contrastive)
        return terms

    def _cycle_terms(
        self, content: Tensor, style: Tensor, batch: Batch, mask: Tensor
    ) -> dict[str, Term]:
        """Motion decoded from content codes and the next clip's style, and both read again."""
        model, weights = self.model, self.weights
        swapped = style.roll(1, 0)
        condition = model.condition(len(style), swapped[:, None], batch.emotion, drop=False)
        motion = model.decode(content, condition, mask, self._own_past(batch)).float()
        terms: dict[str, Term] = {}
        if weights.style_cycle > 0.0:
            example, lengths = resampled(
                motion, batch.motion_lengths, model.config.motion.fps, model.config.style.fps
            )
            found = model.encode_style(example, length_mask(lengths, example.shape[1]))
            loss = losses.style_cycle_loss(swapped, found.float())
            terms["style_cycle"] = Term(loss, weights.style_cycle)
        if weights.content_cycle > 0.0:
            found = model.encode_content(motion, mask)
            loss = losses.contrastive_loss(
                content.float(), found.float(), mask, self.readers.temperature
            )
            terms["content_cycle"] = Term(loss, weights.content_cycle)
        return terms

    def _own_past(self, batch: Batch) -> Past | None:
        """For motion of which there is no true past, since nobody has moved so: the model's own."""
        past = self._past(batch, self.optim.steps)
        return past if past is None else past._replace(own_share=1.0)

    def _adversarial_terms(
        self,
        style: Tensor,
        tracks: SpeechTracks,
        batch: Batch,
        mask: Tensor,
        shared: dict[str, Any],
    ) -> dict[str, Term]:
        """What the discriminators say of the speech in the next clip's style."""
        model, weights, critics = self.model, self.weights, self.critics
        if critics is None:
            return {}
        condition = model.condition(
            len(style), style.roll(1, 0)[:, None], batch.emotion, drop=False
        )
        heard = model.hear(tracks, batch.speech_lengths, condition, mask, self._phones(batch))
        motion = model.decode(heard.features, condition, mask, self._own_past(batch)).float()
        identities = batch.identities.roll(1, 0)
        speech = heard.free.detach().float()
        shared["swapped"] = Swapped(motion.detach(), speech, identities)
        shown = model.normalised(motion)
        terms: dict[str, Term] = {}
        if critics.style is not None:
            loss = losses.adversarial_loss(critics.style(shown, mask, identities))
            terms["style_adversary"] = Term(loss, weights.style_adversary)
        if critics.sync is not None:
            loss = losses.adversarial_loss(critics.sync(shown, speech, mask))
            terms["sync_adversary"] = Term(loss, weights.sync_adversary)
        return terms


def resampled(
    motion: Tensor, lengths: Tensor, fps: float, wanted_fps: float
) -> tuple[Tensor, Tensor]:
    """Motion (B, T, C) at another frame rate, by time, linearly; with its lengths (B,)."""
    if fps == wanted_fps:
        return motion, lengths
    frames = int((motion.shape[1] - 1) * wanted_fps / fps) + 1
    at = torch.arange(frames, device=motion.device) * (fps / wanted_fps)
    before = at.floor().long()
    after = (before + 1).clamp_max(motion.shape[1] - 1)
    share = (at - before)[:, None]
    found = ((lengths - 1) * (wanted_fps / fps)).floor().long() + 1
    return motion[:, before] * (1.0 - share) + motion[:, after] * share, found
