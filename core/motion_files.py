"""Motion in files: our .npz, Live Link Face .csv, BEAT-style .json.

Nothing here unpickles: an .npz with object arrays is refused.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import IdiolectError, read_failed
from core.files import atomic_path
from core.motion import ARKIT_CHANNELS, MotionClip

# The columns of a Live Link Face recording: the ARKit names with a capital, right before left for
# jaw and mouth, and nine rotations of head and eyes, which we write as zero.
_LIVE_LINK_SWAPS = {"jawLeft": "jawRight", "jawRight": "jawLeft",
                    "mouthLeft": "mouthRight", "mouthRight": "mouthLeft"}  # fmt: skip
_LIVE_LINK_CHANNELS = tuple(_LIVE_LINK_SWAPS.get(name, name) for name in ARKIT_CHANNELS)
_LIVE_LINK_ROTATIONS = tuple(
    f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll")
)
# Timecodes count frames within a second; the rate they count in is not written anywhere, so it is
# the smallest of these that is above every frame number seen.
_TIMECODE_RATES = (24, 25, 30, 48, 50, 60, 100, 120)


def load_motion(path: str | Path) -> MotionClip:
    """Reads motion; the suffix chooses the format (.npz, .csv, .json).

    Raises:
        IdiolectError: "missing_file", "unreadable_file" or "bad_motion", naming the file, what
            was expected and what was found.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise IdiolectError(
            f"{path.name} is not a motion file that Idiolect reads.",
            hint=f"Use one of: {', '.join(_READERS)}.",
            code="bad_motion",
            setting="reference",
        )
    try:
        return reader(path)
    except OSError as error:
        raise read_failed(path, error, setting="reference") from error
    except (ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise _bad(path, f"it does not read as {path.suffix} motion ({error})") from error
    except IdiolectError as error:
        raise _bad(path, error.message) from error


def save_motion(clip: MotionClip, path: str | Path) -> None:
    """Writes motion; the suffix chooses the format (.npz, .csv, .json). Whole or not at all.

    Raises:
        IdiolectError: "unwritable_file", or "bad_output" for an unknown suffix or for motion
            that is not ARKit weights in a .csv.
    """
    path = Path(path)
    writer = _writer(path)
    with atomic_path(path) as temporary:
        writer(clip, temporary)


def check_output(path: Path) -> None:
    """Raises what `save_motion` would raise for this suffix, before the work is done."""
    _writer(path)


def only_arkit(path: Path) -> bool:
    """Whether a file of this suffix can hold ARKit weights only."""
    return path.suffix.lower() == ".csv"


def _writer(path: Path) -> Callable[[MotionClip, Path], None]:
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise IdiolectError(
            f"Idiolect does not write motion as {path.suffix or 'a file without a suffix'}.",
            hint=f"Name the file with one of: {', '.join(_WRITERS)}.",
            code="bad_output",
            setting="output",
        )
    return writer


def _bad(path: Path, problem: str) -> IdiolectError:
    return IdiolectError(
        f"{path.name}: {problem}",
        hint="Export it again, or choose another file.",
        code="bad_motion",
        setting="reference",
    )


# ---------------------------------------------------------------------------------------- .npz


def _read_npz(path: Path) -> MotionClip:
    with np.load(path, allow_pickle=False) as data:
        missing = {"weights", "channels", "fps"} - set(data.files)
        if missing:
            found = ", ".join(data.files) or "none"
            raise ValueError(f"expected arrays weights, channels and fps; found {found}")
        space = str(data["space"]) if "space" in data.files else "arkit"
        return MotionClip(
            data["weights"], tuple(str(c) for c in data["channels"]), float(data["fps"]), space
        )


def _write_npz(clip: MotionClip, path: Path) -> None:
    np.savez_compressed(
        path,
        weights=clip.weights,
        channels=np.array(clip.channels),
        fps=np.array(clip.fps),
        space=np.array(clip.space),
    )


# ---------------------------------------------------------------------------------------- .csv


def _read_csv(path: Path) -> MotionClip:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    known = {name.lower(): name for name in ARKIT_CHANNELS}
    columns = [(i, known[h.strip().lower()]) for i, h in enumerate(header)
               if h.strip().lower() in known]  # fmt: skip
    if not columns or header[0].strip().lower() != "timecode":
        raise ValueError("expected a Live Link Face recording with a Timecode and ARKit columns")
    if not rows:
        raise ValueError("it has no frames")
    weights = np.array([[float(row[i]) for i, _ in columns] for row in rows], np.float32)
    times = _timecodes_to_seconds([row[0] for row in rows])
    weights, fps = _on_even_frames(weights, times)
    return MotionClip(weights, tuple(name for _, name in columns), fps)


def _timecodes_to_seconds(timecodes: list[str]) -> NDArray[np.float64]:
    """Seconds of ``HH:MM:SS:FF.fff`` timecodes, the first at 0."""
    parts = np.array([[float(part) for part in code.split(":")] for code in timecodes])
    if parts.ndim != 2 or parts.shape[1] != 4:
        raise ValueError(f"expected timecodes HH:MM:SS:FF, found {timecodes[0]!r}")
    highest = parts[:, 3].max()
    rate = next((r for r in _TIMECODE_RATES if r > highest), 1000.0)
    # A short take never shows its highest frame number: the app's default rate is the best guess.
    if len(parts) < 2 * _TIMECODE_RATES[-1] and np.ptp(parts[:, 2]) == 0 and rate < 60:
        rate = 60
    seconds = parts @ np.array([3600.0, 60.0, 1.0, 1.0 / rate])
    return seconds - seconds[0]


def _on_even_frames(
    weights: NDArray[np.float32], times: NDArray[np.float64]
) -> tuple[NDArray[np.float32], float]:
    """Recordings drop frames; this puts them on an even grid at their own mean rate."""
    steps = np.diff(times)
    if len(times) == 1:
        return weights, 60.0
    if (steps <= 0).any():
        raise ValueError(f"the timecode of frame {int((steps <= 0).argmax()) + 1} does not advance")
    fps = 1.0 / float(np.median(steps))
    even = (len(times) - 1) / times[-1]
    if abs(even / fps - 1) < 0.02:  # no frame dropped: the mean is the more precise figure
        fps = even
    nearest = min((23.976, 24, 25, 29.97, 30, 48, 50, 59.94, 60, 120), key=lambda r: abs(r - fps))
    if abs(nearest / fps - 1) < 2e-4:
        fps = nearest
    grid = np.arange(round(times[-1] * fps) + 1) / fps
    columns = [np.interp(grid, times, column) for column in weights.T]
    return np.stack(columns, axis=1).astype(np.float32), float(fps)


def _write_csv(clip: MotionClip, path: Path) -> None:
    if clip.space != "arkit":
        raise IdiolectError(
            f"A Live Link Face .csv holds ARKit weights, and this motion is {clip.space}.",
            hint="Write an .npz or a .json instead.",
            code="bad_output",
            setting="output",
        )
    nominal = next((r for r in _TIMECODE_RATES if r >= clip.fps - 1e-6), round(clip.fps))
    header = [name[0].upper() + name[1:] for name in _LIVE_LINK_CHANNELS]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Timecode", "BlendShapeCount", *header, *_LIVE_LINK_ROTATIONS])
        zeros = ["0"] * len(_LIVE_LINK_ROTATIONS)
        for i, row in enumerate(clip.select(_LIVE_LINK_CHANNELS)):
            seconds, rest = divmod(round(i / clip.fps, 9), 1)
            code = f"{_clock(int(seconds))}:{rest * nominal:06.3f}"
            count = len(_LIVE_LINK_CHANNELS) + len(zeros)
            writer.writerow([code, count, *(f"{value:.7g}" for value in row), *zeros])


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# --------------------------------------------------------------------------------------- .json


def _read_json(path: Path) -> MotionClip:
    with path.open(encoding="utf-8") as file:
        data = json.load(file)
    if not isinstance(data, dict) or not {"names", "frames"} <= set(data):
        raise ValueError('expected "names" and "frames", as in the BEAT data set')
    frames = data["frames"]
    if not frames:
        raise ValueError("it has no frames")
    weights = np.array([frame["weights"] for frame in frames], np.float32)
    if "fps" in data:
        fps = float(data["fps"])
    elif len(frames) > 1:
        times = np.array([float(frame["time"]) for frame in frames])
        weights, fps = _on_even_frames(weights, times - times[0])
    else:
        fps = 60.0  # BEAT's rate
    return MotionClip(weights, tuple(data["names"]), fps, data.get("space", "arkit"))


def _write_json(clip: MotionClip, path: Path) -> None:
    frames = [
        {"weights": [round(float(value), 6) for value in row], "time": round(i / clip.fps, 6)}
        for i, row in enumerate(clip.weights)
    ]
    data = {"names": clip.channels, "fps": clip.fps, "space": clip.space, "frames": frames}
    path.write_text(json.dumps(data), encoding="utf-8")


_READERS: dict[str, Callable[[Path], MotionClip]] = {
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".json": _read_json,
}
_WRITERS: dict[str, Callable[[MotionClip, Path], None]] = {
    ".npz": _write_npz,
    ".csv": _write_csv,
    ".json": _write_json,
}
