"""What one training step is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

from core.model.decoder import SpeechTracks


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
        identities: (B,) identity indices.
        emotion: (B, T, 8) intensities, or None where the corpus knows none.
        traits: (B, K) standardised traits of each identity's manner, or None if unknown.
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


class BatchSource(Protocol):
    """Gives the batch of any step, always the same one for the same step.

    Attributes:
        identities: Number of identities in the training split.
        traits: Number of traits that are known of each of them; 0 for captured people.
    """

    identities: int
    traits: int

    def batch(self, step: int) -> Batch:
        """The batch to learn from at `step`."""
        ...

    def validation(self) -> Iterator[Batch]:
        """Batches of clips that are never learnt from."""
        ...
