"""Batches drawn from a corpus: who is imitated, saying what, in the manner of which other clip."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.emotions import EMOTIONS
from core.errors import IdiolectError
from core.learning.batch import Batch
from core.model.config import ModelConfig
from core.model.speech import SAMPLES_PER_FRAME
from core.model.speech_encoder import SpeechTracks
from core.phones import PHONE_INDEX, PHONES, SILENCE
from training.corpus import UNKNOWN_EMOTION, Corpus, FeatureStore

REFERENCE_EMOTIONS = ("any", "same")
KNOWN_PHONE_SHARE = 0.9
"""Share of the posteriors that the phones of a transcript get; the rest stays as heard."""


@dataclass(frozen=True)
class DataConfig:
    """How batches are drawn."""

    batch: int = 16
    """Clips in a step."""
    window_s: float = 4.0
    """Length of the stretch learnt from."""
    reference_s: float = 5.0
    """Length of the reference stretch, from another clip of the same identity."""
    reference_emotion: str = "any"
    """Emotion of the reference clip: "any" draws it independently of the target's, so that the
    style code need not carry it; "same" takes the target's, so that it does (PSE)."""
    transcript_chance: float = 0.0
    """Chance that a clip is heard as with a transcript: its posteriors are sure of the corpus' own
    phones, as `KNOWN_PHONE_SHARE` says. So the model learns to believe them over what else it
    hears."""
    validation_batches: int = 6
    """Batches of the validation split that are measured."""


class CorpusBatches:
    """Draws batches: a window of a clip, and a reference window of ANOTHER clip of the same
    person.
    """

    def __init__(
        self,
        corpus: Corpus,
        features: FeatureStore,
        model: ModelConfig,
        data: DataConfig,
        seed: int,
        *,
        with_samples: bool = False,
    ) -> None:
        """Prepare.

        Args:
            corpus: What is drawn from.
            features: What the speech backbone hears in it.
            model: For whom.
            data: How.
            seed: Everything drawn follows from it.
            with_samples: Give the sound itself as well, to a backbone that learns.

        Raises:
            IdiolectError: The corpus' motion is not what the model puts out, or nobody in it has
                two clips.
        """
        _check_fits(corpus, model)
        _check_settings(data)
        self.corpus, self.features = corpus, features
        self.model, self.data, self.seed = model, data, seed
        self.with_samples = with_samples
        self._by_identity = {split: _group(corpus, split) for split in ("train", "valid")}
        names = training_people(corpus)
        if not names:
            raise IdiolectError(
                f"nobody in the training split of {corpus.folder} has two clips",
                hint="Style is learnt from pairs of clips of one person: give more clips.",
                code="corpus_too_small",
                setting="--corpus",
            )
        self.identities = len(names)
        self._identity_index = {name: index for index, name in enumerate(names)}
        self._traits = _standardised(corpus.traits(), names)
        self.traits = len(next(iter(self._traits.values()), ()))
        self._emotion_of = [main_emotion(corpus, index) for index in range(len(corpus.clips))]
        self._emotions_known = any(found != UNKNOWN_EMOTION for found in self._emotion_of)

    def batch(self, step: int, part: int = 0) -> Batch:
        """A batch of a step; always the same for the same seed, step and part."""
        return self._draw("train", np.random.default_rng((self.seed, step, 0, part)))

    def validation(self) -> Iterator[Batch]:
        """The same validation batches every time."""
        if self._by_identity["valid"]:
            for index in range(self.data.validation_batches):
                yield self._draw("valid", np.random.default_rng((self.seed, 0, 1, index)))

    def _draw(self, split: str, rng: np.random.Generator) -> Batch:
        groups = self._by_identity[split]
        names = sorted(groups)
        items = []
        for name in rng.choice(len(names), self.data.batch):
            identity = names[int(name)]
            target = int(rng.choice(groups[identity]))
            reference = self._reference_clip(groups[identity], target, rng)
            items.append(self._item(identity, target, reference, rng))
        return self._collate(items)

    def _reference_clip(self, clips: list[int], target: int, rng: np.random.Generator) -> int:
        """Another clip of the same person."""
        others = [clip for clip in clips if clip != target]
        if self.data.reference_emotion == "same":
            emotion = self._emotion_of[target]
            alike = [clip for clip in others if self._emotion_of[clip] == emotion]
            return int(rng.choice(alike or others))
        # First the emotion, then the clip: rare emotions are met as often as frequent ones.
        emotion = int(rng.choice(sorted({self._emotion_of[clip] for clip in others})))
        return int(rng.choice([clip for clip in others if self._emotion_of[clip] == emotion]))

    def _item(
        self, identity: str, target: int, reference: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        rate, fps = 50, self.corpus.fps
        # Windows begin on whole seconds' fractions that both rates share, so features stay aligned.
        grid = np.gcd(rate, round(fps)) if float(fps).is_integer() else 1
        frames = self.corpus.clips[target].frames
        wanted = round(self.data.window_s * fps)
        tick = round(fps) // grid
        latest = max(0, frames - wanted) // tick
        start = int(rng.integers(0, latest + 1)) * tick
        first = round(start / fps * rate)
        last = first + round(self.data.window_s * rate)
        tracks = self.features.slice(target, first, last)
        if rng.random() < self.data.transcript_chance:
            phones = self.corpus.clip_phones(target)
            tracks = (tracks[0], _sure_of(phones, tracks[1], first / rate, rate, fps), tracks[2])
        window = slice(start, start + wanted)
        motion = self.corpus.clip_motion(target)
        labels = self.corpus.clip_phones(target)[window].astype(np.int64)
        example, example_emotion = self._reference(reference, rng)
        return {
            **dict(zip(SpeechTracks._fields, tracks, strict=True)),
            "motion": motion[window],
            "before": motion[start - 1] if start else np.zeros_like(motion[0]),
            "phones": np.where(labels < len(PHONES), labels, -1),
            "emotion": self.corpus.clip_intensities(target)[window],
            "reference": example,
            "reference_emotion": example_emotion,
            "identity": np.array(self._identity_index.get(identity, -1)),
            "traits": self._traits.get(identity, np.zeros(self.traits, np.float32)),
            "samples": self._samples(target, first, last),
        }

    def _samples(self, clip: int, first: int, last: int) -> np.ndarray:
        """The sound of the speech frames [first, last) of a clip, where it is asked for."""
        if not self.with_samples:
            return np.zeros(0, np.float32)
        samples = self.corpus.clip_samples(clip)
        return samples[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]

    def _reference(self, clip: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A stretch of a clip's motion at the style encoder's frame rate, and its emotion."""
        motion = self.corpus.clip_motion(clip)
        style_fps = self.model.style.fps
        wanted = self.data.reference_s * float(rng.uniform(0.6, 1.0))
        start = float(rng.uniform(0.0, max(0.0, len(motion) / self.corpus.fps - wanted)))
        count = max(1, min(int(wanted * style_fps), int(len(motion) / self.corpus.fps * style_fps)))
        position = (start + np.arange(count) / style_fps) * self.corpus.fps
        position = position.clip(0, len(motion) - 1)
        before = np.floor(position).astype(int)
        after = np.minimum(before + 1, len(motion) - 1)
        share = (position - before)[:, None].astype(np.float32)
        emotion = self.corpus.clip_intensities(clip)[position.round().astype(int)]
        return motion[before] * (1 - share) + motion[after] * share, emotion

    def _collate(self, items: list[dict[str, np.ndarray]]) -> Batch:
        columns = {name: [item[name] for item in items] for name in items[0]}
        phones = _pad(columns["phones"], fill=-1)
        known = self._emotions_known
        return Batch(
            tracks=SpeechTracks(*(_pad(columns[name]) for name in SpeechTracks._fields)),
            speech_lengths=_lengths(columns["prosody"]),
            motion=_pad(columns["motion"]),
            motion_lengths=_lengths(columns["motion"]),
            silent=phones == PHONE_INDEX[SILENCE],
            reference=_pad(columns["reference"]),
            reference_lengths=_lengths(columns["reference"]),
            identities=torch.as_tensor(np.stack(columns["identity"]), dtype=torch.long),
            emotion=_pad(columns["emotion"], fill=np.nan) if known else None,
            traits=torch.from_numpy(np.stack(columns["traits"])) if self.traits else None,
            phones=phones,
            reference_emotion=_pad(columns["reference_emotion"], fill=np.nan) if known else None,
            before=torch.from_numpy(np.stack(columns["before"])),
            samples=_pad(columns["samples"]) if self.with_samples else None,
        )


def training_people(corpus: Corpus) -> list[str]:
    """Who is learnt from, in the order of their indices: those with two clips in the training
    split.
    """
    return sorted(_group(corpus, "train"))


def _sure_of(
    phones: np.ndarray, posteriors: np.ndarray, start_s: float, rate: float, fps: float
) -> np.ndarray:
    """Posteriors (N, 40) that begin at `start_s` with the true phones (T,) mixed in."""
    if posteriors.shape[1] != len(PHONES):
        return posteriors
    at = ((start_s + np.arange(len(posteriors)) / rate) * fps).round().astype(int)
    labels = phones[at.clip(0, len(phones) - 1)]
    known = (labels < len(PHONES))[:, None]
    sure = np.eye(256, len(PHONES), dtype=posteriors.dtype)[labels]
    mixed = KNOWN_PHONE_SHARE * sure + (1.0 - KNOWN_PHONE_SHARE) * posteriors
    return np.where(known, mixed, posteriors)


def shown_emotions(corpus: Corpus) -> list[str]:
    """Emotions that the training split shows, in the order of `core.emotions.EMOTIONS`."""
    clips = [index for index, clip in enumerate(corpus.clips) if clip.split == "train"]
    found = {int(label) for index in clips for label in np.unique(corpus.clip_emotion(index))}
    return [name for index, name in enumerate(EMOTIONS) if index in found]


def main_emotion(corpus: Corpus, clip: int) -> int:
    """The label that most of a clip's frames have."""
    return int(np.bincount(corpus.clip_emotion(clip), minlength=1).argmax())


def _check_settings(data: DataConfig) -> None:
    checks = {
        "batch": (data.batch >= 1, "at least 1"),
        "window_s": (data.window_s > 0.0, "above 0"),
        "reference_s": (data.reference_s > 0.0, "above 0"),
        "transcript_chance": (0.0 <= data.transcript_chance <= 1.0, "0 to 1"),
        "reference_emotion": (
            data.reference_emotion in REFERENCE_EMOTIONS, " or ".join(REFERENCE_EMOTIONS)
        ),
    }  # fmt: skip
    for name, (fits, expected) in checks.items():
        if not fits:
            raise IdiolectError(
                f"setting 'data.{name}': expected {expected}, found {getattr(data, name)}",
                hint=f"Change it in the configuration, or by --set data.{name}=…",
                code="config_invalid",
                setting=f"data.{name}",
            )


def _check_fits(corpus: Corpus, model: ModelConfig) -> None:
    for what, found, expected in (
        ("motion space", corpus.space, model.motion.space),
        ("number of channels", len(corpus.channels), model.motion.channels),
        ("frame rate", corpus.fps, model.motion.fps),
    ):
        if found != expected:
            raise IdiolectError(
                f"{corpus.folder}: expected the {what} {expected}, found {found}",
                hint="Change model.motion in the configuration, or make the corpus to fit.",
                code="corpus_mismatch",
                setting="model.motion",
            )


def _group(corpus: Corpus, split: str) -> dict[str, list[int]]:
    """Clips of each identity with at least two in a split."""
    groups: dict[str, list[int]] = {}
    for index, clip in enumerate(corpus.clips):
        if clip.split == split:
            groups.setdefault(clip.identity, []).append(index)
    return {name: clips for name, clips in groups.items() if len(clips) > 1}


def _standardised(
    traits: dict[str, dict[str, float]], names: Iterable[str]
) -> dict[str, np.ndarray]:
    """Traits (K,) of all identities, with mean 0 and spread 1 over `names`."""
    vectors = {who: np.array(list(of.values()), np.float32) for who, of in traits.items()}
    known = [vectors[name] for name in names if name in vectors]
    if not known:
        return {}
    mean, spread = np.mean(known, axis=0), np.std(known, axis=0) + 1e-6
    return {who: (vector - mean) / spread for who, vector in vectors.items()}


def _pad(arrays: Iterable[np.ndarray], fill: float = 0) -> Tensor:
    arrays = list(arrays)
    longest = max(len(array) for array in arrays)
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)


def _lengths(arrays: Iterable[np.ndarray]) -> Tensor:
    return torch.tensor([len(array) for array in arrays])
