"""Many lines at once: sound is read ahead by a thread, and lines of like length go together.

A line of a batch comes out as it would alone (within 1e-4): what pads it to the longest one's
length is kept from it everywhere. Long lines, and those of a backbone that cannot hear batches, go
alone, window by window.

Shapes: B lines, S samples, N speech frames (50 Hz), T motion frames, C channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from core.animator import Animator, Style, Warn, never, nobody
from core.audio import SAMPLE_RATE_HZ, LevelMeter
from core.conditioning import EmotionTrack
from core.decoding import Conditions
from core.errors import Cancelled, IdiolectError
from core.finishing.raw_motion import Heard, RawMotion
from core.listening import SpeechSource
from core.model.speech import SAMPLES_PER_FRAME, prosody
from core.model.speech_encoder import SpeechTracks
from core.motion import MotionClip, frame_count

_LONGEST_S = 10.0
"""Longer lines go alone: they fill a window as it is."""
_BATCH_S = {"cpu": 20.0}
_BATCH_ACCELERATED_S = 320.0
"""Seconds of sound in a batch, padding included."""
_READ_AHEAD = 64
"""Lines whose sound is held while they wait for others of like length."""


@dataclass(frozen=True)
class Line:
    """One speech to be animated.

    Attributes:
        source: The speech.
        style: As in `Animator.animate`.
        emotion: As there.
        warn: Told what might not be as wished.
    """

    source: SpeechSource
    style: Style = None
    emotion: EmotionTrack | None = None
    warn: Warn = nobody


@dataclass(frozen=True)
class _Ready:
    """A line with its sound, level-normalised; None where it is too long to be held."""

    index: int
    line: Line
    samples: np.ndarray | None

    @property
    def seconds(self) -> float:
        return 0.0 if self.samples is None else len(self.samples) / SAMPLE_RATE_HZ


Outcome = RawMotion | Exception


def perform_many(
    animator: Animator, lines: Sequence[Line], stop: Callable[[], bool] = never
) -> Iterator[tuple[int, Outcome]]:
    """Raw motion of many lines.

    Args:
        animator: The model.
        lines: What to speak; none is refused before its turn.
        stop: Polled between batches.

    Yields:
        Place of a line in `lines`, and its motion or the exception that it ended with; in no
        particular order.

    Raises:
        Cancelled: `stop` said so.
    """
    waiting: list[_Ready] = []
    for index, future in _ahead(_read, list(enumerate(lines)), _READ_AHEAD):
        if stop():
            raise Cancelled
        try:
            ready = future.result()
        except Exception as error:  # one line of many: the others go on
            yield index, error
            continue
        if ready.samples is None or not _can_join(animator):
            yield index, _alone(animator, ready.line, stop)
        else:
            waiting.append(ready)
        if len(waiting) >= _READ_AHEAD:
            yield from _together(animator, waiting, stop)
            waiting = []
    yield from _together(animator, waiting, stop)


def _ahead(
    work: Callable[[tuple[int, Line]], _Ready], items: list[tuple[int, Line]], most: int
) -> Iterator[tuple[int, Future[_Ready]]]:
    """Work done by a thread, at most so many items ahead of who asks for it."""
    coming: deque[tuple[int, Future[_Ready]]] = deque()
    with ThreadPoolExecutor(1, "idiolect-read") as pool:
        try:
            for item in items:
                coming.append((item[0], pool.submit(work, item)))
                if len(coming) > most:
                    yield coming.popleft()
            while coming:
                yield coming.popleft()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _can_join(animator: Animator) -> bool:
    """Whether lines of different lengths can go through this model together."""
    engine = animator.engine
    return engine.backbone.hears_batches and not engine.model.decoder.looks_back


def _read(item: tuple[int, Line]) -> _Ready:
    """The sound of a line at the level that the backbone knows."""
    index, line = item
    meter, blocks, count = LevelMeter(), [], 0
    for block in line.source.blocks():
        meter.add(block)
        blocks.append(block)
        count += len(block)
        if count > _LONGEST_S * SAMPLE_RATE_HZ:
            return _Ready(index, line, None)
    if count < SAMPLES_PER_FRAME:
        raise IdiolectError(
            f"the speech is too short: {count / SAMPLE_RATE_HZ:.3f} s",
            hint="Choose a longer file or part.",
            code="short_speech",
            setting="speech",
        )
    return _Ready(index, line, np.concatenate(blocks) * np.float32(meter.gain))


def _alone(animator: Animator, line: Line, stop: Callable[[], bool]) -> Outcome:
    try:
        return animator.perform(
            line.source, style=line.style, emotion=line.emotion, cancelled=stop, warn=line.warn
        )
    except Cancelled:
        raise
    except Exception as error:  # one line of many: the others go on
        return error


def _together(
    animator: Animator, waiting: list[_Ready], stop: Callable[[], bool]
) -> Iterator[tuple[int, Outcome]]:
    """Lines in batches of like length."""
    conditions: dict[int, Conditions] = {}
    usable = []
    for ready in waiting:
        try:
            line = ready.line
            conditions[ready.index] = animator.conditions(line.style, line.emotion, line.warn)
            usable.append(ready)
        except Exception as error:  # one line of many: the others go on
            yield ready.index, error
    usable.sort(key=lambda ready: ready.seconds)
    while usable:
        if stop():
            raise Cancelled
        most = _BATCH_S.get(animator.device.type, _BATCH_ACCELERATED_S)
        # The longest first: if the device has too little memory, that is known at once.
        size = max(1, int(most / usable[-1].seconds))
        batch, usable = usable[-size:], usable[:-size]
        for ready, outcome in zip(batch, _batch(animator, batch, conditions, stop), strict=True):
            yield ready.index, outcome


def _batch(
    animator: Animator,
    batch: list[_Ready],
    conditions: dict[int, Conditions],
    stop: Callable[[], bool],
) -> list[Outcome]:
    """The motion of lines that go together, in smaller batches if memory is short."""

    def whole() -> list[Outcome]:
        return _infer(animator, batch, [conditions[ready.index] for ready in batch])

    def smaller() -> list[Outcome]:
        if len(batch) == 1:  # alone, in windows that can be made smaller still
            return [_alone(animator, batch[0].line, stop)]
        middle = len(batch) // 2
        halves = (batch[:middle], batch[middle:])
        return [one for half in halves for one in _batch(animator, half, conditions, stop)]

    try:
        return animator.engine.attempt(whole, smaller)
    except Cancelled:
        raise
    except Exception as error:  # these lines of many: the others go on
        return [error] * len(batch)


def _infer(animator: Animator, batch: list[_Ready], conditions: list[Conditions]) -> list[Outcome]:
    engine, fps = animator.engine, animator.fps
    device = engine.device
    counts = [0 if ready.samples is None else len(ready.samples) for ready in batch]
    lengths = torch.tensor([count // SAMPLES_PER_FRAME for count in counts], device=device)
    samples = np.zeros((len(batch), max(counts)), np.float32)
    for row, ready in zip(samples, batch, strict=True):
        if ready.samples is not None:
            row[: len(ready.samples)] = ready.samples
    window = torch.from_numpy(samples).to(device)
    heard = engine.backbone(window, lengths)
    posteriors = heard.posteriors
    # In half precision, as what is heard alone is kept.
    tracks = SpeechTracks(
        heard.hidden.half().float(), posteriors.half().float(), prosody(window, lengths)
    )
    seconds = [count / SAMPLE_RATE_HZ for count in counts]
    frames = [frame_count(length, fps) for length in seconds]
    style, emotion = _conditions(conditions, np.arange(max(frames)) / fps, device)
    motion = engine.model(
        tracks,
        lengths,
        max(frames),
        style=style,
        emotion=emotion,
        motion_lengths=torch.tensor(frames, device=device),
    )
    moved = motion.float().cpu().numpy()
    phones, loudness = posteriors.half().cpu().numpy(), tracks.prosody[..., 0].cpu().numpy()
    results: list[Outcome] = []
    for i, count in enumerate(counts):
        known = count // SAMPLES_PER_FRAME
        clip = MotionClip(moved[i, : frames[i]].copy(), animator.channels, fps, animator.space)
        results.append(
            RawMotion(clip, Heard.of(phones[i, :known], loudness[i, :known].copy()), seconds[i])
        )
    return results


def _conditions(
    conditions: list[Conditions], times_s: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Styles (B, T or 1, d_s) and emotions (B, T or 1, 8) of lines; NaN where there is none."""
    styles = _stacked([one.style.at(times_s) for one in conditions], len(times_s))
    if all(one.emotion is None for one in conditions):
        return torch.from_numpy(styles).to(device), None
    unknown = np.full((1, 8), np.nan, np.float32)
    emotions = _stacked(
        [unknown if one.emotion is None else one.emotion.at(times_s) for one in conditions],
        len(times_s),
    )
    return torch.from_numpy(styles).to(device), torch.from_numpy(emotions).to(device)


def _stacked(rows: list[np.ndarray], frames: int) -> np.ndarray:
    """(B, T, D), or (B, 1, D) where none changes over time."""
    count = max(len(row) for row in rows)
    if count > 1:
        rows = [np.broadcast_to(row, (frames, row.shape[1])) for row in rows]
    return np.stack(rows).astype(np.float32)
