"""What is done to motion after the model, without it: fast enough to follow a slider.

In this order: the mouth is calmed in pauses, jitter is removed, regions move more or less, closures
are sealed and other speech is parted, and the face lives a little; then time is shifted and brought
to the scene's frame rate. It never invents articulation: a closure is only completed where p, b or
m was heard, and the mouth is only calmed where nothing was said.

Shapes: T motion frames, N speech frames (50 Hz), C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.finishing import liveliness, mouth
from core.finishing.liveliness import HEAD_CHANNELS, Rhythm
from core.finishing.raw_motion import Heard, RawMotion
from core.finishing.regions import REGIONS, apply_gains
from core.motion import MotionClip, frame_count, resample

_BLOCK_FRAMES = 6000
"""Motion frames worked on at a time."""


@dataclass(frozen=True)
class FinishSettings:
    """What to do, and how much. Gains and strengths: 1 = as it is, 0 = not at all."""

    closure_guard: bool = True
    """Seal the lips wherever p, b or m was heard with confidence."""
    closure_confidence: float = 0.35
    """Probability of p, b or m above which they are sealed."""
    closure_ramp_s: float = 0.05
    """Time the lips take to meet and to part."""
    parting_guard: bool = True
    """Part the lips a little wherever there is speech in which no p, b or m was heard."""
    parting_confidence: float = 0.35
    """Probability of p, b or m below which they are parted."""
    silence_gate: bool = True
    """Close and calm the mouth where nothing is said."""
    silence_confidence: float = 0.6
    """Probability of silence above which a frame counts as silent."""
    silence_shortest_s: float = 0.4
    """Shorter pauses are left as they are."""
    silence_ramp_s: float = 0.1
    """Time the mouth takes to come to rest, and to leave it."""
    smoothing_s: float = 0.008
    """Standard deviation of the smoothing, in seconds; closures stay sharp. 0 = none."""
    gain_jaw: float = 1.0
    """How far the jaw moves; lips that are shut stay shut."""
    gain_lips: float = 1.0
    """How far lips and tongue move."""
    gain_cheeks: float = 1.0
    """How far cheeks and nose move."""
    gain_brows: float = 1.0
    """How far the brows move."""
    gain_lids: float = 1.0
    """How far the lids move by the model; blinks have a strength of their own."""
    blinks_per_minute: float = 14.0
    """Blinks put in where the motion has none of its own; 0 = none."""
    blink_strength: float = 1.0
    """How far they shut the eyes."""
    gaze_strength: float = 1.0
    """Glances, where the motion has none of its own."""
    head_strength: float = 0.0
    """Sway and nods of the head, in channels beside those of ARKit: see `HEAD_CHANNELS`."""
    brow_strength: float = 1.0
    """Raising of the brows on stressed syllables."""
    seed: int = 0
    """Another seed gives other blinks, glances and movements; the same one gives the same."""
    offset_s: float = 0.0
    """The motion comes so much later than the sound."""


def finish(clip: MotionClip, settings: FinishSettings, heard: Heard | None = None) -> MotionClip:
    """Finish ARKit motion at its own frame rate; see `finish_raw`.

    Args:
        clip: Raw motion of the model.
        settings: What to do.
        heard: What was heard. Without it nothing is guessed of closures, silence and life.
    """
    nothing = np.zeros(0, np.float32)
    known = heard or Heard(nothing, nothing, nothing)
    raw = RawMotion(clip, known, len(clip.weights) / clip.fps)
    return finish_raw(raw, settings, clip.fps, frames=len(clip.weights))


def finish_raw(
    raw: RawMotion,
    settings: FinishSettings | None,
    fps: float,
    *,
    frames: int | None = None,
) -> MotionClip:
    """Finish raw motion and bring it to a frame rate.

    Works block by block, so that an hour of motion is held once in and once out.

    Args:
        raw: Motion of the model and what was heard; motion in another space than "arkit" is only
            brought to the frame rate.
        settings: What to do; None for nothing.
        fps: Frames per second wanted.
        frames: How many; by default what covers the speech.

    Returns:
        Motion with round(duration · fps) + 1 frames; ARKit weights lie in 0..1. With
        `head_strength` above 0 it has the channels `HEAD_CHANNELS` as well.
    """
    count = frame_count(raw.duration_s, fps) if frames is None else frames
    if settings is None or raw.clip.space != "arkit":
        offset_s = settings.offset_s if settings else 0.0
        return _at_rate(raw.clip, raw.clip.channels, _cut(raw.clip), fps, count, offset_s)
    work = _Finish(raw, settings)
    return _at_rate(raw.clip, work.channels, work.block, fps, count, settings.offset_s)


class _Finish:
    """The finishing of one piece of motion: what is done is found once, and done block by block."""

    def __init__(self, raw: RawMotion, settings: FinishSettings) -> None:
        self._clip = raw.clip
        self._settings = settings
        self._columns = {name: i for i, name in enumerate(raw.clip.channels)}
        times = np.arange(len(raw.clip.weights)) / raw.clip.fps
        self._closure, self._parting, self._silence = _mouth_levels(raw.heard, times, settings)
        self._life: dict[str, np.ndarray] = {}
        if len(raw.heard.loudness):
            pulse = liveliness.rhythm(raw.heard, times)
            self._life = {**self._lids(pulse), **self._eyes(pulse), **self._brows(pulse)}
        self._head = np.zeros((0, len(HEAD_CHANNELS)), np.float32)
        if len(raw.heard.loudness) and settings.head_strength > 0.0:
            turns = liveliness.head(pulse, settings.seed)
            self._head = (settings.head_strength * turns).astype(np.float32)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the columns that `block` gives."""
        return (*self._clip.channels, *(HEAD_CHANNELS if len(self._head) else ()))

    def block(self, first: int, last: int) -> np.ndarray:
        """The finished frames [first, last)."""
        settings, columns = self._settings, self._columns
        sigma = settings.smoothing_s * self._clip.fps
        reach = int(np.ceil(3.0 * sigma))
        start, end = max(0, first - reach), min(len(self._clip.weights), last + reach)
        weights = self._clip.weights[start:end].clip(0.0, 1.0)
        closure = self._closure[start:end]
        mouth.calm(weights, columns, self._silence[start:end])
        if sigma > 0.0:
            smooth = _smooth(weights, sigma)
            # Where lips shut on their own account they must stay shut as well.
            sharp = np.maximum(closure, mouth.sealedness(weights, columns))[:, None]
            weights = weights * sharp + smooth * (1.0 - sharp)
        gains = {region: getattr(settings, f"gain_{region}") for region in REGIONS}
        apply_gains(weights, columns, gains)
        mouth.seal(weights, columns, closure)
        mouth.part(weights, columns, self._parting[start:end])
        for name, track in self._life.items():
            column = weights[:, columns[name]]
            if name.startswith("eyeBlink"):
                np.maximum(column, track[start:end], out=column)
            else:
                column += track[start:end]
        weights = weights[first - start : last - start].clip(0.0, 1.0)
        if len(self._head):
            weights = np.concatenate([weights, self._head[first:last]], axis=1)
        return weights

    def _lids(self, pulse: Rhythm) -> dict[str, np.ndarray]:
        lids = self._known("eyeBlinkLeft", "eyeBlinkRight")
        settings = self._settings
        if settings.blink_strength <= 0.0 or self._moves(lids, 0.6):
            return {}
        shut = liveliness.blinks(pulse, settings.blinks_per_minute, settings.seed)
        return dict.fromkeys(lids, min(settings.blink_strength, 1.0) * shut)

    def _eyes(self, pulse: Rhythm) -> dict[str, np.ndarray]:
        names = [name for name in self._columns if name.startswith("eyeLook")]
        if self._settings.gaze_strength <= 0.0 or self._moves(names, 0.15):
            return {}
        left, up = liveliness.gaze(pulse, self._settings.seed)
        scale = self._settings.gaze_strength / _FULL_LOOK_DEGREES
        tracks = {
            "eyeLookOutLeft": left, "eyeLookInLeft": -left,
            "eyeLookInRight": left, "eyeLookOutRight": -left,
            "eyeLookUpLeft": up, "eyeLookUpRight": up,
            "eyeLookDownLeft": -up, "eyeLookDownRight": -up,
        }  # fmt: skip
        known = self._known(*tracks)
        return {name: (scale * tracks[name]).clip(0.0).astype(np.float32) for name in known}

    def _brows(self, pulse: Rhythm) -> dict[str, np.ndarray]:
        strength = self._settings.brow_strength
        if strength <= 0.0:
            return {}
        raised = strength * liveliness.brows(pulse, self._settings.seed)
        most = {"browInnerUp": 0.35, "browOuterUpLeft": 0.25, "browOuterUpRight": 0.25}
        return {name: most[name] * raised for name in self._known(*most)}

    def _known(self, *names: str) -> list[str]:
        return [name for name in names if name in self._columns]

    def _moves(self, names: list[str], most: float) -> bool:
        """Whether these channels move by themselves by more than so much."""
        return any(float(np.ptp(self._clip.weights[:, self._columns[n]])) > most for n in names)


_FULL_LOOK_DEGREES = 35.0
"""How far an eye turns at the full weight of an eyeLook channel, about."""


def _mouth_levels(
    heard: Heard, times: np.ndarray, settings: FinishSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far the lips are to be shut and to be apart, and the mouth to be calm: (T,) each."""
    closure, parting, silence = (np.zeros(len(times), np.float32) for _ in range(3))
    if not heard.knows_phones:
        return closure, parting, silence
    if settings.closure_guard:
        closure = mouth.closure_level(
            heard.closure, times, settings.closure_confidence, settings.closure_ramp_s
        )
    if settings.parting_guard:
        parting = mouth.parting_level(
            heard.closure,
            heard.silence,
            times,
            settings.parting_confidence,
            settings.silence_shortest_s,
        )
        # A jaw that is told to move little must not be opened by the guard.
        parting *= (1.0 - closure) * min(1.0, settings.gain_jaw)
    if settings.silence_gate:
        silence = mouth.silence_level(
            heard.silence,
            times,
            settings.silence_confidence,
            settings.silence_shortest_s,
            settings.silence_ramp_s,
        )
        silence *= 1.0 - closure
    return closure, parting, silence


def _smooth(weights: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing over time with the ends held."""
    reach = max(1, int(np.ceil(3.0 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    padded = np.pad(weights, ((reach, reach), (0, 0)), mode="edge")
    out = np.zeros_like(weights)
    for shift, tap in enumerate(taps):
        out += tap * padded[shift : shift + len(weights)]
    return out


Block = Callable[[int, int], np.ndarray]


def _cut(clip: MotionClip) -> Block:
    if clip.space == "arkit":
        return lambda first, last: clip.weights[first:last].clip(0.0, 1.0)
    return lambda first, last: clip.weights[first:last]


def _at_rate(
    clip: MotionClip,
    channels: tuple[str, ...],
    block: Block,
    fps: float,
    frames: int,
    offset_s: float,
) -> MotionClip:
    """Motion that `block` gives at the rate of `clip`, at another rate and so much later."""
    out = np.empty((frames, len(channels)), np.float32)
    beside = 3 + int(np.ceil(clip.fps / fps))  # what a closure between two frames is found by
    same = fps == clip.fps and offset_s == 0.0 and frames <= len(clip.weights)
    step = max(1, int(_BLOCK_FRAMES * fps / clip.fps))
    for first in range(0, frames, step):
        last = min(first + step, frames)
        if same:
            out[first:last] = block(first, last)
            continue
        begin, end = ((frame / fps - offset_s) * clip.fps for frame in (first, last - 1))
        start = int(np.clip(np.floor(begin) - beside, 0, len(clip.weights) - 1))
        stop = int(np.clip(np.ceil(end) + beside + 1, start + 1, len(clip.weights)))
        piece = MotionClip(block(start, stop), channels, clip.fps, clip.space)
        start_s = (begin - start) / clip.fps
        out[first:last] = resample(piece, fps, frames=last - first, start_s=start_s).weights
    return MotionClip(out, channels, fps, clip.space)
