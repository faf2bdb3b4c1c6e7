"""Motion as the model gives it, with the little of what was heard that finishing needs.

A minute takes 0.3 MB in half precision, so it can be stored with a character and finished anew
without the model.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import IdiolectError, read_failed
from core.files import atomic_path
from core.motion import FloatArray, MotionClip
from core.phones import BILABIALS, PHONE_INDEX, SILENCE

FORMAT = "idiolect-raw-1"

SPEECH_RATE_HZ = 50
"""As `core.model.speech.FEATURE_RATE_HZ`; finishing needs no PyTorch."""


_BLOCK_FRAMES = 10_000


@dataclass(frozen=True)
class Heard:
    """What was heard, as far as finishing asks: N speech frames at 50 Hz.

    Attributes:
        loudness: (N,) of `core.model.speech.prosody`: units of 20 dB, 0 = active speech.
        silence: (N,) probability of silence, or (0,) where the backbone knows no phones.
        closure: (N,) probability of p, b or m, or (0,).
    """

    loudness: FloatArray
    silence: FloatArray
    closure: FloatArray

    @classmethod
    def of(cls, posteriors: np.ndarray, loudness: np.ndarray) -> Heard:
        """From phone probabilities (N, 40), or (N, 0), and loudness (N,)."""
        loud = np.asarray(loudness, np.float32)
        if not posteriors.shape[1]:
            return cls(loud, np.zeros(0, np.float32), np.zeros(0, np.float32))
        silence = posteriors[:, PHONE_INDEX[SILENCE]].astype(np.float32)
        closure = posteriors[:, [PHONE_INDEX[phone] for phone in BILABIALS]].astype(np.float32)
        return cls(loud, silence, closure.sum(1))

    @classmethod
    def joined(cls, parts: list[Heard]) -> Heard:
        """Stretches in a row."""
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("loudness", "silence", "closure")
            )
        )

    @property
    def knows_phones(self) -> bool:
        """Whether silence and closures are known."""
        return len(self.silence) > 0


@dataclass(frozen=True)
class RawMotion:
    """Raw motion of the model.

    Attributes:
        clip: At the model's own frame rate.
        heard: What was heard meanwhile.
        duration_s: Length of the speech.
    """

    clip: MotionClip
    heard: Heard
    duration_s: float

    def rounded(self) -> RawMotion:
        """As it will be read from a file: in half precision. The clip itself is rounded, since an
        hour of motion should not be there twice.
        """
        weights = self.clip.weights
        for first in range(0, len(weights), _BLOCK_FRAMES):
            block = weights[first : first + _BLOCK_FRAMES]
            block[:] = _half(block)
        heard = Heard(*(_half(track).astype(np.float32) for track in vars(self.heard).values()))
        return RawMotion(self.clip, heard, self.duration_s)


def save_raw(raw: RawMotion, path: Path) -> None:
    """Write raw motion: arrays weights, channels, fps, space, loudness, silence, closure,
    duration_s; the first and the three tracks in half precision.

    Raises:
        IdiolectError: code "unwritable_file".
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            format=np.array(FORMAT),
            weights=_half(raw.clip.weights),
            channels=np.array(raw.clip.channels),
            fps=np.array(raw.clip.fps),
            space=np.array(raw.clip.space),
            duration_s=np.array(raw.duration_s),
            loudness=_half(raw.heard.loudness),
            silence=_half(raw.heard.silence),
            closure=_half(raw.heard.closure),
        )


def load_raw(path: Path) -> RawMotion:
    """Read what `save_raw` wrote.

    Raises:
        IdiolectError: "missing_file", "unreadable_file", or "bad_raw" for another kind of file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if "format" not in file.files or str(file["format"]) != FORMAT:
                raise ValueError("it is of another kind")
            clip = MotionClip(
                file["weights"].astype(np.float32),
                tuple(str(name) for name in file["channels"]),
                float(file["fps"]),
                str(file["space"]),
            )
            heard = Heard(
                *(file[name].astype(np.float32) for name in ("loudness", "silence", "closure"))
            )
            return RawMotion(clip, heard, float(file["duration_s"]))
    except OSError as error:
        raise read_failed(path, error, setting="raw") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, IdiolectError) as error:
        raise IdiolectError(
            f"The raw motion {path} cannot be read: {error}.",
            hint="Press Animate again: it is made anew.",
            code="bad_raw",
            setting="raw",
        ) from error


def _half(values: np.ndarray) -> np.ndarray:
    out = np.empty(values.shape, np.float16)
    for first in range(0, len(values), _BLOCK_FRAMES):
        out[first : first + _BLOCK_FRAMES] = values[first : first + _BLOCK_FRAMES].clip(-6e4, 6e4)
    return out
