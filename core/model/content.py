"""Content encoder: what a clip of facial motion says, without who says it (Mimic, section 3.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from core.model.config import ContentConfig
from core.model.motion_encoder import InstanceNorm, MotionEncoder


class ContentEncoder(MotionEncoder):
    """The style encoder's network with instance norms and without pooling.

    The convolutions' instance norms alone do not hide who moves: the layers after them see the
    whole clip and put back what was taken, as a level that every frame's code has, or a size. So
    `config.over_time` has one more instance norm, without affine, at the very end: each number of
    the code has mean 0 and spread 1 over every clip, whoever moves. What remains to tell people by
    is how the code changes over time.
    """

    def __init__(self, config: ContentConfig, channels: int) -> None:
        super().__init__(config, channels, over_time=True)
        # Less is added to the variance than elsewhere, so that the spread is 1 to rounding.
        self.over_time = InstanceNorm(1e-8) if config.over_time else None

    def forward(self, motion: Tensor, mask: Tensor) -> Tensor:
        """Encode motion.

        Args:
            motion: (B, T, C) at the model's frame rate.
            mask: (B, T), True on real frames.

        Returns:
            Content codes c (B, T, code), each frame of one size: their direction is what the
            contrastive loss compares with speech, and size could carry how far someone opens. With
            `over_time` frames are first brought to one size and then each number over the frames to
            mean 0 and spread 1; the other way round the mean would come back. Sizes of frames
            then differ again, which the contrastive loss, a cosine, does not hear. A clip of a
            single frame has codes of 0.
        """
        codes = self.frames(motion, mask)
        codes = F.layer_norm(codes, codes.shape[-1:])
        return codes if self.over_time is None else self.over_time(codes, mask)
