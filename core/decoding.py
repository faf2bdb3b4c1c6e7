"""From what was heard to motion, window by window, while it is heard.

A model that sees a bounded time gives in windows exactly what it would give for the whole speech,
since each is given as much on both sides as it can see. Windows of other models overlap, and fade
into each other. A model that decodes each frame from those before it goes on from the last frame of
the window before.

Shapes: N speech frames (50 Hz), T motion frames, C motion channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from core.audio import SAMPLE_RATE_HZ
from core.conditioning import EmotionTrack, Styles
from core.engine import Engine
from core.errors import Cancelled
from core.listening import HeardSpeech
from core.model.decoder import Past
from core.model.speech_encoder import SpeechTracks
from core.motion import frame_count

_WINDOW_S = 10.0
_SMALLEST_WINDOW_S = 0.5
_FADE_FRAMES = 24
_UNBOUNDED_MARGIN_S = 2.0
"""Context given to models whose attention has no limit; bounded ones get exactly what they use."""


@dataclass(frozen=True)
class Conditions:
    """In which manner to speak, and in which emotion; None for none in particular."""

    style: Styles
    emotion: EmotionTrack | None = None

    def tensors(
        self, times_s: np.ndarray, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Style codes (1, T or 1, d_s) and emotions (1, T or 1, 8) at these times."""
        style = torch.from_numpy(self.style.at(times_s))[None].to(device)
        if self.emotion is None:
            return style, None
        return style, torch.from_numpy(self.emotion.at(times_s))[None].to(device)


class Decoder:
    """Decodes a stream of what was heard; one object for each stream."""

    def __init__(
        self,
        engine: Engine,
        heard: Iterator[HeardSpeech],
        conditions: Conditions,
        *,
        window_s: float = 0.0,
    ) -> None:
        """Prepare to decode.

        Args:
            engine: The model.
            heard: Stretches without gaps, as `core.listening.Listener.hear` gives them.
            conditions: Manner and emotion.
            window_s: Seconds to decode at a time; by default ten.
        """
        self._engine = engine
        self._shelf = _Shelf(heard)
        self._conditions = conditions
        self._fps = engine.model.config.motion.fps
        self._before: np.ndarray | None = None
        self._step = max(1, round((window_s or _WINDOW_S) * self._fps))
        align = engine.model.speech_encoder.align
        self._repeat, self._stride, self._align_reach = align.repeat, align.stride, align.reach
        self._margin = round(self.margin_s(engine) * self._fps)
        self._fade = 0 if engine.model.reach is not None else _FADE_FRAMES
        self._looks_back = engine.model.decoder.looks_back
        if self._looks_back:  # windows as long as those it learnt from (Mimic)
            settings = engine.model.config.autoregressive
            self._step, self._fade = settings.window - settings.overlap, settings.overlap

    @staticmethod
    def margin_s(engine: Engine) -> float:
        """Seconds on each side that a window is given beside those it is for."""
        context = engine.model.context
        fps = engine.model.config.motion.fps
        return _UNBOUNDED_MARGIN_S if context is None else context / fps

    def frames(self, stop: Callable[[], bool]) -> Iterator[np.ndarray]:
        """Decode.

        Args:
            stop: Polled before each window.

        Yields:
            Motion (n, C) float32, stretches in a row: in all round(duration · fps) + 1 frames.

        Raises:
            Cancelled: `stop` said so.
        """
        first, fading = 0, None
        self._before = None
        while True:
            if stop():
                raise Cancelled
            wanted = first + self._step + self._fade + self._margin
            self._shelf.keep(self._speech_end(wanted))
            total = frame_count(self._shelf.duration_s, self._fps) if self._shelf.ended else None
            # The last window takes what would be too little for one of its own.
            ending = total is not None and total <= first + self._step + self._fade
            last = total if ending and total is not None else first + self._step
            end = last if ending else last + self._fade
            ready = self._window(first, end, total)
            if fading is not None:
                ready[: len(fading)] = _cross_fade(fading, ready[: len(fading)])
            whole = len(ready) - (0 if ending else self._fade)
            yield ready[:whole]
            if ending:
                return
            fading = ready[whole:].copy()
            self._before = ready[whole - 1].copy()
            first = last

    def _window(self, first: int, last: int, total: int | None) -> np.ndarray:
        """Motion of the frames [first, last), in pieces if memory is short."""

        def whole() -> np.ndarray:
            # Windows begin where speech and motion frames fall on the same time.
            start = max(0, first - self._margin) // self._repeat * self._repeat
            end = last + self._margin if total is None else min(total, last + self._margin)
            return self._infer(start, end, slice(first - start, last - start))

        def halves() -> np.ndarray:
            self._step = max(self._step // 2, 1)
            middle = (first + last) // 2
            early = self._window(first, middle, total)
            self._before = early[-1].copy()
            return np.concatenate([early, self._window(middle, last, total)])

        can_halve = last - first >= 2 * round(_SMALLEST_WINDOW_S * self._fps)
        return self._engine.attempt(whole, halves if can_halve else None)

    def _infer(self, start: int, end: int, span: slice) -> np.ndarray:
        """Motion of the frames `span` of [start, end)."""
        device = self._engine.device
        heard = self._shelf.read(start // self._repeat * self._stride, self._speech_end(end))
        tracks = SpeechTracks(
            *(
                torch.from_numpy(part.astype(np.float32))[None].to(device)
                for part in (heard.hidden, heard.posteriors, heard.prosody)
            )
        )
        style, emotion = self._conditions.tensors(np.arange(start, end) / self._fps, device)
        lengths = torch.tensor([tracks.prosody.shape[1]], device=device)
        if not self._looks_back:  # its decoder reads the context as well
            whole = self._engine.model(tracks, lengths, end - start, style=style, emotion=emotion)
            return whole[0, span].float().cpu().numpy()
        past = (
            None if self._before is None else Past(torch.from_numpy(self._before)[None].to(device))
        )
        motion = self._engine.model(
            tracks, lengths, end - start, style=style, emotion=emotion, past=past, span=span
        )
        return motion[0].float().cpu().numpy()

    def _speech_end(self, frame: int) -> int:
        """The speech frame after the last that motion before `frame` depends on."""
        return -(-frame * self._stride // self._repeat) + self._align_reach


class _Shelf:
    """The stretch of what was heard that is still needed."""

    def __init__(self, heard: Iterator[HeardSpeech]) -> None:
        self._coming = heard
        self._held: list[HeardSpeech] = []
        self._from = 0
        self._samples = 0
        self.ended = False

    @property
    def duration_s(self) -> float:
        """Length of what has come so far, in seconds."""
        return self._samples / SAMPLE_RATE_HZ

    def keep(self, until: int) -> None:
        """Let so many speech frames come, or all there are."""
        while not self.ended and self._from + sum(len(p.prosody) for p in self._held) <= until:
            part = next(self._coming, None)
            if part is None:
                self.ended = True
            else:
                self._held.append(part)
                self._samples += part.samples

    def read(self, start: int, stop: int) -> HeardSpeech:
        """The frames [start, stop), or what there is of them; parts before are forgotten."""
        while len(self._held) > 1 and self._from + len(self._held[0].prosody) <= start:
            self._from += len(self._held.pop(0).prosody)
        parts: list[HeardSpeech] = []
        at = self._from
        for part in self._held:
            a, b = max(start - at, 0), min(stop - at, len(part.prosody))
            if a < b or not parts:
                parts.append(
                    HeardSpeech(part.hidden[a:b], part.posteriors[a:b], part.prosody[a:b], 0)
                )
            at += len(part.prosody)
        return parts[0] if len(parts) == 1 else HeardSpeech.joined(parts)


def _cross_fade(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """From one stretch (F, C) to another of the same frames."""
    share = (np.arange(len(before), dtype=np.float32) + 1)[:, None] / (len(before) + 1)
    return before * (1.0 - share) + after * share
