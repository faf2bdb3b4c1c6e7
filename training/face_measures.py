"""What the losses need to know of the face a model drives, by motion space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from core.face.lips import lip_gap_basis_mm
from core.learning.objective import FaceMeasures
from core.motion import ARKIT_CHANNELS

_MOUTH_WEIGHT = 2.0
"""Speech is read from jaw and mouth, so their channels count twice in the reconstruction."""
_OPENING_WEIGHT = 8.0
"""jawOpen and mouthClose make most of what is seen: a full jaw opens the lips by 30 mm, the next
best channel by 15."""
_BLINK_WEIGHT = 0.1
"""Blinks come when they come: no speech foretells them, and finishing puts them in."""


def face_measures(space: str, channels: Sequence[str]) -> FaceMeasures:
    """Channel weights and lip geometry for motion of a space.

    Args:
        space: Motion space.
        channels: Its channel names, in order.

    Returns:
        For "arkit" measured on the built-in head; other spaces weigh all channels alike and have no
        lip pairs.
    """
    weights = np.ones(len(channels), np.float32)
    if space != "arkit":
        return FaceMeasures(
            torch.from_numpy(weights),
            torch.ones(len(channels), dtype=torch.bool),
            torch.zeros(1, len(channels)),
            torch.ones(1),
        )
    mouth = np.array([name.startswith(("jaw", "mouth", "tongue")) for name in channels])
    weights[mouth] = _MOUTH_WEIGHT
    weights[[name in ("jawOpen", "mouthClose") for name in channels]] = _OPENING_WEIGHT
    weights[[name.startswith("eyeBlink") for name in channels]] = _BLINK_WEIGHT
    basis = lip_gap_basis_mm()  # (53, P)
    columns = [1 + ARKIT_CHANNELS.index(name) for name in channels]
    return FaceMeasures(
        torch.from_numpy(weights),
        torch.from_numpy(mouth),
        torch.from_numpy(basis[columns].T.astype(np.float32).copy()),
        torch.from_numpy(basis[0].astype(np.float32)),
    )
