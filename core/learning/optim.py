"""How weights move: the settings of a run's optimisers, and the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.errors import IdiolectError

PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class OptimConfig:
    """How the weights move."""

    steps: int = 2000
    """Steps in all."""
    learning_rate: float = 1e-3
    """Highest learning rate (Adam)."""
    style_first: int = 0
    """Steps at the beginning in which only the style encoder learns, from the identity loss alone.
    Left to the decoder's first, wild gradients its codes of all people stay the same for long."""
    warmup: int = 100
    """Steps of linear rise; after them the rate falls along a cosine."""
    final_share: float = 0.02
    """Learning rate at the end, as a share of the highest; 1 keeps it constant."""
    weight_decay: float = 0.01
    """Decoupled weight decay (AdamW); 0 is Adam."""
    betas: tuple[float, ...] = (0.9, 0.98)
    """Decay of Adam's two running means."""
    accumulate: int = 1
    """Batches whose gradients are averaged before the weights move: a step learns from
    `accumulate` × processes × `data.batch` clips."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    precision: str = "float32"
    """What is multiplied in: "float32", "bfloat16" (faster on GPUs and on processors that can) or
    "float16" (older GPUs; the loss is scaled so that small gradients survive)."""
    average_decay: float = 0.995
    """Decay of the running mean of the weights, which is what is kept in the end."""
    save_every: int = 250
    """Steps between checkpoints."""
    log_every: int = 25
    """Steps between lines in the log and points in TensorBoard."""

    def check(self) -> None:
        """Refuse settings that cannot be meant.

        Raises:
            IdiolectError: Naming the setting, what was expected and what was found.
        """
        for name in ("steps", "accumulate", "save_every", "log_every"):
            _expect(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "clip"):
            _expect(name, getattr(self, name), getattr(self, name) > 0.0, "above 0")
        _expect("precision", self.precision, self.precision in PRECISIONS, ", ".join(PRECISIONS))
        fits = len(self.betas) == 2 and all(0.0 <= beta < 1.0 for beta in self.betas)
        _expect("betas", self.betas, fits, "two numbers, each 0 or above and below 1")
        decay = self.average_decay
        _expect("average_decay", decay, 0.0 <= decay < 1.0, "0 or above and below 1")


def risen_and_falling(step: int, optim: OptimConfig) -> float:
    """Learning rate of a step: a linear rise, then a cosine."""
    # What learns from step style_first on needs a rise of its own.
    risen = step - (optim.style_first if step >= optim.style_first else 0)
    if risen < optim.warmup:
        return optim.learning_rate * (risen + 1) / optim.warmup
    done = (step - optim.warmup) / max(1, optim.steps - optim.warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
    return optim.learning_rate * (optim.final_share + (1.0 - optim.final_share) * cosine)


def _expect(name: str, found: object, fits: bool, expected: str) -> None:
    if not fits:
        raise IdiolectError(
            f"setting 'optim.{name}': expected {expected}, found {found}",
            hint=f"Change it in the configuration, or by --set optim.{name}=…",
            code="config_invalid",
            setting=f"optim.{name}",
        )
