"""What the losses need to know of the face that a model drives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FaceMeasures:
    """What the losses need to know of the face that the motion drives.

    Attributes:
        channel_weights: (C,) importance of each channel, or of each coordinate of `surface`.
        mouth: bool, alike: True for those of mouth and jaw.
        lip_matrix: (L, C) millimetres that each channel opens each lip pair.
        lip_rest: (L,) millimetres between the pairs on the neutral face.
        surface: Motion (B, T, C) to what is compared, where that is not the motion itself: FLAME's
            vertices (B, T, 3V), metres.
        unit: Differences are told in this: 1 for ARKit weights, which go from 0 to 1.
        variance: Of what is compared, over the training corpus.
    """

    channel_weights: Tensor
    mouth: Tensor
    lip_matrix: Tensor
    lip_rest: Tensor
    surface: Callable[[Tensor], Tensor] | None = None
    unit: float = 1.0
    variance: float = 1.0

    def to(self, device: torch.device) -> FaceMeasures:
        """The same on a device."""
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            movable = isinstance(value, Tensor | nn.Module)
            moved[field.name] = value.to(device) if movable else value
        return FaceMeasures(**moved)
