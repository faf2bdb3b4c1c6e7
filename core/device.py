"""Which processor computes."""

from __future__ import annotations

import torch

from core.errors import IdiolectError


def available() -> list[str]:
    """The devices that PyTorch can use here, the fastest first."""
    devices = []
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


HALF = "+half"
"""After a device's name: compute in half precision there, if it is a CUDA device."""


def pick(name: str = "auto") -> torch.device:
    """The device of a name, with or without `HALF`; "auto" is the fastest there is.

    Raises:
        IdiolectError: code "no_device" when PyTorch cannot use the wanted one here.
    """
    devices = available()
    name = name.removesuffix(HALF)
    if name == "auto":
        return torch.device(devices[0])
    # "cuda:1" is a way to name the second card.
    if name.split(":")[0] not in devices:
        raise IdiolectError(
            f"PyTorch cannot use the device '{name}' here.",
            hint=f"Set the device to auto, or to one of: {', '.join(devices)}.",
            code="no_device",
            setting="device",
        )
    return torch.device(name)
