"""What every corpus reader gives, and what readers share.

A reader lists the recordings of a corpus without loading them, so that the list can be counted and
cut down; each recording loads itself on demand.

Shape letters: S samples, T motion frames, C channels, V vertices.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from core.audio import SAMPLE_RATE_HZ
from core.errors import IdiolectError, read_failed
from core.motion import MotionClip, vertex_channels
from core.phones import Segment

TRAIN, VALID, TEST = "train", "valid", "test"

SOUND_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3", ".ogg", ".aif", ".aiff", ".mp4", ".mov")
"""Where sound may lie beside motion, the best first."""

UNKNOWN_EMOTION = 255


@dataclass(frozen=True)
class Take:
    """One performance, loaded.

    Attributes:
        samples: (S,) float32 speech, mono, 16 kHz, at its own level.
        motion: Motion in the corpus' space, at the corpus' own frame rate.
        phones: Phones in time where the corpus gives them; nothing is known of what they leave out.
        transcript: What was said, where the corpus gives it.
        emotion: (T,) uint8 index into `core.emotions.EMOTIONS` at the motion's frames, or
            UNKNOWN_EMOTION; None where the corpus knows none.
        template: (V, 3) the face at rest, metres, in the "vertices" space.
    """

    samples: np.ndarray
    motion: MotionClip
    phones: Sequence[Segment] | None = None
    transcript: str = ""
    emotion: np.ndarray | None = None
    template: np.ndarray | None = None


@dataclass(frozen=True)
class Recording:
    """One performance, not loaded yet.

    Attributes:
        name: Unique in the corpus.
        identity: Who speaks.
        split: "train", "valid" or "test", as published. Test recordings of people who are also in
            the training split make up Mimic's Test-A, those of others its Test-B.
        load: Loads it.

    Raises:
        IdiolectError: By `load`: "bad_source" and what the readers of files raise; each names the
            file, what was expected and what was found.
    """

    name: str
    identity: str
    split: str
    load: Callable[[], Take]


def bad_source(path: Path, problem: str, hint: str = "") -> IdiolectError:
    """The error for a file that is not as the corpus publishes it."""
    return IdiolectError(
        f"{path}: {problem}",
        hint=hint or "Take the file as published, or choose the reader that fits it.",
        code="bad_source",
        setting="source",
    )


def check_folder(source: Path) -> None:
    """Raise unless there is such a folder."""
    if not source.is_dir():
        raise bad_source(source, "there is no such folder", "Name the corpus' own folder.")


def check_shape(path: Path, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raise unless an array is one of finite numbers in this shape; None is any length ≥ 1."""
    fits = len(array.shape) == len(shape) and all(
        found == wanted or (wanted is None and found > 0)
        for found, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        wanted_text = " × ".join("any" if n is None else str(n) for n in shape)
        size = " × ".join(map(str, array.shape)) or "one"
        found = "none" if array.dtype.kind == "O" else f"{size} of {array.dtype}"
        raise bad_source(path, f"expected {name} of {wanted_text} numbers, found {found}")
    if not np.isfinite(array).all():
        raise bad_source(path, f"{name} holds values that are not finite")


def read_npz(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict:
    """Arrays of an .npz by name; others in it, and pickles, are not touched.

    Raises:
        IdiolectError: "missing_file", "unreadable_file", "bad_source".
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            if missing := [name for name in names if name not in data.files]:
                found = ", ".join(data.files) or "none"
                raise bad_source(path, f"expected arrays {', '.join(missing)}; found {found}")
            return {name: data[name] for name in (*names, *optional) if name in data.files}
    except OSError as error:
        raise read_failed(path, error, setting="source") from error
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise bad_source(path, f"expected an .npz of plain arrays, found none ({error})") from error


def read_npy(path: Path) -> np.ndarray:
    """A mapped .npy without pickles.

    Raises:
        IdiolectError: "missing_file", "unreadable_file", "bad_source".
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise read_failed(path, error, setting="source") from error
    except (ValueError, EOFError) as error:
        raise bad_source(
            path, f"expected an .npy of plain numbers, found none ({error})"
        ) from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8 that are not empty.

    Raises:
        IdiolectError: "missing_file", "unreadable_file", "bad_source".
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise read_failed(path, error, setting="source") from error
    except UnicodeDecodeError as error:
        raise bad_source(path, f"expected text in UTF-8, found none ({error})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def to_speech(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """Sound (S,) or (S, channels), integers of full scale or floats, as mono float32 at 16 kHz."""
    if sound.dtype.kind == "i":
        sound = sound / -float(np.iinfo(sound.dtype).min)
    mono = sound.reshape(len(sound), -1).mean(axis=1)
    divisor = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    resampled = resample_poly(mono, SAMPLE_RATE_HZ // divisor, rate_hz // divisor)
    return resampled.astype(np.float32)


def sound_beside(path: Path) -> Path | None:
    """The sound file of the same name."""
    candidates = (path.with_suffix(suffix) for suffix in SOUND_SUFFIXES)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def words_beside(path: Path) -> tuple[list[Segment] | None, str]:
    """Phones of a .TextGrid and text of a .txt of the same name, where there are any."""
    from core.words.textgrid import read_phones  # here, since textgrid is read by few

    grid, text = path.with_suffix(".TextGrid"), path.with_suffix(".txt")
    phones = read_phones(grid) if grid.is_file() else None
    return phones, " ".join(read_lines(text)) if text.is_file() else ""


def cut(take: Take, start_s: float, end_s: float) -> Take:
    """The stretch of a take from one time to another, seconds."""
    fps = take.motion.fps
    frames = slice(math.ceil(start_s * fps - 1e-6), math.ceil(end_s * fps - 1e-6))
    samples = slice(round(start_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ))
    phones = None
    if take.phones is not None:
        shifted = [(p, max(a, start_s), min(b, end_s)) for p, a, b in take.phones]
        phones = [Segment(p, a - start_s, b - start_s) for p, a, b in shifted if b > a]
    return replace(
        take,
        samples=take.samples[samples],
        motion=replace(take.motion, weights=take.motion.weights[frames]),
        phones=phones,
        transcript="",  # which of the words were said in the stretch is not known
        emotion=None if take.emotion is None else take.emotion[frames],
    )


HELD_OUT_EVERY = 10


def with_held_out(recordings: Iterable[Recording]) -> list[Recording]:
    """A split for corpora that publish none: every tenth recording of a person is for validation.

    People with fewer than three recordings stay in the training split: style needs pairs.
    """
    by_identity: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_identity.setdefault(recording.identity, []).append(recording)
    result = []
    for own in by_identity.values():
        first = HELD_OUT_EVERY - 1 if len(own) >= HELD_OUT_EVERY else len(own) - 1
        for place, recording in enumerate(own):
            held = len(own) >= 3 and place % HELD_OUT_EVERY == first % HELD_OUT_EVERY
            result.append(replace(recording, split=VALID if held else TRAIN))
    return result


def offsets_clip(vertices: np.ndarray, template: np.ndarray, fps: float) -> MotionClip:
    """Motion in the "vertices" space.

    Args:
        vertices: (T, V, 3) positions, metres.
        template: (V, 3) the same person's face at rest, metres.
        fps: Frames per second.
    """
    offsets = (vertices - template).reshape(len(vertices), -1)
    return MotionClip(offsets, vertex_channels(len(template)), fps, "vertices")


def nested(path: Path, data: object, *keys: str) -> Mapping:
    """The dictionary at `keys` in nested dictionaries read from a file."""
    for depth, key in enumerate(keys):
        if not isinstance(data, Mapping) or key not in data:
            found = ", ".join(map(str, list(data)[:8])) if isinstance(data, Mapping) else type(data)
            raise bad_source(path, f"expected {'.'.join(keys[: depth + 1])}, found {found}")
        data = data[key]
    if not isinstance(data, Mapping):
        where = ".".join(keys) or "the file"
        raise bad_source(path, f"expected names in {where}, found {type(data).__name__}")
    return data
