"""The training loop: deterministic, resumable, and safe to interrupt at any moment.

Everything random in a step follows from the seed and the step's number, so a resumed run takes the
same steps that an uninterrupted one would have taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.checkpoint import Checkpoint, load_weights, save_checkpoint
from core.errors import IdiolectError
from core.learning.batch import Batch, BatchSource, to_device
from core.learning.optim import OptimConfig
from core.learning.sides import Side, Term
from core.learning.workers import Workers
from core.model.model import IdiolectModel

log = logging.getLogger(__name__)

_PATIENCE = 20
"""Steps in a row with a loss that is not finite before the run is given up."""
_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer:
    """Lets the sides of a training move, step by step.

    Attributes:
        model: What is learnt; its running mean `average` is what is kept in the end.
        sides: Who learns, in the order in which they move; one of them moves the model.
        step: Steps taken.
        source: Where batches come from.
    """

    def __init__(
        self,
        model: IdiolectModel,
        sides: Sequence[Side],
        source: BatchSource,
        optim: OptimConfig,
        seed: int,
        *,
        device: str | torch.device = "cpu",
        workers: Workers | None = None,
    ) -> None:
        """Prepare.

        Raises:
            IdiolectError: A setting of `optim` cannot be meant.
        """
        optim.check()
        self.model, self.sides, self.source = model, tuple(sides), source
        self.optim, self.seed, self.device = optim, seed, torch.device(device)
        self.workers = workers or Workers()
        self.step = 0
        self.modules = {name: m for side in self.sides for name, m in side.modules.items()}
        for module in self.modules.values():
            module.to(self.device)
        self.workers.share(list(self.modules.values()))
        self.average = {name: value.clone() for name, value in model.state_dict().items()}
        self._moved = {side.name: side.parameters() for side in self.sides}
        self.optimizers = {
            side.name: torch.optim.AdamW(
                self._moved[side.name],
                lr=side.learning_rate,
                betas=side.betas,
                weight_decay=side.weight_decay,
            )
            for side in self.sides
        }
        scaled = optim.precision == "float16"
        self._scalers = {
            side.name: torch.amp.GradScaler(self.device.type, enabled=scaled) for side in self.sides
        }
        self._bad_steps = 0

    def run(
        self,
        save: Callable[[Trainer], None],
        progress: Callable[[str, int, int], None] | None = None,
        observe: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        """Train up to the configured number of steps.

        Args:
            save: Called every `save_every` steps and at the end; writes the checkpoints.
            progress: Called after each step with ("training", done, total).
            observe: Called every `log_every` steps with the step and what `train_step` gives,
                smoothed over the steps before.

        Raises:
            IdiolectError: The loss stayed not finite.
        """
        smooth: dict[str, float] = {}
        while self.step < self.optim.steps:
            for name, value in self.train_step().items():
                smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
            if progress:
                progress("training", self.step, self.optim.steps)
            if self.step % self.optim.log_every == 0:
                line = "  ".join(f"{name} {value:.4f}" for name, value in smooth.items())
                log.info("step %d  %s", self.step, line)
                if observe:
                    observe(self.step, dict(smooth))
            if self.step % self.optim.save_every == 0 or self.step == self.optim.steps:
                save(self)

    def train_step(self) -> dict[str, float]:
        """Take one step: every side moves once.

        Returns:
            Each loss term before weighting, the sum of each side's weighted terms as "total" (of
            later sides as "NAME total"), and likewise the norm of its gradient as "gradient".
        """
        self.model.train()
        told: dict[str, Tensor] = {}
        batches = [
            to_device(self.source.batch(self.step, part), self.device) for part in self._parts()
        ]
        shared: list[dict[str, Any]] = [{} for _ in batches]
        finite = True
        for place, side in enumerate(self.sides):
            if self.step < side.first_step:
                continue
            with self._only(side):
                terms, norm = self._gradients(side, place, batches, shared)
                total = torch.stack([weight * value for value, weight in terms.values()]).sum()
                finite = bool(torch.isfinite(total)) and self._move(side, norm)
            prefix = f"{side.name} " if place else ""
            told[f"{prefix}total"], told[f"{prefix}gradient"] = total, norm
            told |= {name: term.value for name, term in terms.items()}
            if not finite:
                break
        self._count_bad(finite)
        if finite:
            self._update_average()
        self.step += 1
        names = list(told)
        return dict(zip(names, torch.stack([told[n] for n in names]).tolist(), strict=True))

    def _parts(self) -> range:
        """Which of the step's batches this process learns from."""
        first = self.workers.rank * self.optim.accumulate
        return range(first, first + self.optim.accumulate)

    def _gradients(
        self, side: Side, place: int, batches: list[Any], shared: list[dict[str, Any]]
    ) -> tuple[dict[str, Term], Tensor]:
        """Fill in the gradients of a side; returns the mean terms and the gradient's norm."""
        optimizer, scaler = self.optimizers[side.name], self._scalers[side.name]
        for group in optimizer.param_groups:
            group["lr"] = side.rate(self.step)
        optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for part, batch, found in zip(self._parts(), batches, shared, strict=True):
            # Dropout, and whatever else is drawn, is the batch's own, wherever it is learnt from.
            torch.manual_seed(((self.seed * 1_000_003 + self.step) * 1009 + part) * 7 + place)
            with self._autocast():
                terms = side.terms(batch, self.step, found)
            total = torch.stack([weight * value for value, weight in terms.values()]).sum()
            scaler.scale(total / len(batches)).backward()  # type: ignore[no-untyped-call]
            for name, (value, weight) in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
                weights[name] = weight
        moved = self._moved[side.name]
        self.workers.average_gradients(moved)
        if scaler.is_enabled():
            scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(moved, self.optim.clip)
        means = self.workers.mean(torch.stack(list(sums.values())) / len(batches))
        return {n: Term(v, weights[n]) for n, v in zip(sums, means, strict=True)}, norm

    def _move(self, side: Side, norm: Tensor) -> bool:
        """Move a side's weights; False where the gradient is not finite, and nothing moved."""
        optimizer, scaler = self.optimizers[side.name], self._scalers[side.name]
        finite = bool(torch.isfinite(norm))
        if scaler.is_enabled():
            # It skips steps by itself, and lowers its scale: that is how it finds the right one.
            scaler.step(optimizer)
            scaler.update()
            return finite or float(scaler.get_scale()) >= 1.0
        if finite:
            optimizer.step()
        return finite

    def _count_bad(self, finite: bool) -> None:
        if finite:
            self._bad_steps = 0
            return
        # A step on NaN would destroy the weights: it is left out.
        self._bad_steps += 1
        log.warning("step %d: the loss is not finite; step left out", self.step)
        if self._bad_steps >= _PATIENCE:
            raise IdiolectError(
                f"the loss is not finite since step {self.step - _PATIENCE + 1}",
                hint="The last checkpoint is good. Start again with the same --out and a lower "
                "learning rate: --set optim.learning_rate="
                f"{self.optim.learning_rate / 3:.1g}",
                code="training_diverged",
                setting="optim.learning_rate",
            )

    @contextmanager
    def _only(self, side: Side) -> Iterator[None]:
        """Let gradients reach the parameters of one side alone."""
        others = [p for other in self.sides if other is not side for p in self._moved[other.name]]
        own = set(self._moved[side.name])
        still = [parameter for parameter in others if parameter not in own]
        for parameter in still:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in still:
                parameter.requires_grad_(True)

    def _autocast(self) -> torch.autocast:
        kind = _PRECISIONS.get(self.optim.precision, torch.bfloat16)
        return torch.autocast(self.device.type, kind, self.optim.precision in _PRECISIONS)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the averaged weights, in evaluation mode, without gradients."""
        current = {name: value.clone() for name, value in self.model.state_dict().items()}
        training = self.model.training
        self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.load_state_dict(current)
            self.model.train(training)

    def validate(self, measure: Callable[[Batch, Tensor], None] | None = None) -> dict[str, float]:
        """Loss terms of the averaged weights over the validation clips, by the first side.

        Args:
            measure: Called with each batch and the motion (B, T, C) that the model makes of it.
        """
        sums: dict[str, float] = {}
        count = 0
        side = self.sides[0]
        with self.averaged():
            for given in self.source.validation():
                batch = to_device(given, self.device)
                torch.manual_seed(self.seed)
                with self._autocast():
                    terms = side.terms(batch, self.step, {})
                    predicted = side.predict(batch) if measure else None
                for name, term in terms.items():
                    if name != "identity":  # the people of the validation split are strangers
                        sums[name] = sums.get(name, 0.0) + float(term.value)
                if measure and predicted is not None:
                    measure(given, predicted.float().cpu())
                count += 1
        return {name: value / count for name, value in sums.items()}

    def save_state(self, path: Path, config: Mapping[str, Any]) -> None:
        """Write everything that resuming needs."""
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for part, module in self.modules.items():
            tensors |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
        scales = {}
        for side, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                start = f"optimizer.{side}.{index}"
                tensors |= {f"{start}.{name}": value for name, value in state.items()}
            scales[side] = self._scalers[side].state_dict()
        facts = {"step": self.step, "seed": self.seed, "scales": scales}
        save_checkpoint(path, tensors, config, facts)

    def load_state(self, checkpoint: Checkpoint) -> None:
        """Continue where `save_state` left off.

        Raises:
            IdiolectError: The checkpoint does not fit this model or corpus.
        """
        for part, module in self.modules.items():
            load_weights(module, checkpoint.part(part), checkpoint.path)
        self.average = {k: v.to(self.device) for k, v in checkpoint.part("average").items()}
        for side, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in checkpoint.part(f"optimizer.{side}").items():
                index, _, key = name.partition(".")
                state.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            if scale := checkpoint.metadata.get("scales", {}).get(side):
                self._scalers[side].load_state_dict(scale)
        self.step = int(checkpoint.metadata["step"])

    @torch.no_grad()
    def _update_average(self) -> None:
        # Young averages would remember the random start, so the decay rises with the steps.
        decay = min(self.optim.average_decay, (1.0 + self.step) / (10.0 + self.step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1.0 - decay)
            else:
                self.average[name].copy_(value)
