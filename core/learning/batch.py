"""What one training step is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from core.model.speech_encoder import SpeechTracks


class Batch(NamedTuple):
    """Clips padded to the longest, with a reference clip of the same person for each.

    Attributes:
        tracks: Speech tracks, (B, N, ·).
        speech_lengths: (B,) real speech frames.
        motion: (B, T, C) true motion at the model's frame rate.
        motion_lengths: (B,) real motion frames.
        silent: (B, T) bool, True where nobody speaks.
        reference: (B, R, C) motion of another clip of the same identity, at the style's frame rate.
        reference_lengths: (B,) real reference frames.
        identities: (B,) identity indices, −1 for people who are not in the training split.
        emotion: (B, T, 8) intensities, NaN in frames whose emotion is not known, or None where
            the corpus knows none.
        traits: (B, K) standardised traits of each identity's manner, or None if unknown.
        phones: (B, T) phone at each motion frame, -1 where it is unknown or there is none.
        reference_emotion: (B, R, 8) emotion of the reference clip's frames, as `emotion`.
        before: (B, C) motion of the frame before the first; zeros, a face at rest, where the clip
            begins there.
        samples: (B, S) level-normalised speech at 16 kHz, where the backbone learns as well.
    """

    tracks: SpeechTracks
    speech_lengths: Tensor
    motion: Tensor
    motion_lengths: Tensor
    silent: Tensor
    reference: Tensor
    reference_lengths: Tensor
    identities: Tensor
    emotion: Tensor | None
    traits: Tensor | None = None
    phones: Tensor | None = None
    reference_emotion: Tensor | None = None
    before: Tensor | None = None
    samples: Tensor | None = None


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with all its tensors on a device."""
    moved = {
        name: value.to(device) for name, value in batch._asdict().items() if torch.is_tensor(value)
    }
    return batch._replace(tracks=SpeechTracks(*(t.to(device) for t in batch.tracks)), **moved)


class BatchSource(Protocol):
    """Gives the batches of any step, always the same ones for the same step.

    Attributes:
        identities: Number of identities in the training split.
        traits: Number of traits that are known of each of them; 0 for captured people.
    """

    identities: int
    traits: int

    def batch(self, step: int, part: int = 0) -> Batch:
        """The batch to learn from at `step`; `part` counts those of one step."""
        ...

    def validation(self) -> Iterator[Batch]:
        """Batches of clips that are never learnt from."""
        ...
