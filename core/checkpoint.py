"""Checkpoints: one safetensors file with its configuration inside, read strictly.

The file holds tensors only (no code is ever executed), and in its header, as JSON, the
configuration it was made with and free metadata. Tensor names begin with their part: `model.`,
`backbone.`, `styles.`, in a resumable training run also `optimizer.` and `average.`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import IdiolectError
from core.files import atomic_path

FORMAT = "idiolect-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: Where it was read from.
        tensors: Every tensor by its full name; half-precision ones already widened to float32.
        config: The configuration as plain dictionaries.
        metadata: Free facts: name, training data, licences, …
    """

    path: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    metadata: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `prefix` and a dot, without that beginning."""
        start = f"{prefix}."
        return {
            name[len(start) :]: tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


def save_checkpoint(
    path: Path,
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a checkpoint so that `path` is either the whole new file or what it was before.

    Args:
        path: File to write, usually ending in `.safetensors`.
        state_dict: Tensors by name.
        config: Configuration as plain dictionaries (JSON).
        metadata: Free facts (JSON).
        half: Store floating-point tensors as float16, for the bundled model.

    Raises:
        IdiolectError: A tensor holds NaN or infinity, or the file cannot be written.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        value = tensor.detach().to("cpu")
        if value.is_floating_point():
            value = value.to(torch.float16 if half else torch.float32)
            if not torch.isfinite(value).all():
                raise IdiolectError(
                    f"not saving {path}: tensor '{name}' holds values that are not finite",
                    hint="The training diverged; lower optim.learning_rate and resume.",
                    code="checkpoint_not_finite",
                )
        # A copy of its own: safetensors refuses tensors that share memory (tied weights).
        tensors[name] = value.clone().contiguous()
    header = {
        "format": FORMAT,
        "config": json.dumps(config, sort_keys=True),
        "metadata": json.dumps(metadata or {}, sort_keys=True),
    }
    try:
        with atomic_path(path) as beside:
            save_file(tensors, str(beside), metadata=header)
    except (OSError, SafetensorError) as error:
        raise IdiolectError(
            f"cannot write the checkpoint {path}: {error}",
            hint="Check that the folder may be written to and the disk is not full.",
            code="checkpoint_unwritable",
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Args:
        path: File written by `save_checkpoint`.

    Raises:
        IdiolectError: The file is missing, damaged, or no Idiolect checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise IdiolectError(
            f"there is no checkpoint at {path}",
            hint="Choose a .safetensors file made by training.train, or the bundled model.",
            code="checkpoint_missing",
            setting="checkpoint",
        )
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            header = file.metadata() or {}
            # keys() is not a mapping's: safe_open has no __iter__.
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (SafetensorError, OSError, ValueError) as error:
        raise IdiolectError(
            f"{path} is damaged or no safetensors file: {error}",
            hint="Copy or download it again, or choose another checkpoint.",
            code="checkpoint_damaged",
            setting="checkpoint",
        ) from error
    found = header.get("format", "no format mark")
    if found != FORMAT:
        raise IdiolectError(
            f"{path} is no checkpoint of Idiolect: expected {FORMAT}, found {found}",
            hint="Choose a file made by training.train, or the bundled model.",
            code="checkpoint_foreign",
            setting="checkpoint",
        )
    widened = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    try:
        config, metadata = json.loads(header["config"]), json.loads(header["metadata"])
    except (KeyError, json.JSONDecodeError) as error:
        raise IdiolectError(
            f"the header of {path} is damaged: {error}",
            hint="Copy or download it again, or choose another checkpoint.",
            code="checkpoint_damaged",
            setting="checkpoint",
        ) from error
    return Checkpoint(path, widened, config, metadata)


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy tensors into a module, all names and shapes agreeing.

    Args:
        module: Built from the checkpoint's configuration.
        tensors: Its tensors, `Checkpoint.part("model")` for example.
        path: The file, for the message.

    Raises:
        IdiolectError: Names or shapes differ; the message says what was expected and found.
    """
    expected = module.state_dict()
    problems = [f"'{name}' is missing" for name in expected if name not in tensors]
    problems += [f"'{name}' is not expected" for name in tensors if name not in expected]
    problems += [
        f"'{name}' has shape {tuple(tensors[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if problems:
        more = f" (and {len(problems) - 4} more)" if len(problems) > 4 else ""
        raise IdiolectError(
            f"{path} does not fit its configuration: {'; '.join(problems[:4])}{more}",
            hint="The file comes from another version of the model: train or download it again.",
            code="checkpoint_mismatch",
            setting="checkpoint",
        )
    module.load_state_dict(dict(tensors))
