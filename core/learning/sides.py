"""Who learns in a run: one side, or several that play against each other.

A side owns modules, an optimiser and loss terms. The model, with the classifiers that read its
codes, is one; discriminators are another. In each step the trainer lets the sides move one after
the other, in their order, on the same batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from core.learning.batch import Batch
from core.learning.optim import OptimConfig


class Term(NamedTuple):
    """One term of a loss.

    Attributes:
        value: The term, a number, before weighting.
        weight: What it counts in the sum.
    """

    value: Tensor
    weight: float


class Side(ABC):
    """One side.

    Attributes:
        name: Of its optimiser in checkpoints and in the log.
        modules: What it moves, by the name in checkpoints; names differ between sides.
        learning_rate: Highest learning rate; `rate` gives that of a step.
        betas: Decay of Adam's running means.
        weight_decay: Decoupled weight decay.
        first_step: It stands still before this step.
    """

    def __init__(
        self, name: str, modules: Mapping[str, nn.Module], optim: OptimConfig, first_step: int = 0
    ) -> None:
        self.name = name
        self.modules = dict(modules)
        self.optim = optim
        self.learning_rate = optim.learning_rate
        self.betas = (optim.betas[0], optim.betas[1])
        self.weight_decay = optim.weight_decay
        self.first_step = first_step

    @abstractmethod
    def rate(self, step: int) -> float:
        """Learning rate of a step."""

    @abstractmethod
    def terms(self, batch: Batch, step: int, shared: dict[str, Any]) -> dict[str, Term]:
        """The loss on a batch, term by term.

        Args:
            batch: What to learn from.
            step: Number of the step.
            shared: Empty for the first side. What it leaves here (its outputs, detached) the sides
                after it find for the same batch, so that nothing is computed twice.

        Returns:
            Terms by name, the same names for every batch of a step.
        """

    def predict(self, batch: Batch) -> Tensor | None:
        """The motion (B, T, C) that the model makes of a batch's speech and references, as when it
        is used; None from sides that make none.
        """
        return None

    def parameters(self) -> list[nn.Parameter]:
        """Everything it moves, in a fixed order."""
        found = [p for module in self.modules.values() for p in module.parameters()]
        return [parameter for parameter in dict.fromkeys(found) if parameter.requires_grad]
