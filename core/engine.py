"""The networks and the device that they run on; a device that fails is left for the processor."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from core.model.model import IdiolectModel
from core.model.speech import SpeechBackbone

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Engine:
    """Backbone and model on a device.

    Attributes:
        model: The model.
        backbone: What hears.
        device: Where both are.
    """

    def __init__(
        self,
        model: IdiolectModel,
        backbone: SpeechBackbone,
        device: torch.device,
        *,
        half: bool = False,
    ) -> None:
        """Move networks to a device.

        Args:
            model: The model.
            backbone: The backbone.
            device: Where they shall run.
            half: Compute in half precision there, if it is an accelerator.
        """
        self.model = model.eval().to(device)
        self.backbone = backbone.eval().to(device)
        self.device = device
        self.half = half

    def attempt(
        self, work: Callable[[], Result], smaller: Callable[[], Result] | None = None
    ) -> Result:
        """Do work on the device.

        Args:
            work: What to do; it asks for the device anew each time.
            smaller: The same in smaller pieces, for when there is not enough memory; None where
                the work cannot be split. Then, or when an accelerator fails otherwise, everything
                goes on with the processor.
        """
        try:
            with torch.inference_mode(), self._precision():
                return work()
        except RuntimeError as error:
            if smaller is not None and is_out_of_memory(error):
                log.warning("%s: out of memory; going on with smaller windows", self.device)
            elif self.device.type == "cpu":
                raise
            else:
                log.warning("%s failed (%s); going on with the CPU", self.device, error)
                smaller = None
        # Outside of the handler: the error's traceback holds what could not be afforded.
        if smaller is not None:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            return smaller()
        self.leave_device()
        return self.attempt(work)

    def leave_device(self) -> None:
        """Go on with the processor."""
        self.device = torch.device("cpu")
        self.model.to(self.device)
        self.backbone.to(self.device)

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if not self.half or self.device.type != "cuda":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.float16)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether there was not enough memory: accelerators and processors say it differently."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
