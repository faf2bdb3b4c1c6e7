"""Those who play against the model: classifiers behind a gradient reversal.

Shapes: B batch, D features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is turned round and scaled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None


def reverse_gradient(x: Tensor, scale: float = 1.0) -> Tensor:
    """`x` itself; gradients flow back times −scale (Ganin and Lempitsky 2015; Mimic, eq. 3)."""
    return _Reversal.apply(x, scale)


def reversal_ramp(done: float) -> float:
    """2 / (1 + e^(−10 p)) − 1, at least 0.1, at the share p of the training (Ganin et al. 2016)."""
    return max(0.1, 2.0 / (1.0 + math.exp(-10.0 * done)) - 1.0)


class InverseClassifier(nn.Module):
    """One linear layer behind a gradient reversal: what it learns to read, codes learn to hide."""

    def __init__(self, code: int, classes: int) -> None:
        super().__init__()
        self.read = nn.Linear(code, classes)

    def forward(self, codes: Tensor, scale: float = 1.0) -> Tensor:
        """Scores (B, classes) of codes (B, D)."""
        return self.read(reverse_gradient(codes, scale))
