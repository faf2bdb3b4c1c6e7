"""Arrays on disk, as the add-on and the worker hand them to each other.

``.npz`` without pickles: nothing in a user's file can be executed by opening it. A motion file
holds ``weights`` (T, C) float32, ``channels`` (C,) text, ``fps`` and ``space``, and is the same
format that ``core.motion`` reads and writes.

Standard library and numpy only; any numpy from 1.24 on.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .protocol import WorkerError


@dataclass(frozen=True)
class Motion:
    """Motion of a face over time.

    Attributes:
        weights: (T, C) float32; in the space ``arkit`` 0..1, frame i at time i / fps.
        channels: the names of the C columns.
        fps: frames per second.
        space: ``"arkit"``, ``"flame"`` or ``"vertices"``.
    """

    weights: npt.NDArray[np.float32]
    channels: tuple[str, ...]
    fps: float
    space: str = "arkit"

    @property
    def duration_s(self) -> float:
        """From the first frame to the last."""
        return max(0, len(self.weights) - 1) / self.fps


def write_motion(path: Path | str, motion: Motion) -> None:
    """Write a motion file.

    Raises:
        WorkerError: if the motion has no frames, values that are no numbers, names that do not
            fit its columns, or cannot be written.
    """
    weights = np.asarray(motion.weights, dtype=np.float32)
    _check(weights, motion.channels, motion.fps, str(path))
    write_arrays(
        path,
        {
            "weights": weights,
            "channels": np.asarray(motion.channels, dtype=np.str_),
            "fps": np.float64(motion.fps),
            "space": np.str_(motion.space),
        },
    )


def read_motion(path: Path | str) -> Motion:
    """Read a motion file.

    Raises:
        WorkerError: if it cannot be read, or is no motion file.
    """
    arrays = read_arrays(path)
    missing = {"weights", "channels", "fps"} - set(arrays)
    if missing:
        raise WorkerError(
            f"{path} is not a motion file: it has no {', '.join(sorted(missing))}.",
            code="bad_motion",
        )
    weights = np.asarray(arrays["weights"], dtype=np.float32)
    channels = tuple(str(name) for name in arrays["channels"].tolist())
    fps = float(arrays["fps"])
    _check(weights, channels, fps, str(path))
    return Motion(weights, channels, fps, str(arrays.get("space", "arkit")))


def write_arrays(path: Path | str, arrays: dict[str, Any]) -> None:
    """Write named arrays, beside the target first, so that no half-written file is ever seen.

    Raises:
        WorkerError: if the folder or the disk refuses.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            np.savez(file, **arrays)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise WorkerError(
            f"{path} cannot be written: {error.strerror or error}.",
            hint="Choose a folder that you may write to, on a disk with free space.",
            code="cannot_write",
        ) from error


def read_arrays(path: Path | str) -> dict[str, npt.NDArray[Any]]:
    """Read every array of a ``.npz`` file; files with pickles inside are refused.

    Raises:
        WorkerError: if the file is missing, damaged, or not of this kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("one bare array, not an .npz archive")
            return {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise WorkerError(f"{path} does not exist.", code="missing_file") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise WorkerError(
            f"{path} cannot be read as an .npz file: {error}.", code="bad_file"
        ) from error


def _check(
    weights: npt.NDArray[np.float32], channels: tuple[str, ...], fps: float, where: str
) -> None:
    if weights.ndim != 2 or weights.shape[0] == 0 or weights.shape[1] != len(channels):
        problem = f"{len(channels)} channel names do not fit weights of shape {weights.shape}"
    elif not np.isfinite(weights).all():
        problem = "it holds values that are not numbers (NaN or infinite)"
    elif not (np.isfinite(fps) and fps > 0):
        problem = f"its frame rate is {fps}"
    else:
        return
    raise WorkerError(f"{where} is not usable motion: {problem}.", code="bad_motion")
