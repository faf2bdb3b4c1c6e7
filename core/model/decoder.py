"""Motion decoders behind one interface, and the parallel one.

Shapes: B batch, T motion frames, D features, C motion channels, S style condition.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.config import DECODERS, BlockConfig
from core.model.layers import AdaptiveStack


class Past(NamedTuple):
    """What a decoder that looks back is given of the frames before.

    Attributes:
        start: (B, C) motion of the frame before the first.
        true: (B, T, C) true motion to learn from, or None to roll out.
        own_share: With `true`, the share of past frames that are the model's own instead.
    """

    start: Tensor
    true: Tensor | None = None
    own_share: float = 0.0


class MotionDecoder(nn.Module, ABC):
    """Speech features or content codes, under a condition, to motion.

    Attributes:
        width: Size of the features that `read_out` turns into motion.
        looks_back: Whether it needs a `Past`.
    """

    width: int
    looks_back: bool

    @property
    @abstractmethod
    def reach(self) -> int | None:
        """Frames on each side that one output frame depends on; None when it is all of them."""

    @abstractmethod
    def forward(
        self,
        speech: Tensor,
        condition: Tensor,
        mask: Tensor,
        read_out: Callable[[Tensor], Tensor],
        past: Past | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            speech: (B, T, D) speech features, or content codes.
            condition: (B, T or 1, S).
            mask: (B, T), True on real frames.
            read_out: Features (…, width) to motion (…, C).
            past: For decoders that look back.

        Returns:
            Motion (B, T, C).
        """


class ParallelDecoder(MotionDecoder):
    """Non-autoregressive decoder: every frame at once (PSE)."""

    looks_back = False

    def __init__(self, config: BlockConfig, speech_width: int, condition: int) -> None:
        super().__init__()
        self.embed = nn.Linear(speech_width, config.width)
        self.stack = AdaptiveStack(config, condition)
        self.width = config.width

    @property
    def reach(self) -> int | None:
        """See `MotionDecoder.reach`."""
        return self.stack.reach

    def forward(
        self,
        speech: Tensor,
        condition: Tensor,
        mask: Tensor,
        read_out: Callable[[Tensor], Tensor],
        past: Past | None = None,
    ) -> Tensor:
        """See `MotionDecoder.forward`."""
        return read_out(self.stack(self.embed(speech), condition, mask))


def check_decoder_kind(kind: str) -> None:
    """Refuse what is no decoder.

    Raises:
        IdiolectError: "config_invalid".
    """
    if kind not in DECODERS:
        raise IdiolectError(
            f"unknown motion decoder '{kind}'",
            hint=f"Use {' or '.join(DECODERS)}.",
            code="config_invalid",
            setting="model.decoder_kind",
        )
