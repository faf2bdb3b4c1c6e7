"""Speech files in: any format to mono float32 at 16 kHz, streamed, and its level.

Whole files and streams give the same samples: resampling works block by block with enough overlap
that no seam can be found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from core.audio_files import open_sound
from core.errors import IdiolectError

SAMPLE_RATE_HZ = 16000

ACTIVE_RMS = 0.1
"""Active speech is scaled to this root mean square (-20 dB of full scale) before the model hears
it."""

SILENT_BELOW_DB = -65.0
"""A file whose loudest 20 ms stay below this, in dB of full scale, holds no speech."""


class LevelMeter:
    """How loud the speech in a file is, from one pass over its blocks, in constant memory.

    Counts 20 ms frames by their level in half-decibel steps. Active speech is what lies within 20
    dB of the mean power of all frames above -65 dB: pauses do not make a speaker quieter (compare
    the gating of ITU-R BS.1770-4).
    """

    FRAME = SAMPLE_RATE_HZ // 50
    LOWEST_DB = -100.0
    STEPS_PER_DB = 2
    GATE_DB = 20.0
    LARGEST_GAIN = 10 ** (40 / 20)

    def __init__(self) -> None:
        self._counts = np.zeros(130 * self.STEPS_PER_DB, dtype=np.int64)
        self._rest = np.zeros(0, dtype=np.float32)

    def add(self, block: np.ndarray) -> None:
        """Counts one block (S,) of samples at 16 kHz; blocks may have any length."""
        samples = np.concatenate((self._rest, block))
        whole = len(samples) // self.FRAME * self.FRAME
        self._rest = samples[whole:].copy()
        frames = samples[:whole].reshape(-1, self.FRAME)
        # The variance, so that a constant offset of the recording is not taken for sound.
        level_db = 10 * np.log10(frames.var(axis=1, dtype=np.float64) + 1e-12)
        step = np.floor((level_db - self.LOWEST_DB) * self.STEPS_PER_DB).astype(np.int64)
        np.add.at(self._counts, step.clip(0, len(self._counts) - 1), 1)

    @property
    def peak_db(self) -> float:
        """Level of the loudest 20 ms so far, dB of full scale; -inf before the first frame."""
        filled = np.flatnonzero(self._counts)
        return float(self._levels_db()[filled[-1]]) if len(filled) else -math.inf

    @property
    def gain(self) -> float:
        """Factor that brings the active speech to ACTIVE_RMS; 1 where nothing was heard."""
        levels_db = self._levels_db()
        power = 10 ** (levels_db / 10)
        counts = np.where(levels_db > SILENT_BELOW_DB, self._counts, 0)
        if counts.sum() == 0:
            return 1.0
        mean_power = float((counts * power).sum() / counts.sum())
        counts = np.where(power > mean_power * 10 ** (-self.GATE_DB / 10), counts, 0)
        active_power = float((counts * power).sum() / counts.sum())
        return min(ACTIVE_RMS / math.sqrt(active_power), self.LARGEST_GAIN)

    def _levels_db(self) -> np.ndarray:
        return self.LOWEST_DB + (np.arange(len(self._counts)) + 0.5) / self.STEPS_PER_DB


def speech_gain(samples: np.ndarray) -> float:
    """Factor that brings the active speech in samples (S,) at 16 kHz to ACTIVE_RMS."""
    meter = LevelMeter()
    meter.add(np.asarray(samples, dtype=np.float32))
    return meter.gain


def load_speech(
    path: str | Path, start_s: float = 0.0, duration_s: float | None = None
) -> np.ndarray:
    """Reads a speech file as a whole.

    Args:
        path: file of any format that `core.audio_files` opens.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most, in seconds; None reads to the end.

    Returns:
        (S,) float32, mono, 16 kHz, at the file's own level.

    Raises:
        IdiolectError: see `stream_speech`.
    """
    return np.concatenate(list(stream_speech(path, start_s=start_s, duration_s=duration_s)))


def stream_speech(
    path: str | Path,
    block_s: float = 10.0,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Iterator[np.ndarray]:
    """Reads a speech file in blocks, so that memory does not grow with its length.

    Args:
        path: file of any format that `core.audio_files` opens.
        block_s: about how long the blocks are, in seconds.
        start_s: where to begin, in seconds.
        duration_s: how much to read at most, in seconds; None reads to the end.

    Yields:
        (S,) float32, mono (the mean of the channels), 16 kHz, at the file's own level.

    Raises:
        IdiolectError: codes "missing_file", "unreadable_file", "empty_speech", "not_audio",
            "needs_ffmpeg", "bad_range" at once; "truncated_speech" and "bad_samples" where it is
            met; "silent_speech" at the end when nothing was louder than SILENT_BELOW_DB.
    """
    path = Path(path)
    if start_s < 0 or (duration_s is not None and duration_s <= 0) or block_s <= 0:
        raise IdiolectError(
            f"Cannot read {duration_s} s of {path} from {start_s} s on.",
            hint="The start must not be negative and the length must be above zero.",
            code="bad_range",
            setting="start_s",
        )
    wanted = math.inf if duration_s is None else round(duration_s * SAMPLE_RATE_HZ)
    meter = LevelMeter()
    given = 0
    with open_sound(path, start_s, block_s) as sound:
        mono = (_checked(block, path).mean(axis=1, dtype=np.float32) for block in sound.blocks)
        for resampled in _resampled(mono, sound.rate_hz):
            block = resampled[: int(min(len(resampled), wanted - given))]
            given += len(block)
            meter.add(block)
            yield block
            if given >= wanted:
                break
    if given == 0:
        raise IdiolectError(
            f"{path} ends before {start_s:g} s.",
            hint="Choose an earlier start.",
            code="bad_range",
            setting="start_s",
        )
    if given >= LevelMeter.FRAME and meter.peak_db < SILENT_BELOW_DB:
        raise IdiolectError(
            f"{path} is silent: nothing in it is louder than {SILENT_BELOW_DB:g} dB.",
            hint="Check that the right file and the right part of it were chosen.",
            code="silent_speech",
            setting="speech",
        )


def _checked(block: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(block).all():
        raise IdiolectError(
            f"{path} holds samples that are not numbers.",
            hint="Export the speech again, as 16-bit or 24-bit WAV.",
            code="bad_samples",
            setting="speech",
        )
    return block


def _resampled(blocks: Iterator[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    """Brings blocks (S,) at `rate_hz` to 16 kHz, exactly as if they were one.

    Blocks are cut where input and output samples fall on the same time, every `down` samples, and
    are filtered with as much of their neighbours as scipy's polyphase filter reaches.
    """
    if rate_hz == SAMPLE_RATE_HZ:
        yield from (block for block in blocks if len(block))
        return
    divisor = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    up, down = SAMPLE_RATE_HZ // divisor, rate_hz // divisor
    # resample_poly's filter reaches 10 max(up, down) steps of the upsampled signal; in whole
    # `down`s.
    reach = down * math.ceil((10 * max(up, down) / up + 1) / down)
    # Held: the reach before the next output sample, then what is not yet used.
    held, before = np.zeros(0, dtype=np.float32), 0
    for block in blocks:
        held = np.concatenate((held, block))
        ready = (len(held) - before - reach) // down * down
        if ready > 0:
            yield _filtered(held[: before + ready + reach], up, down, before, ready)
            keep = max(0, before + ready - reach)
            held, before = held[keep:], before + ready - keep
    if len(held) > before:
        yield _filtered(held, up, down, before, len(held) - before)


def _filtered(held: np.ndarray, up: int, down: int, before: int, count: int) -> np.ndarray:
    """Resamples `held` and gives what belongs to the `count` samples after the first `before`."""
    first = before * up // down
    last = first + math.ceil(count * up / down)
    return resample_poly(held, up, down)[first:last].astype(np.float32, copy=False)
