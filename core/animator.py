"""Speech, a manner and an emotion in, facial motion out: the whole inference of one speech.

However long the speech, one window of sound and one of features is worked on at a time; what grows
with the length is the motion itself, and what finishing needs of what was heard (0.6 MB a minute).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from core.checkpoint import load_checkpoint, load_weights
from core.conditioning import EmotionTrack, StyleControl, Styles, StyleTrack, Track
from core.decoding import Conditions, Decoder
from core.device import HALF, pick
from core.engine import Engine
from core.errors import IdiolectError
from core.finishing.finish import FinishSettings, finish_raw
from core.finishing.raw_motion import Heard, RawMotion
from core.listening import HeardSpeech, Listener, SpeechSource
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import ModelConfig, from_dict
from core.model.model import IdiolectModel
from core.motion import MotionClip, channel_names, frame_count
from core.references import prepare
from core.words.transcript import KnownWords, Said, find_words

BUNDLED_CHECKPOINT = Path(__file__).parent / "checkpoints" / "idiolect.safetensors"
DEFAULT_STYLE = "neutral"
MEAN_STYLE = "mean"

Progress = Callable[[str, int, int], None]
Warn = Callable[[str], None]
Style = str | np.ndarray | Styles | None

_REFERENCE_WINDOW_S = 6.0


def nobody(*_: object) -> None:
    """Who listens to progress and warnings when nobody does."""


def never() -> bool:
    """The answer to "cancelled?" when nobody can."""
    return False


class Animator:
    """A loaded model that animates speech.

    Attributes:
        name: The model's name.
        space: Its motion space.
        fps: The frame rate it works at; `animate` gives any other.
        parameters: Number of its weights, backbone included.
        styles: Ready-made style codes by name, each (d_s,).
        trained_emotions: The emotions that it has learnt; empty if none.
        fingerprint: Tells its style codes from those of other models.
        engine: Its networks, on their device.
        listener: What hears, with its memory.
    """

    def __init__(self, checkpoint: Path | None = None, device: str = "auto") -> None:
        """Load a checkpoint.

        Args:
            checkpoint: A file written by `training.train`; the bundled model by default.
            device: "auto", "cpu", "cuda" or "mps"; "cuda+half" computes in half precision there.

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
        if backbone_config.in_checkpoint:
            load_weights(backbone, loaded.part("backbone"), path)
        model = IdiolectModel(self.config, track_sizes(backbone, self.config.speech))
        load_weights(model, loaded.part("model"), path)
        self.fingerprint = _fingerprint(model)
        self.styles = {name: code.numpy() for name, code in loaded.part("styles").items()}
        self.name = str(loaded.metadata.get("name", path.stem))
        self.trained_emotions = tuple(loaded.metadata.get("emotions", ()))
        self.space = self.config.motion.space
        self.fps = self.config.motion.fps
        self.parameters = sum(p.numel() for m in (model, backbone) for p in m.parameters())
        self._null_style = model.null_style.detach().float().numpy().copy()
        self.engine = Engine(model, backbone, pick(device), half=device.endswith(HALF))
        self.listener = Listener(self.engine)
        self._style_cache: dict[str, np.ndarray] = {}

    @property
    def device(self) -> torch.device:
        """Where it computes; the processor once another device has failed."""
        return self.engine.device

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the columns of its motion."""
        return channel_names(self.space, self.config.motion.channels)

    # Manners.

    @property
    def mean_style(self) -> np.ndarray:
        """The average manner (d_s,): the style "mean" if the model has one, else the mean of its
        ready-made styles; of a model without any, its token for "no style given".
        """
        if MEAN_STYLE in self.styles or not self.styles:
            return self.styles.get(MEAN_STYLE, self._null_style)
        return np.stack(list(self.styles.values())).mean(axis=0)

    def style_code(self, style: str | np.ndarray | None) -> np.ndarray:
        """The code (d_s,) of a ready-made style by name, of a code itself, or of the default.

        Raises:
            IdiolectError: There is no such style, or the code is another model's.
        """
        if style is None:
            return self.styles.get(DEFAULT_STYLE, self._null_style)
        if isinstance(style, str):
            if style not in self.styles:
                raise IdiolectError(
                    f"the model '{self.name}' has no style '{style}'",
                    hint=f"It has: {', '.join(sorted(self.styles)) or 'none; give a reference'}.",
                    code="unknown_style",
                    setting="style",
                )
            return self.styles[style]
        return self._fitting(np.asarray(style, np.float32))

    def style_control(
        self,
        a: str | np.ndarray | None,
        b: str | np.ndarray | None = None,
        mix: float | Track = 0.0,
        strength: float | Track = 1.0,
    ) -> StyleControl:
        """Two styles, mixed and strengthened; each by name, code, or None for the default.

        Raises:
            IdiolectError: See `style_code`; or `mix` or `strength` is out of its range.
        """
        tracks = (t if isinstance(t, Track) else Track.constant(t) for t in (mix, strength))
        return StyleControl(self.style_code(a), self.style_code(b), self.mean_style, *tracks)

    def style_from_motion(self, clip: MotionClip, warn: Warn = nobody) -> np.ndarray:
        """The style code (d_s,) of a reference clip.

        Raises:
            IdiolectError: See `core.references.prepare`.
        """
        motion = prepare(clip, self.space, self.channels, self.config.style.fps, warn)
        key = hashlib.blake2b(motion.tobytes(), digest_size=16).hexdigest()
        if key not in self._style_cache:
            self._style_cache[key] = self.engine.attempt(lambda: self._encode(motion))
        return self._style_cache[key]

    def emotion_from_motion(self, clip: MotionClip, warn: Warn = nobody) -> EmotionTrack:
        """The emotions of a reference clip, over its own time.

        Raises:
            IdiolectError: The model reads no emotions from motion, or see
                `core.references.prepare`.
        """
        motion = prepare(clip, self.space, self.channels, self.config.style.fps, warn)

        def work() -> np.ndarray:
            window = torch.from_numpy(motion)[None].to(self.device)
            mask = torch.ones(window.shape[:2], dtype=torch.bool, device=self.device)
            scores = self.engine.model.read_emotion(window, mask)
            return scores[0].float().softmax(-1).cpu().numpy()

        return EmotionTrack.of_frames(self.engine.attempt(work), self.config.style.fps)

    # Motion.

    def animate(
        self,
        speech: np.ndarray | str | Path,
        *,
        style: Style = None,
        emotion: EmotionTrack | None = None,
        words: KnownWords | Said | None = None,
        fps: float,
        start_s: float = 0.0,
        duration_s: float | None = None,
        finishing: FinishSettings | None = FinishSettings(),  # noqa: B008 (frozen)
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        warn: Warn = nobody,
    ) -> MotionClip:
        """Animate speech: `perform`, then `core.finishing.finish.finish_raw`.

        Args:
            speech: Samples (S,) at 16 kHz, or a file.
            style: Name of a ready-made style, a style code, a track of them, a `StyleControl`, or
                None for the model's default.
            emotion: Emotions over time, or None for none in particular.
            words: What is said, as far as it is known; see `find_words`.
            fps: Frames per second wanted.
            start_s: For a file: where to begin, in seconds.
            duration_s: For a file: how much to animate; None = to the end.
            finishing: What `core.finishing.finish` does; None gives the raw motion.
            progress: Called with (stage, done, total).
            cancelled: Polled between windows.
            warn: Called with what might not be as wished.

        Returns:
            Motion with round(duration · fps) + 1 frames, frame i at i / fps seconds.

        Raises:
            IdiolectError: The speech cannot be read, or the style is unknown.
            Cancelled: `cancelled` said so.
        """
        check_fps(fps)
        source = SpeechSource(speech, start_s, duration_s)
        raw = self.perform(
            source,
            style=style,
            emotion=emotion,
            words=words,
            progress=progress,
            cancelled=cancelled,
            warn=warn,
        )
        return finish_raw(raw, finishing, fps)

    def perform(
        self,
        source: SpeechSource,
        *,
        style: Style = None,
        emotion: EmotionTrack | None = None,
        words: KnownWords | Said | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        warn: Warn = nobody,
    ) -> RawMotion:
        """Raw motion at the model's own frame rate; see `animate` for arguments and errors."""
        conditions = self.conditions(style, emotion, warn)
        report, stop = progress or nobody, cancelled or never
        if isinstance(words, KnownWords):
            words = self.find_words(source, words, progress=report, cancelled=stop, warn=warn)
        seconds, stretches = self.listener.listen(source, report, stop)
        if words is not None:
            stretches = _corrected(stretches, words)
        knowledge: list[Heard] = []
        decoder = Decoder(self.engine, _noting(stretches, knowledge), conditions)
        weights = np.empty(
            (frame_count(seconds, self.fps), self.config.motion.channels), np.float32
        )
        done = 0
        report("Animating", 0, len(weights))
        for block in decoder.frames(stop):
            weights[done : done + len(block)] = block
            done += len(block)
            report("Animating", done, len(weights))
        clip = MotionClip(weights, self.channels, self.fps, self.space)
        return RawMotion(clip, Heard.joined(knowledge), seconds)

    def find_words(
        self,
        source: SpeechSource,
        known: KnownWords,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        warn: Warn = nobody,
    ) -> Said | None:
        """What is said when, to be given to `perform`, saved, or corrected by hand.

        Long speech is heard once more for this.

        Raises:
            IdiolectError: See `core.words.transcript.find_words`.
            Cancelled: `cancelled` said so.
        """
        if not known.anything:
            return None
        report, stop = progress or nobody, cancelled or never
        seconds, stretches = self.listener.listen(source, report, stop)
        posteriors = np.concatenate([part.posteriors for part in stretches])
        return find_words(
            known, posteriors, seconds, source.blocks, report=report, stop=stop, warn=warn
        )

    def conditions(
        self, style: Style, emotion: EmotionTrack | None = None, warn: Warn = nobody
    ) -> Conditions:
        """A style in any form and an emotion, checked.

        Raises:
            IdiolectError: See `style_code`.
        """
        if emotion is not None and not self.trained_emotions:
            warn(f"The model '{self.name}' has not learnt emotions: they may do nothing, or harm.")
        if style is None or isinstance(style, str | np.ndarray):
            return Conditions(StyleTrack.constant(self.style_code(style)), emotion)
        self._fitting(style.at(np.zeros(1))[0])
        return Conditions(style, emotion)

    def _fitting(self, code: np.ndarray) -> np.ndarray:
        if code.shape != (self.config.style.code,) or not np.isfinite(code).all():
            raise IdiolectError(
                f"the style code has {code.size} numbers, the model wants "
                f"{self.config.style.code} finite ones",
                hint="A style code only fits the model that made it: encode the reference again.",
                code="bad_style",
                setting="style",
            )
        return code

    def _encode(self, motion: np.ndarray) -> np.ndarray:
        """Style code of motion at the style encoder's rate: the mean over windows."""
        length = round(_REFERENCE_WINDOW_S * self.config.style.fps)
        parts = np.array_split(motion, -(-len(motion) // length))
        codes = []
        for part in parts:
            window = torch.from_numpy(np.ascontiguousarray(part))[None].to(self.device)
            mask = torch.ones(window.shape[:2], dtype=torch.bool, device=self.device)
            codes.append(self.engine.model.encode_style(window, mask)[0].float().cpu().numpy())
        return np.average(codes, axis=0, weights=[len(part) for part in parts]).astype(np.float32)


def check_fps(fps: float) -> None:
    """Refuse what is no frame rate.

    Raises:
        IdiolectError: code "bad_fps".
    """
    if not (np.isfinite(fps) and fps > 0.0):
        raise IdiolectError(
            f"the frame rate must be above 0, not {fps}", code="bad_fps", setting="fps"
        )


def _noting(stretches: Iterator[HeardSpeech], knowledge: list[Heard]) -> Iterator[HeardSpeech]:
    """The stretches, while what finishing needs of them is noted."""
    for stretch in stretches:
        knowledge.append(Heard.of(stretch.posteriors, stretch.prosody[:, 0]))
        yield stretch


def _fingerprint(model: IdiolectModel) -> str:
    """Equal for models between which style codes can be exchanged: those of one style encoder."""
    digest = hashlib.blake2b(digest_size=12)
    for name, value in sorted(model.style_encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _corrected(stretches: Iterator[HeardSpeech], said: Said) -> Iterator[HeardSpeech]:
    """What was heard, with the phones of the words in place of those that were guessed."""
    done = 0
    for part in stretches:
        frames = len(part.prosody)
        posteriors = said.part(done, done + frames).posteriors(part.posteriors)
        yield replace(part, posteriors=posteriors)
        done += frames
