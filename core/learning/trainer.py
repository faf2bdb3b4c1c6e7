"""The training loop: deterministic, resumable, and safe to interrupt at any moment.

Everything random in a step follows from the seed and the step's number, so a resumed run takes the
same steps that an uninterrupted one would have taken.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.checkpoint import Checkpoint, load_weights, save_checkpoint
from core.errors import IdiolectError
from core.learning import losses
from core.learning.batch import Batch, BatchSource
from core.learning.losses import LossWeights
from core.model.layers import length_mask
from core.model.model import IdiolectModel

log = logging.getLogger(__name__)

_PATIENCE = 20
"""Steps in a row with a loss that is not finite before the run is given up."""


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
    """Learning rate at the end, as a share of the highest."""
    weight_decay: float = 0.01
    """Decoupled weight decay (AdamW)."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    bfloat16: bool = False
    """Multiply in bfloat16; faster on GPUs and on processors that can (AVX512-BF16, AMX)."""
    average_decay: float = 0.995
    """Decay of the running mean of the weights, which is what is kept in the end."""
    save_every: int = 250
    """Steps between checkpoints."""
    log_every: int = 25
    """Steps between lines in the log."""


@dataclass(frozen=True)
class FaceMeasures:
    """What the losses need to know of the face that the motion drives.

    Attributes:
        channel_weights: (C,) importance of each channel.
        mouth: (C,) bool, True for channels of mouth and jaw.
        lip_matrix: (L, C) millimetres that each channel opens each lip pair.
        lip_rest: (L,) millimetres between the pairs on the neutral face.
    """

    channel_weights: Tensor
    mouth: Tensor
    lip_matrix: Tensor
    lip_rest: Tensor


class StyleReaders(nn.Module):
    """What is read from a style code while training, so that the code holds it."""

    def __init__(self, code: int, identities: int, traits: int) -> None:
        super().__init__()
        self.identity = nn.Linear(code, identities)
        self.traits = nn.Linear(code, traits) if traits else None


class Trainer:
    """Trains an `IdiolectModel` from a `BatchSource`."""

    def __init__(
        self,
        model: IdiolectModel,
        source: BatchSource,
        face: FaceMeasures,
        optim: OptimConfig,
        weights: LossWeights,
        seed: int,
    ) -> None:
        self.model = model
        self.source = source
        self.face = face
        self.optim = optim
        self.weights = weights
        self.seed = seed
        self.step = 0
        torch.manual_seed(seed)
        self.readers = StyleReaders(model.config.style.code, source.identities, source.traits)
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(
            self._parameters(),
            lr=optim.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=optim.weight_decay,
        )
        self._bad_steps = 0

    def run(
        self,
        save: Callable[[Trainer], None],
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """Train up to the configured number of steps.

        Args:
            save: Called every `save_every` steps and at the end; writes the checkpoints.
            progress: Called after each step with ("training", done, total).

        Raises:
            IdiolectError: The loss stayed not finite.
        """
        smooth: dict[str, float] = {}
        while self.step < self.optim.steps:
            terms = self.train_step()
            for name, value in terms.items():
                smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
            if progress:
                progress("training", self.step, self.optim.steps)
            if self.step % self.optim.log_every == 0:
                line = "  ".join(f"{name} {value:.4f}" for name, value in smooth.items())
                log.info("step %d  %s", self.step, line)
            if self.step % self.optim.save_every == 0 or self.step == self.optim.steps:
                save(self)

    def train_step(self) -> dict[str, float]:
        """Take one step; returns each loss term before weighting."""
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # dropout
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.model.train()
        terms = self.loss_terms(self.source.batch(self.step))
        total = torch.stack([getattr(self.weights, k) * v for k, v in terms.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters(), self.optim.clip)
        if torch.isfinite(total) and torch.isfinite(norm):
            self.optimizer.step()
            self._update_average()
            self._bad_steps = 0
        else:  # a step on NaN would destroy the weights: leave it out
            self._bad_steps += 1
            log.warning("step %d: the loss is not finite; step left out", self.step)
            if self._bad_steps >= _PATIENCE:
                raise IdiolectError(
                    f"the loss is not finite since step {self.step - _PATIENCE + 1}",
                    hint="Resume with a lower learning rate: --set optim.learning_rate=3e-4",
                    code="training_diverged",
                    setting="optim.learning_rate",
                )
        self.step += 1
        return {"total": total.item(), **{name: value.item() for name, value in terms.items()}}

    def loss_terms(self, batch: Batch) -> dict[str, Tensor]:
        """Every loss term that has a weight, unweighted."""
        face, weights = self.face, self.weights
        reference_mask = length_mask(batch.reference_lengths, batch.reference.shape[1])
        frames = batch.motion.shape[1]
        with torch.autocast(batch.motion.device.type, torch.bfloat16, self.optim.bfloat16):
            style = self.model.encode_style(batch.reference, reference_mask).float()  # (B, d_s)
            makers = self._style_terms(style, batch)
            if makers and self.model.training and self.step < self.optim.style_first:
                return {name: make() for name, make in makers.items()}
            predicted = self.model(
                batch.tracks,
                batch.speech_lengths,
                frames,
                style=style[:, None],
                emotion=batch.emotion,
                motion_lengths=batch.motion_lengths,
            ).float()
        mask = length_mask(batch.motion_lengths, frames)
        makers |= {
            "reconstruction": lambda: losses.reconstruction_loss(
                predicted, batch.motion, mask, face.channel_weights
            ),
            "velocity": lambda: losses.velocity_loss(
                predicted, batch.motion, mask, face.channel_weights
            ),
            "lips": lambda: losses.lip_loss(
                predicted,
                batch.motion,
                mask,
                face.lip_matrix,
                face.lip_rest,
                weights.closure_sharpness,
            ),
            "silence": lambda: losses.silence_loss(predicted, batch.silent, mask, face.mouth),
        }
        return {name: make() for name, make in makers.items() if getattr(weights, name) > 0.0}

    def _style_terms(self, style: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """Terms that need the style code (B, d_s) alone and have a weight."""
        terms: dict[str, Callable[[], Tensor]] = {}
        if self.weights.identity > 0.0:
            read = self.readers.identity
            terms["identity"] = lambda: losses.identity_loss(read(style), batch.identities)
        traits, read_traits = batch.traits, self.readers.traits
        if self.weights.traits > 0.0 and traits is not None and read_traits is not None:
            terms["traits"] = lambda: losses.traits_loss(read_traits(style), traits)
        return terms

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss terms of the averaged weights over the validation clips."""
        current = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        self.model.eval()
        sums: dict[str, float] = {}
        count = 0
        for batch in self.source.validation():
            for name, value in self.loss_terms(batch).items():
                if name != "identity":  # the people of the validation split are strangers
                    sums[name] = sums.get(name, 0.0) + float(value)
            count += 1
        self.model.load_state_dict(current)
        return {name: value / count for name, value in sums.items()}

    def learning_rate(self) -> float:
        """The rate of the current step: linear rise, then a cosine."""
        optim = self.optim
        # What learns from step style_first on needs a rise of its own.
        risen = self.step - (optim.style_first if self.step >= optim.style_first else 0)
        if risen < optim.warmup:
            return optim.learning_rate * (risen + 1) / optim.warmup
        done = (self.step - optim.warmup) / max(1, optim.steps - optim.warmup)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
        return optim.learning_rate * (optim.final_share + (1.0 - optim.final_share) * cosine)

    def save_state(self, path: Path, config: Mapping[str, Any]) -> None:
        """Write everything that resuming needs."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"readers.{name}": v for name, v in self.readers.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        save_checkpoint(path, tensors, config, {"step": self.step, "seed": self.seed})

    def load_state(self, checkpoint: Checkpoint) -> None:
        """Continue where `save_state` left off.

        Raises:
            IdiolectError: The checkpoint does not fit this model or corpus.
        """
        load_weights(self.model, checkpoint.part("model"), checkpoint.path)
        load_weights(self.readers, checkpoint.part("readers"), checkpoint.path)
        self.average = checkpoint.part("average")
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.part("optimizer").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(
            {"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]}
        )
        self.step = int(checkpoint.metadata["step"])

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.readers.parameters()]

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young averages would remember the random start, so the decay rises with the steps.
        decay = min(self.optim.average_decay, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1.0 - decay)
