"""What the model is taught: its side of the training, with the classifiers that read its codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from core.emotions import EMOTIONS
from core.learning import losses
from core.learning.adversaries import InverseClassifier, reversal_ramp
from core.learning.batch import Batch
from core.learning.losses import LossWeights
from core.learning.optim import OptimConfig, risen_and_falling
from core.learning.sides import Side, Term
from core.model.layers import length_mask
from core.model.model import IdiolectModel


@dataclass(frozen=True)
class FaceMeasures:
    """What the losses need to know of the face that the motion drives.

    Attributes:
        channel_weights: (C,) importance of each channel.
        mouth: (C,) bool, True for channels of mouth and jaw.
        lip_matrix: (L, C) millimetres that each channel opens each lip pair.
        lip_rest: (L,) millimetres between the pairs on the neutral face.
    """

    channel_weights: Tensor
    mouth: Tensor
    lip_matrix: Tensor
    lip_rest: Tensor

    def to(self, device: torch.device) -> FaceMeasures:
        """The same on a device."""
        return FaceMeasures(*(getattr(self, field.name).to(device) for field in fields(self)))


class StyleReaders(nn.Module):
    """What is read from a style code while training, so that the code holds it."""

    def __init__(self, code: int, identities: int, traits: int) -> None:
        super().__init__()
        self.identity = nn.Linear(code, identities)
        self.traits = nn.Linear(code, traits) if traits else None
        self.emotion = InverseClassifier(code, len(EMOTIONS))


class ModelSide(Side):
    """The model, and what reads its style codes."""

    def __init__(
        self,
        model: IdiolectModel,
        readers: StyleReaders,
        face: FaceMeasures,
        optim: OptimConfig,
        weights: LossWeights,
    ) -> None:
        super().__init__("model", {"model": model, "readers": readers}, optim)
        self.model, self.readers, self.face, self.weights = model, readers, face, weights

    def rate(self, step: int) -> float:
        """See `Side.rate`."""
        return risen_and_falling(step, self.optim)

    def terms(self, batch: Batch, step: int, shared: dict[str, Any]) -> dict[str, Term]:
        """See `Side.terms`."""
        face, weights = self.face, self.weights
        reference_mask = length_mask(batch.reference_lengths, batch.reference.shape[1])
        frames = batch.motion.shape[1]
        style = self.model.encode_style(batch.reference, reference_mask).float()  # (B, d_s)
        makers = self._style_terms(style, batch, step)
        if makers and self.model.training and step < self.optim.style_first:
            return self._weighted(makers)
        predicted = self.model(
            batch.tracks,
            batch.speech_lengths,
            frames,
            style=style[:, None],
            emotion=batch.emotion,
            motion_lengths=batch.motion_lengths,
        ).float()
        mask = length_mask(batch.motion_lengths, frames)
        makers |= {
            "reconstruction": lambda: losses.reconstruction_loss(
                predicted, batch.motion, mask, face.channel_weights
            ),
            "velocity": lambda: losses.velocity_loss(
                predicted, batch.motion, mask, face.channel_weights
            ),
            "lips": lambda: losses.lip_loss(
                predicted,
                batch.motion,
                mask,
                face.lip_matrix,
                face.lip_rest,
                weights.closure_sharpness,
            ),
            "silence": lambda: losses.silence_loss(predicted, batch.silent, mask, face.mouth),
        }
        emotion = batch.reference_emotion
        if self.model.emotion_encoder is not None and emotion is not None:
            makers["emotion_reading"] = lambda: losses.emotion_loss(
                self.model.read_emotion(batch.reference, reference_mask), emotion
            )
        return self._weighted(makers)

    def predict(self, batch: Batch) -> Tensor:
        """See `Side.predict`."""
        reference_mask = length_mask(batch.reference_lengths, batch.reference.shape[1])
        style = self.model.encode_style(batch.reference, reference_mask)
        return self.model(
            batch.tracks,
            batch.speech_lengths,
            batch.motion.shape[1],
            style=style[:, None],
            emotion=batch.emotion,
            motion_lengths=batch.motion_lengths,
        )

    def _weighted(self, makers: dict[str, Callable[[], Tensor]]) -> dict[str, Term]:
        """Terms that have a weight."""
        weighed = {name: (make, getattr(self.weights, name)) for name, make in makers.items()}
        return {name: Term(make(), w) for name, (make, w) in weighed.items() if w > 0.0}

    def _style_terms(
        self, style: Tensor, batch: Batch, step: int
    ) -> dict[str, Callable[[], Tensor]]:
        """Terms that need the style code (B, d_s) alone and have a weight."""
        terms: dict[str, Callable[[], Tensor]] = {}
        if self.weights.identity > 0.0:
            read = self.readers.identity
            terms["identity"] = lambda: losses.identity_loss(read(style), batch.identities)
        traits, read_traits = batch.traits, self.readers.traits
        if self.weights.traits > 0.0 and traits is not None and read_traits is not None:
            terms["traits"] = lambda: losses.traits_loss(read_traits(style), traits)
        emotion = batch.reference_emotion
        if self.weights.emotion_adversary > 0.0 and emotion is not None:
            scale = reversal_ramp(step / self.optim.steps)
            terms["emotion_adversary"] = lambda: losses.emotion_loss(
                self.readers.emotion(style, scale), losses.mean_emotion(emotion)
            )
        return terms


def sides_for(
    model: IdiolectModel,
    *,
    identities: int,
    traits: int,
    face: FaceMeasures,
    optim: OptimConfig,
    weights: LossWeights,
) -> list[Side]:
    """Everybody who learns in a run.

    Args:
        model: What is taught.
        identities: Number of people in the training split.
        traits: Number of traits known of each; 0 for captured people.
        face: The face that the motion drives.
        optim: How weights move.
        weights: What counts how much.
    """
    readers = StyleReaders(model.config.style.code, identities, traits)
    return [ModelSide(model, readers, face, optim, weights)]
