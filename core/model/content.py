"""Content encoder: what a clip of facial motion says, without who says it (Mimic, section 3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from core.model.config import ContentConfig
from core.model.motion_encoder import MotionEncoder


class ContentEncoder(MotionEncoder):
    """The style encoder's network with instance norms and without pooling."""

    def __init__(self, config: ContentConfig, channels: int) -> None:
        super().__init__(config, channels, over_time=True)

    def forward(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode motion.

        Args:
            motion: (B, T, C) at the model's frame rate.
            mask: (B, T), True on real frames.

        Returns:
            Content codes c (B, T, code), each frame of one size: their direction is what the
            contrastive loss compares with speech, and size could carry how far someone opens.
        """
        codes = self.frames(motion, mask)
        return F.layer_norm(codes, codes.shape[-1:])
