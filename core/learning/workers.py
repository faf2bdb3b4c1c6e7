"""Several processes, on one machine or many, that learn as one.

Started by `torchrun`, each process takes its own batches of a step, and gradients are averaged over
all before anybody moves: the weights stay equal everywhere, and the result is that of one process
which accumulates as many batches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET = 4_000_000
"""Numbers that travel together."""
_PATIENCE = timedelta(hours=2)
"""How long processes wait for the first, which alone computes speech features and validates."""


def leave(code: int) -> NoReturn:
    """End the process with an exit code, when all is written.

    A process of `torchrun` ends at once: threads of gloo may still hold tensors while Python tears
    itself down, and now and then abort it then (PyTorch issue 190489).
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


class Workers:
    """The processes of a run; just this one where `torchrun` did not start it.

    Attributes:
        rank: Number of this process; 0 writes files.
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.count > 1 else 0
        self._own = self.count > 1 and not dist.is_initialized()
        if self._own:
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, timeout=_PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def close(self) -> None:
        """Leave the group that this object joined."""
        if self._own:
            dist.destroy_process_group()

    def wait(self) -> None:
        """Until everybody is here."""
        if self.count > 1:
            dist.barrier()

    @torch.no_grad()
    def share(self, modules: Sequence[nn.Module]) -> None:
        """Give everybody the first one's weights."""
        if self.count > 1:
            for module in modules:
                for value in module.state_dict().values():
                    dist.broadcast(value, 0)

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace gradients by their mean over all processes.

        A parameter that this process did not use counts with a gradient of zero; one that nobody
        used keeps none, so that the optimiser leaves it alone everywhere.
        """
        if self.count == 1 or not parameters:
            return
        device = parameters[0].device
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
        dist.all_reduce(used)
        moving = [p for p, n in zip(parameters, used.tolist(), strict=True) if n > 0]
        bucket: list[nn.Parameter] = []
        for parameter in moving:
            bucket.append(parameter)
            if sum(p.numel() for p in bucket) >= _BUCKET:
                self._average(bucket)
                bucket = []
        self._average(bucket)

    def _average(self, parameters: Sequence[nn.Parameter]) -> None:
        if not parameters:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        parts = flat.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a tensor over all processes."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.count
        return values
