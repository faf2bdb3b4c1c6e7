"""Speech and a style in, facial motion out: the whole inference, in windows.

However long the speech, at most one window of sound and one of features is worked on at a time;
what grows with the length is what was heard, in half precision (about 2 MB a minute), and the
motion itself.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from core.checkpoint import load_checkpoint, load_weights
from core.conditioning import StyleTrack
from core.device import pick
from core.errors import Cancelled, IdiolectError
from core.finishing import FinishSettings, Heard, finish
from core.listening import HeardSpeech, Listener, SpeechSource
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import ModelConfig, from_dict
from core.model.decoder import SpeechTracks
from core.model.model import IdiolectModel
from core.motion import ARKIT_CHANNELS, MotionClip, frame_count, resample

BUNDLED_CHECKPOINT = Path(__file__).parent / "checkpoints" / "idiolect.safetensors"
DEFAULT_STYLE = "neutral"

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
Style = str | np.ndarray | StyleTrack | None

_WINDOW_S = 10.0
_FADE_FRAMES = 24
_UNBOUNDED_MARGIN_S = 2.0
"""Context given to models whose attention has no limit; bounded ones get exactly what they use."""
_REFERENCE_WINDOW_S = 6.0
_SHORTEST_REFERENCE_S = 0.5


class Animator:
    """A loaded model that animates speech.

    Attributes:
        name: The model's name.
        space: Its motion space.
        fps: The frame rate it works at; `animate` gives any other.
        parameters: Number of its weights, backbone included.
        styles: Ready-made style codes by name, each (d_s,).
        device: Where it runs.
    """

    def __init__(self, checkpoint: Path | None = None, device: str = "auto") -> None:
        """Load a checkpoint.

        Args:
            checkpoint: A file written by `training.train`; the bundled model by default.
            device: "auto", "cpu", "cuda" or "mps".

        Raises:
            IdiolectError: The file is missing, damaged or foreign, or there is no such device.
        """
        path = checkpoint or BUNDLED_CHECKPOINT
        loaded = load_checkpoint(path)
        for part in ("model", "backbone"):
            if part not in loaded.config:
                raise IdiolectError(
                    f"{path} is no finished model: its configuration has no '{part}'",
                    hint="Choose the run's model.safetensors, not its state.",
                    code="checkpoint_mismatch",
                    setting="checkpoint",
                )
        self.config = from_dict(ModelConfig, loaded.config["model"], source=str(path))
        backbone_config = from_dict(BackboneConfig, loaded.config["backbone"], source=str(path))
        backbone = build_backbone(backbone_config)
        if backbone_config.kind == "compact":
            load_weights(backbone, loaded.part("backbone"), path)
        self.model = IdiolectModel(self.config, track_sizes(backbone, self.config.speech))
        load_weights(self.model, loaded.part("model"), path)
        self.model.eval()
        self.styles = {name: code.numpy() for name, code in loaded.part("styles").items()}
        self.name = str(loaded.metadata.get("name", path.stem))
        self.space = self.config.motion.space
        self.fps = self.config.motion.fps
        self.parameters = sum(p.numel() for m in (self.model, backbone) for p in m.parameters())
        self.device = pick(device)
        self._listener = Listener(backbone.eval(), self.device)
        self._style_cache: dict[str, np.ndarray] = {}
        self.model.to(self.device)

    def style_from_motion(self, clip: MotionClip) -> np.ndarray:
        """The style code (d_s,) of a reference clip.

        Raises:
            IdiolectError: The clip is of another motion space, too short, or does not move.
        """
        motion = self._reference(clip)
        key = hashlib.blake2b(motion.tobytes(), digest_size=16).hexdigest()
        if key not in self._style_cache:
            self._style_cache[key] = self._guarded(lambda: self._encode(motion))
        return self._style_cache[key]

    def animate(
        self,
        speech: np.ndarray | str | Path,
        *,
        style: Style = None,
        fps: float,
        start_s: float = 0.0,
        duration_s: float | None = None,
        finishing: FinishSettings | None = FinishSettings(),  # noqa: B008 (frozen)
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> MotionClip:
        """Animate speech.

        Args:
            speech: Samples (S,) at 16 kHz, or a file.
            style: Name of a ready-made style, a style code, a track of them, or None for the
                model's default.
            fps: Frames per second wanted.
            start_s: For a file: where to begin, in seconds.
            duration_s: For a file: how much to animate; None = to the end.
            finishing: What `core.finishing` does; None gives the raw motion.
            progress: Called with (stage, done, total).
            cancelled: Polled between windows.

        Returns:
            Motion with round(duration · fps) + 1 frames, frame i at i / fps seconds.

        Raises:
            IdiolectError: The speech cannot be read, or the style is unknown.
            Cancelled: `cancelled` said so.
        """
        if not (np.isfinite(fps) and fps > 0.0):
            raise IdiolectError(
                f"the frame rate must be above 0, not {fps}", code="bad_fps", setting="fps"
            )
        track = self._style_track(style)
        report = progress or (lambda stage, done, total: None)
        stop = cancelled or (lambda: False)
        source = SpeechSource(speech, start_s, duration_s)
        heard = self._guarded(lambda: self._listener.listen(source, report, stop))
        weights = self._guarded(lambda: self._decode(heard, track, report, stop))
        if self.space == "arkit":
            weights = weights.clip(0.0, 1.0)
        clip = MotionClip(weights, self._channels(), self.fps, self.space)
        if finishing is not None:
            knowledge = Heard(heard.posteriors.astype(np.float32), heard.prosody[:, 0])
            clip = finish(clip, finishing, knowledge)
        return resample(clip, fps, frames=frame_count(heard.duration_s, fps))

    @torch.inference_mode()
    def _decode(
        self,
        heard: HeardSpeech,
        track: StyleTrack,
        report: Progress,
        stop: Callable[[], bool],
    ) -> np.ndarray:
        """Motion (T, C) at the model's own frame rate, window by window with cross-fades."""
        frames = frame_count(heard.duration_s, self.fps)
        channels = self.config.motion.channels
        total = np.zeros((frames, channels), np.float32)
        share = np.zeros((frames, 1), np.float32)
        align = self.model.speech_encoder.align
        reach = self.model.reach
        margin = round(_UNBOUNDED_MARGIN_S * self.fps) if reach is None else reach
        step = round(_WINDOW_S * self.fps)
        for first in range(0, frames, step):
            if stop():
                raise Cancelled
            report("Animating", first, frames)
            last = min(first + step, frames)
            # Windows begin where speech and motion frames fall on the same time.
            start = max(0, first - _FADE_FRAMES - margin) // align.repeat * align.repeat
            end = min(frames, last + _FADE_FRAMES + margin)
            window = self._window(heard, track, start, end)
            level = _fade(first, last, start, end, frames)[:, None]
            total[start:end] += window * level
            share[start:end] += level
        report("Animating", frames, frames)
        return total / share

    def _window(self, heard: HeardSpeech, track: StyleTrack, start: int, end: int) -> np.ndarray:
        align = self.model.speech_encoder.align
        first = start // align.repeat * align.stride
        last = -(-end * align.stride // align.repeat) + align.reach
        tracks = SpeechTracks(
            *(
                torch.from_numpy(part[first:last].astype(np.float32))[None].to(self.device)
                for part in (heard.hidden, heard.posteriors, heard.prosody)
            )
        )
        codes = torch.from_numpy(track.at(np.arange(start, end) / self.fps)).to(self.device)
        lengths = torch.tensor([tracks.prosody.shape[1]], device=self.device)
        motion: Tensor = self.model(tracks, lengths, end - start, style=codes[None])
        return motion[0].float().cpu().numpy()

    @torch.inference_mode()
    def _encode(self, motion: np.ndarray) -> np.ndarray:
        """Style code of motion at the style encoder's rate: the mean over windows."""
        length = round(_REFERENCE_WINDOW_S * self.config.style.fps)
        parts = np.array_split(motion, -(-len(motion) // length))
        codes = []
        for part in parts:
            window = torch.from_numpy(np.ascontiguousarray(part))[None].to(self.device)
            mask = torch.ones(window.shape[:2], dtype=torch.bool, device=self.device)
            codes.append(self.model.encode_style(window, mask)[0].float().cpu().numpy())
        return np.average(codes, axis=0, weights=[len(part) for part in parts]).astype(np.float32)

    def _reference(self, clip: MotionClip) -> np.ndarray:
        """A reference clip's weights at the style encoder's frame rate, (R, C)."""
        if clip.space != self.space:
            raise IdiolectError(
                f"the reference is '{clip.space}' motion, but the model '{self.name}' wants "
                f"'{self.space}'",
                hint="Choose a reference of the same kind, or another model.",
                code="reference_space",
                setting="reference",
            )
        if clip.duration_s < _SHORTEST_REFERENCE_S:
            raise IdiolectError(
                f"the reference animation is too short: {clip.duration_s:.2f} s",
                hint=f"Give at least {_SHORTEST_REFERENCE_S:g} s; five or more are better.",
                code="reference_short",
                setting="reference",
            )
        # Interpolated plainly: closures are not to be moved about in what a style is read from.
        times = np.arange(frame_count(clip.duration_s, self.config.style.fps))
        position = (times / self.config.style.fps * clip.fps).clip(0, len(clip.weights) - 1)
        weights = clip.select(self._channels()) if self.space == "arkit" else clip.weights
        before = np.floor(position).astype(int)
        after = np.minimum(before + 1, len(weights) - 1)
        part = (position - before)[:, None].astype(np.float32)
        motion = weights[before] * (1.0 - part) + weights[after] * part
        if float(np.ptp(motion, axis=0).max()) < 1e-3:
            raise IdiolectError(
                "the reference animation does not move the face",
                hint="Choose an Action or file with animated ARKit shape keys.",
                code="reference_still",
                setting="reference",
            )
        return np.ascontiguousarray(motion, np.float32)

    def _style_track(self, style: Style) -> StyleTrack:
        if isinstance(style, StyleTrack):
            track = style
        elif isinstance(style, str):
            if style not in self.styles:
                raise IdiolectError(
                    f"the model '{self.name}' has no style '{style}'",
                    hint=f"It has: {', '.join(sorted(self.styles)) or 'none; give a reference'}.",
                    code="unknown_style",
                    setting="style",
                )
            track = StyleTrack.constant(self.styles[style])
        elif style is None:
            null = self.model.null_style.detach().float().cpu().numpy()
            track = StyleTrack.constant(self.styles.get(DEFAULT_STYLE, null))
        else:
            track = StyleTrack.constant(np.asarray(style, np.float32))
        if track.codes.shape[1] != self.config.style.code:
            raise IdiolectError(
                f"the style code has {track.codes.shape[1]} numbers, the model wants "
                f"{self.config.style.code}",
                hint="A style code only fits the model that made it: encode the reference again.",
                code="bad_style",
                setting="style",
            )
        return track

    def _channels(self) -> tuple[str, ...]:
        if self.space == "arkit":
            return ARKIT_CHANNELS
        return tuple(f"{self.space}_{i}" for i in range(self.config.motion.channels))

    def _guarded(self, work: Callable[[], Result]) -> Result:
        """Do work on the device; if an accelerator fails, go on with the processor."""
        try:
            return work()
        except RuntimeError as error:  # out of memory, or an operation the device does not know
            if self.device.type == "cpu":
                raise
            log.warning("%s failed (%s); going on with the CPU", self.device, error)
            self.device = torch.device("cpu")
            self.model.to(self.device)
            self._listener.move_to(self.device)
            return work()


def _fade(first: int, last: int, start: int, end: int, frames: int) -> np.ndarray:
    """Weight (end - start,) of a window responsible for [first, last): soft edges, none at the
    ends.
    """
    index = np.arange(start, end, dtype=np.float32)
    rise = (index - first + _FADE_FRAMES + 1) / (2 * _FADE_FRAMES + 1)
    fall = (last + _FADE_FRAMES - index) / (2 * _FADE_FRAMES + 1)
    level = np.minimum(
        rise if first > 0 else np.ones_like(index), fall if last < frames else np.ones_like(index)
    )
    return level.clip(0.0, 1.0)
