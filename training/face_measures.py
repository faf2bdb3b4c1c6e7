"""What the losses need to know of the face a model drives, by motion space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.lips import lip_gap_basis_mm
from core.learning.face import FaceMeasures
from core.motion import ARKIT_CHANNELS, channel_names
from training.corpus import Corpus

_MOUTH_WEIGHT = 2.0
"""Speech is read from jaw and mouth, so their channels count twice in the reconstruction."""
_OPENING_WEIGHT = 8.0
"""jawOpen and mouthClose make most of what is seen: a full jaw opens the lips by 30 mm, the next
best channel by 15."""
_BLINK_WEIGHT = 0.1
"""Blinks come when they come: no speech foretells them, and finishing puts them in."""


_UNIT_SPREADS = 10.0
"""In spaces other than "arkit" differences are told in ten times the motion's spread: about what a
weight of 1 is for ARKit motion, so that the terms' weights keep their meaning."""
_SAMPLED_FRAMES = 3000


class FlameVertices(nn.Module):
    """Flame motion to FLAME's vertices, offsets from the face at rest, metres.

    Args:
        model: The user's FLAME model.
        channels: Names of the motion's columns: expressions in order, then the jaw.

    Raises:
        IdiolectError: The motion has other channels, or more expressions than the model.
    """

    def __init__(self, model: FlameModel, channels: Sequence[str]) -> None:
        super().__init__()
        if tuple(channels) != channel_names("flame", len(channels)):
            raise IdiolectError(
                f"expected flame motion of expressions and the jaw, found {', '.join(channels)}",
                code="corpus_mismatch",
                setting="--corpus",
            )
        self.model = model
        expressions = torch.zeros(1, len(channels) - 3)
        self.register_buffer("rest", model(expression=expressions).vertices[0], persistent=False)

    rest: Tensor

    def forward(self, motion: Tensor) -> Tensor:
        """Motion (..., C) to offsets (..., 3V)."""
        flat = motion.reshape(-1, motion.shape[-1])
        posed = self.model(expression=flat[:, :-3], jaw_pose=flat[:, -3:]).vertices
        return (posed - self.rest).reshape(*motion.shape[:-1], -1)


def face_measures(
    corpus: Corpus, clips: Sequence[int] = (), flame: FlameModel | None = None
) -> FaceMeasures:
    """What the losses need to know, from a corpus.

    Args:
        corpus: Its space and channels count, and how much its motion moves.
        clips: The training split, from which that is measured; none leaves it unmeasured.
        flame: In the space "flame": compare FLAME's vertices instead of coefficients.

    Returns:
        For "arkit" with lips measured on the built-in head; other spaces weigh all channels alike
        and have no lip pairs.

    Raises:
        IdiolectError: The FLAME model does not fit the corpus.
    """
    channels = corpus.channels
    motion = _sampled(corpus, clips)
    if corpus.space == "arkit":
        return _arkit(channels, float(motion.var(axis=0).mean()) or 1.0)
    shown, surface = torch.from_numpy(motion), None
    if corpus.space == "flame" and flame is not None:
        surface = FlameVertices(flame, channels)
        with torch.inference_mode():
            shown = torch.cat([surface(part) for part in shown[::10].split(50)])
    variance = float(shown.double().var(dim=0, correction=0).mean()) or 1.0
    count = shown.shape[-1]
    return FaceMeasures(
        torch.ones(count),
        torch.ones(count, dtype=torch.bool),
        torch.zeros(1, len(channels)),
        torch.ones(1),
        surface,
        _UNIT_SPREADS * variance**0.5,
        variance,
    )


def _sampled(corpus: Corpus, clips: Sequence[int]) -> np.ndarray:
    """Some frames (n, C) of clips, evenly drawn."""
    frames = sum(corpus.clips[index].frames for index in clips)
    every = max(1, frames // _SAMPLED_FRAMES)
    parts = [corpus.clip_motion(index)[::every] for index in clips]
    return np.concatenate(parts) if parts else np.zeros((1, len(corpus.channels)), np.float32)


def _arkit(channels: Sequence[str], variance: float) -> FaceMeasures:
    weights = np.ones(len(channels), np.float32)
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
        variance=variance,
    )
