"""What the speech backbone hears in a file, window by window; short files are remembered.

A bounded backbone gives the same features in windows as on the whole file: each window is given as
much sound on both sides as the backbone's features depend on. A file is read twice: once for its
level, once to be heard.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.audio import SAMPLE_RATE_HZ, LevelMeter, stream_speech
from core.engine import Engine
from core.errors import Cancelled, IdiolectError, read_failed
from core.model.speech import (
    PROSODY_CONTEXT_FRAMES,
    SAMPLES_PER_FRAME,
    prosody,
)

_WINDOW_FRAMES = 750
_SMALLEST_WINDOW_FRAMES = 50
_UNBOUNDED_CONTEXT_FRAMES = 100
_BLOCK_S = 10.0
_REMEMBERED_S = 600.0
"""Seconds of speech whose features are kept, 2 MB a minute; longer speech is heard again."""

Report = Callable[[str, int, int], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class HeardSpeech:
    """Speech tracks of a file, or of a stretch of one: N frames at 50 Hz.

    Attributes:
        hidden: (N, D) float16.
        posteriors: (N, 40) float16, or (N, 0) where the backbone knows no phones.
        prosody: (N, 4) float32.
        samples: Length of the speech, at 16 kHz.
    """

    hidden: np.ndarray
    posteriors: np.ndarray
    prosody: np.ndarray
    samples: int

    @property
    def duration_s(self) -> float:
        """Length of the speech in seconds."""
        return self.samples / SAMPLE_RATE_HZ

    @classmethod
    def joined(cls, parts: list[HeardSpeech]) -> HeardSpeech:
        """Stretches in a row."""
        hidden, posteriors, voice = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("hidden", "posteriors", "prosody")
        )
        return cls(hidden, posteriors, voice, sum(part.samples for part in parts))


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
    """A speech backbone with a memory of what it has heard lately."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._memory: OrderedDict[str, HeardSpeech] = OrderedDict()

    def listen(
        self, source: SpeechSource, report: Report, stop: Stop
    ) -> tuple[float, Iterator[HeardSpeech]]:
        """Hear a source, or remember it.

        Args:
            source: The speech.
            report: Called with ("Listening", seconds done, seconds in all).
            stop: Polled between windows.

        Returns:
            The length of the speech in seconds, and what was heard in it, stretch by stretch. Long
            speech is heard while the stretches are asked for, and is not remembered.

        Raises:
            IdiolectError: The source cannot be read, or is too short.
            Cancelled: `stop` said so.
        """
        key = source.fingerprint()
        if key in self._memory:
            self._memory.move_to_end(key)
            return self._memory[key].duration_s, iter([self._memory[key]])
        report("Listening", 0, 1)  # how much there is, the first pass tells
        gain, count = measure(source, stop)
        seconds = count / SAMPLE_RATE_HZ
        stretches = self._stretches(source, gain, stop)
        if seconds > _REMEMBERED_S:
            return seconds, stretches
        parts: list[HeardSpeech] = []
        done = 0.0
        for part in stretches:
            parts.append(part)
            done += part.duration_s
            report("Listening", round(done), round(seconds))
        self._remember(key, HeardSpeech.joined(parts))
        return seconds, iter([self._memory[key]])

    def forget(self) -> None:
        """Forget what was heard."""
        self._memory.clear()

    def _remember(self, key: str, heard: HeardSpeech) -> None:
        self._memory[key] = heard
        while sum(one.duration_s for one in self._memory.values()) > _REMEMBERED_S:
            self._memory.popitem(last=False)

    def _stretches(self, source: SpeechSource, gain: float, stop: Stop) -> Iterator[HeardSpeech]:
        blocks = (block * np.float32(gain) for block in source.blocks())
        for part in self.hear(blocks):
            if stop():
                raise Cancelled
            yield part

    def hear(self, blocks: Iterable[np.ndarray], window: int = 0) -> Iterator[HeardSpeech]:
        """Hear a stream of samples.

        Args:
            blocks: Samples (S,) at the level that the backbone knows.
            window: Frames to hear at a time; by default many.

        Yields:
            Stretches without gaps; their lengths sum up to the stream's.
        """
        tape = _Tape(iter(blocks))
        first, size = 0, window or _WINDOW_FRAMES
        while True:
            tape.keep((first + size + self.context) * SAMPLES_PER_FRAME)
            whole = tape.length // SAMPLES_PER_FRAME if tape.ended else None
            last = first + size if whole is None else min(first + size, whole)
            ending = whole is not None and last == whole
            if last <= first:
                return
            yield from self._window(tape, first, last, ending)
            if ending:
                return
            first = last

    def _window(self, tape: _Tape, first: int, last: int, ending: bool) -> Iterator[HeardSpeech]:
        """What is heard in the frames [first, last), in pieces if memory is short."""
        start = max(0, first - self.context)
        samples = tape.read(start * SAMPLES_PER_FRAME, (last + self.context) * SAMPLES_PER_FRAME)
        length = (tape.length if ending else last * SAMPLES_PER_FRAME) - first * SAMPLES_PER_FRAME

        def whole() -> list[HeardSpeech]:
            part = self._features(samples, first - start, last - start)
            return [HeardSpeech(*part, length)]

        def halves() -> list[HeardSpeech]:
            middle = (first + last) // 2
            return [
                *self._window(tape, first, middle, False),
                *self._window(tape, middle, last, ending),
            ]

        can_halve = last - first >= 2 * _SMALLEST_WINDOW_FRAMES
        yield from self._engine.attempt(whole, halves if can_halve else None)

    def _features(
        self, samples: np.ndarray, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of the frames [first, last) of a window of samples."""
        window = torch.from_numpy(samples)[None].to(self._engine.device)
        heard = self._engine.backbone(window)
        hidden = heard.hidden[0, first:last].half().cpu().numpy()
        posteriors = heard.posteriors[0, first:last].half().cpu().numpy()
        return hidden, posteriors, prosody(window)[0, first:last].float().cpu().numpy()

    @property
    def context(self) -> int:
        """Frames on each side that a window is given beside those it is for."""
        bounded = self._engine.backbone.context_frames
        context = _UNBOUNDED_CONTEXT_FRAMES if bounded is None else bounded
        return max(context, PROSODY_CONTEXT_FRAMES)


def measure(source: SpeechSource, stop: Stop) -> tuple[float, int]:
    """The gain that brings the speech to the level the backbone knows, and its samples.

    Raises:
        IdiolectError: The source cannot be read, or is too short.
        Cancelled: `stop` said so.
    """
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
    return meter.gain, count


class _Tape:
    """The stretch of a stream of samples that is still needed."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held = np.zeros(0, np.float32)
        self._from = 0
        self.ended = False

    @property
    def length(self) -> int:
        """Samples that have come so far."""
        return self._from + len(self._held)

    def keep(self, until: int) -> None:
        """Let so many samples come, or all there are."""
        while not self.ended and self.length <= until:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
            else:
                self._held = np.concatenate([self._held, block.astype(np.float32)])

    def read(self, start: int, stop: int) -> np.ndarray:
        """The samples [start, stop), or what there is of them; those before are forgotten."""
        if start > self._from:
            self._held, self._from = self._held[start - self._from :], start
        return self._held[start - self._from : stop - self._from].copy()
