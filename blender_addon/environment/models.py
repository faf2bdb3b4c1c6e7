"""What a checkpoint has, and the styles that the artist has saved.

A checkpoint file is asked without PyTorch and without a worker. A saved style is a small file in a
folder of the user's, its name that of the file.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..worker.client import find_root
from .place import data_dir

_LONGEST_HEADER = 16 * 1024 * 1024
_STYLE_PREFIX = "styles."
STYLE_SUFFIX = ".style.npz"


def bundled_checkpoint() -> Path:
    """The model that comes with the add-on."""
    return find_root() / "core" / "checkpoints" / "idiolect.safetensors"


def style_names(checkpoint: str = "") -> list[str]:
    """Names of the ready-made styles: those of a model, then those that were saved."""
    own = own_styles(checkpoint)
    return [*own, *(name for name in saved_styles() if name not in own)]


def own_styles(checkpoint: str = "") -> list[str]:
    """Names of the styles of a model, by default the bundled one; empty if it cannot be read."""
    path = Path(checkpoint) if checkpoint else bundled_checkpoint()
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return []
    names = (name for name in _header_of(path, changed) if name.startswith(_STYLE_PREFIX))
    return sorted(name.removeprefix(_STYLE_PREFIX) for name in names)


def space_of(checkpoint: str) -> str:
    """The motion space of a model: "arkit", "flame" or "vertices".

    Args:
        checkpoint: its file; empty for the bundled one. Of a file that cannot be read "arkit" is
            told: the worker says what is wrong with it.
    """
    path = Path(checkpoint) if checkpoint else bundled_checkpoint()
    try:
        told = _header_of(path, path.stat().st_mtime_ns)["__metadata__"]
        return str(json.loads(told["config"])["model"]["motion"]["space"])
    except (OSError, ValueError, KeyError, TypeError):
        return "arkit"


def saved_styles() -> dict[str, Path]:
    """Name to file of the styles that were saved on this computer."""
    try:
        files = sorted(styles_folder().glob(f"*{STYLE_SUFFIX}"))
    except OSError:
        return {}
    return {file.name.removesuffix(STYLE_SUFFIX): file for file in files}


def styles_folder() -> Path:
    """Where styles are saved: beside the environments, so all Blenders of this user share it."""
    return data_dir() / "styles"


@lru_cache(maxsize=8)
def _header_of(path: Path, _changed: int) -> dict[str, Any]:
    """A safetensors file begins with the length of its header (8 bytes) and the header, JSON."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            return dict(json.loads(file.read(min(length, _LONGEST_HEADER))))
    except (OSError, ValueError, struct.error):
        return {}
