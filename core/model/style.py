"""Style encoder: a clip of someone's facial motion in, a style code out (Mimic, section 3.2).

Shapes: B batch, T motion frames, C channels, I identities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import StyleConfig
from core.model.layers import masked_mean
from core.model.motion_encoder import MotionEncoder


class StyleEncoder(MotionEncoder):
    """Temporal convolutions, a transformer, and the mean over time."""

    def __init__(self, config: StyleConfig, channels: int) -> None:
        super().__init__(config, channels, over_time=False)
        # How far a jaw opens is a plain statistic of the motion that norms inside the network wash
        # out: without it codes hold habits (a resting smile) but no amplitudes.
        self.statistics = nn.Linear(2 * channels, config.code) if config.statistics else None
        self.code = config.code
        self.hides_emotion = False
        if config.hide_emotion:
            self.begin_hiding()

    taken_away: Tensor
    centre: Tensor

    def begin_hiding(self) -> None:
        """Make room for what is taken away of codes: nothing, to begin with."""
        if not self.hides_emotion:
            self.register_buffer("taken_away", torch.zeros(self.code, self.code))
            self.register_buffer("centre", torch.zeros(self.code))
        self.hides_emotion = True

    def forward(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode reference clips.

        Args:
            motion: (B, T, C) at the configured `fps`.
            mask: (B, T), True on real frames.

        Returns:
            Style codes (B, code).
        """
        # One size for all codes, or the classifier would blow them up to be surer of itself.
        code = masked_mean(self.frames(motion, mask), mask)
        if self.statistics is not None:
            mean = masked_mean(motion, mask)
            variance = masked_mean((motion - mean[:, None]).square(), mask)
            # Weights are mostly small; the root brings them nearer to each other.
            # A root has no gradient at zero, where a decoder begins that was not taught yet.
            level = mean.abs().clamp_min(1e-12).sqrt() * mean.sign()
            spread = torch.cat([level, (variance + 1e-6).sqrt().sqrt()], -1)
            code = code + self.statistics(4.0 * (spread - 0.2))
        code = F.layer_norm(code, code.shape[-1:])
        if self.hides_emotion:
            code = code - (code - self.centre) @ self.taken_away
        return code


class IdentityStyles(nn.Module):
    """The one-hot baseline: a learned code for each person of the training split, and no more.

    FaceFormer's manner (Fan et al., CVPR 2022): whoever was not there has no code of their own.
    """

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        if config.identities < 1:
            raise IdiolectError(
                "styles by identity need to know how many people there are",
                hint="Set model.style.identities; the training takes it from its corpus.",
                code="config_invalid",
                setting="model.style.identities",
            )
        self.codes = nn.Embedding(config.identities, config.code)

    def forward(self, identities: Tensor) -> Tensor:
        """Codes (B, code) of people (B,), counted as in training; of −1, a stranger, the mean."""
        known = self.codes(identities.clamp_min(0))
        return torch.where(identities[:, None] >= 0, known, self.codes.weight.mean(0))


def build_style_encoder(config: StyleConfig, channels: int) -> StyleEncoder | IdentityStyles:
    """The style encoder of a configuration.

    Raises:
        IdiolectError: There is no such kind.
    """
    if config.kind == "encoder":
        return StyleEncoder(config, channels)
    if config.kind == "identity":
        return IdentityStyles(config)
    raise IdiolectError(
        f"unknown kind of style encoder '{config.kind}'",
        hint="Use 'encoder' or 'identity'.",
        code="config_invalid",
        setting="model.style.kind",
    )
