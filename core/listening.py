"""What the speech backbone hears in a file, window by window, remembered by content.

A bounded backbone gives the same features in windows as on the whole file: each window is given as
much sound on both sides as the backbone's features depend on.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.audio import SAMPLE_RATE_HZ, LevelMeter, stream_speech
from core.errors import Cancelled, IdiolectError, read_failed
from core.model.speech import (
    PROSODY_CONTEXT_FRAMES,
    SAMPLES_PER_FRAME,
    SpeechBackbone,
    prosody,
)

_WINDOW_FRAMES = 750
_UNBOUNDED_CONTEXT_FRAMES = 100
_REMEMBERED = 4
_BLOCK_S = 10.0


@dataclass(frozen=True)
class HeardSpeech:
    """Speech tracks of a whole file, N frames at 50 Hz.

    Attributes:
        hidden: (N, D) float16.
        posteriors: (N, 40) float16, or (N, 0) where the backbone knows no phones.
        prosody: (N, 4) float32.
        duration_s: Length of the speech.
    """

    hidden: np.ndarray
    posteriors: np.ndarray
    prosody: np.ndarray
    duration_s: float


@dataclass(frozen=True)
class SpeechSource:
    """Samples (S,) at 16 kHz, or a file and which part of it."""

    speech: np.ndarray | str | Path
    start_s: float = 0.0
    duration_s: float | None = None

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples, in blocks (S,) float32.

        Raises:
            IdiolectError: See `core.audio.stream_speech`.
        """
        if isinstance(self.speech, np.ndarray):
            if self.speech.ndim != 1 or not np.isfinite(self.speech).all():
                raise IdiolectError(
                    "speech samples must be one row of finite numbers at 16 kHz",
                    code="bad_speech",
                    setting="speech",
                )
            size = int(_BLOCK_S * SAMPLE_RATE_HZ)
            for first in range(0, len(self.speech), size):
                yield self.speech[first : first + size].astype(np.float32)
        else:
            yield from stream_speech(
                self.speech, _BLOCK_S, start_s=self.start_s, duration_s=self.duration_s
            )

    def fingerprint(self) -> str:
        """A name for the content: equal content has an equal one."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((self.start_s, self.duration_s)).encode())
        if isinstance(self.speech, np.ndarray):
            digest.update(np.ascontiguousarray(self.speech, np.float32).tobytes())
            return digest.hexdigest()
        try:
            with open(self.speech, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise read_failed(self.speech, error, setting="speech") from error
        return digest.hexdigest()


class Listener:
    """A speech backbone with a small memory of what it has heard."""

    def __init__(self, backbone: SpeechBackbone, device: torch.device) -> None:
        self.backbone = backbone.to(device)
        self.device = device
        self._memory: OrderedDict[str, HeardSpeech] = OrderedDict()

    def move_to(self, device: torch.device) -> None:
        """Compute on another device from now on."""
        self.backbone.to(device)
        self.device = device

    def listen(
        self,
        source: SpeechSource,
        report: Callable[[str, int, int], None],
        stop: Callable[[], bool],
    ) -> HeardSpeech:
        """Hear a source, or remember it.

        Args:
            source: The speech.
            report: Called with ("Listening", seconds done, seconds in all).
            stop: Polled between windows.

        Raises:
            IdiolectError: The source cannot be read, or is too short.
            Cancelled: `stop` said so.
        """
        key = source.fingerprint()
        if key not in self._memory:
            self._memory[key] = self._hear(source, report, stop)
        self._memory.move_to_end(key)
        while len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)
        return self._memory[key]

    @torch.inference_mode()
    def _hear(
        self,
        source: SpeechSource,
        report: Callable[[str, int, int], None],
        stop: Callable[[], bool],
    ) -> HeardSpeech:
        gain, count = self._level(source, stop)
        seconds = count / SAMPLE_RATE_HZ
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        done = 0
        for window, first, last in _windows(source.blocks(), count, self._context()):
            if stop():
                raise Cancelled
            report("Listening", round(done / 50), round(seconds))
            parts.append(self._features(window * gain, first, last))
            done += last - first
        report("Listening", round(seconds), round(seconds))
        hidden, posteriors, voice = (np.concatenate(column) for column in zip(*parts, strict=True))
        return HeardSpeech(hidden, posteriors, voice, seconds)

    def _features(
        self, samples: np.ndarray, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of the frames [first, last) of a window of samples."""
        window = torch.from_numpy(samples)[None].to(self.device)
        heard = self.backbone(window)
        hidden = heard.hidden[0, first:last].half().cpu().numpy()
        if heard.phone_logits is None:
            posteriors = np.zeros((last - first, 0), np.float16)
        else:
            posteriors = heard.phone_logits[0, first:last].softmax(-1).half().cpu().numpy()
        return hidden, posteriors, prosody(window)[0, first:last].float().cpu().numpy()

    def _context(self) -> int:
        bounded = self.backbone.context_frames
        context = _UNBOUNDED_CONTEXT_FRAMES if bounded is None else bounded
        return max(context, PROSODY_CONTEXT_FRAMES)

    @staticmethod
    def _level(source: SpeechSource, stop: Callable[[], bool]) -> tuple[np.float32, int]:
        """The gain that brings the speech to the level the backbone knows, and its samples."""
        meter, count = LevelMeter(), 0
        for block in source.blocks():
            if stop():
                raise Cancelled
            meter.add(block)
            count += len(block)
        if count < SAMPLES_PER_FRAME:
            raise IdiolectError(
                f"the speech is too short: {count / SAMPLE_RATE_HZ:.3f} s",
                hint="Choose a longer file or part.",
                code="short_speech",
                setting="speech",
            )
        return np.float32(meter.gain), count


def _windows(
    blocks: Iterator[np.ndarray], count: int, context: int
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Cut a stream into overlapping windows.

    Args:
        blocks: The stream.
        count: Its length in samples.
        context: Frames wanted on both sides of what a window is for.

    Yields:
        Samples of a window, and which of its frames it is for: [first, last).
    """
    frames = count // SAMPLES_PER_FRAME
    held, held_from = np.zeros(0, np.float32), 0
    for begin in range(0, frames, _WINDOW_FRAMES):
        end = min(begin + _WINDOW_FRAMES, frames)
        start = max(0, begin - context) * SAMPLES_PER_FRAME
        stop = min((end + context) * SAMPLES_PER_FRAME, count)
        while held_from + len(held) < stop:
            held = np.concatenate([held, next(blocks)])
        held, held_from = held[start - held_from :], start
        offset = start // SAMPLES_PER_FRAME
        yield held[: stop - start].copy(), begin - offset, end - offset
