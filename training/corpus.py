"""The on-disk form of a corpus of speech with motion, and the batches drawn from it.

A corpus is a folder:

- `corpus.json`: format, motion space, channels and fps, and one entry a clip (name, identity,
  split, frames, samples), in the order in which the clips lie in the arrays; splits are "train",
  "valid" and "test";
- `motion.npy`: (ΣT, C) float16, all clips end to end;
- `samples.npy`: (ΣS,) int16, 16 kHz mono speech, each clip's level already normalised
  (`core.audio.speech_gain`) and then scaled by `SAMPLE_SCALE`;
- `phones.npy`: (ΣT,) uint8 index into `core.phones.PHONES` at each motion frame, 255 = unknown;
- `emotion.npy`: (ΣT,) uint8 index into `core.emotions.EMOTIONS`, 255 = unknown (may be absent);
- `templates.npy`: in the space "vertices", (I, V, 3) float32 metres, the faces at rest of the
  identities that `corpus.json` lists as "templates";
- `styles.json`: in a synthetic corpus, the traits of every identity by name (may be absent).

What the speech backbone hears in it is computed once and kept beside it (`training.features`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.errors import IdiolectError
from core.files import atomic_path
from core.learning.batch import Batch
from core.model.config import ModelConfig
from core.model.decoder import SpeechTracks
from core.phones import PHONE_INDEX, SILENCE
from training.growing_array import GrowingArray

FORMAT = "idiolect-corpus-1"
SAMPLE_SCALE = 8000.0
"""int16 units of a sample of 1.0: active speech has an RMS of 0.1, so peaks are far from 32767."""
UNKNOWN_PHONE = 255
UNKNOWN_EMOTION = 255


@dataclass(frozen=True)
class ClipEntry:
    """One clip of a corpus."""

    name: str
    identity: str
    split: str
    frames: int
    samples: int


class CorpusWriter:
    """Writes a corpus clip by clip, in constant memory.

    Nothing under the corpus' own names changes before `close`. As a context manager it closes at
    the end, or discards everything when the block raises.
    """

    def __init__(self, folder: Path, channels: tuple[str, ...], fps: float, space: str) -> None:
        self.folder = Path(folder)
        self.channels = tuple(channels)
        self.header: dict[str, object] = {
            "format": FORMAT,
            "space": space,
            "channels": list(channels),
            "fps": fps,
        }
        self.entries: list[ClipEntry] = []
        self._templates: dict[str, np.ndarray] = {}
        self._motion = GrowingArray(self.folder / "motion.npy", "<f2", (len(channels),))
        self._samples = GrowingArray(self.folder / "samples.npy", "<i2")
        self._phones = GrowingArray(self.folder / "phones.npy", "u1")
        self._emotion = GrowingArray(self.folder / "emotion.npy", "u1")
        self._arrays = (self._motion, self._samples, self._phones, self._emotion)

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def add(
        self,
        name: str,
        identity: str,
        split: str,
        samples: np.ndarray,
        motion: np.ndarray,
        phones: np.ndarray,
        emotion: np.ndarray | None = None,
        template: np.ndarray | None = None,
    ) -> None:
        """Add a clip.

        Args:
            name: For the index.
            identity: Who performs.
            split: "train", "valid" or "test".
            samples: Level-normalised samples (S,).
            motion: Motion (T, C).
            phones: Phone indices (T,).
            emotion: Emotion indices (T,); unknown where not given.
            template: The identity's face at rest (V, 3), metres; the first one given counts.
        """
        self.entries.append(ClipEntry(name, identity, split, len(motion), len(samples)))
        self._motion.append(motion.astype(np.float16))
        self._samples.append((samples * SAMPLE_SCALE).clip(-32767, 32767).astype(np.int16))
        self._phones.append(phones.astype(np.uint8))
        if emotion is None:
            emotion = np.full(len(motion), UNKNOWN_EMOTION)
        self._emotion.append(emotion.astype(np.uint8))
        if template is not None:
            self._templates.setdefault(identity, template.astype(np.float32))

    def close(self) -> None:
        """Finish the folder; `corpus.json` comes last, so a half-written corpus is not taken for
        one.
        """
        for array in self._arrays:
            array.close()
        if self._templates:
            self.header["templates"] = list(self._templates)
            with atomic_path(self.folder / "templates.npy") as path:
                np.save(path, np.stack(list(self._templates.values())), allow_pickle=False)
        with atomic_path(self.folder / "corpus.json") as path:
            clips = [asdict(entry) for entry in self.entries]
            path.write_text(json.dumps({**self.header, "clips": clips}), encoding="utf-8")

    def discard(self) -> None:
        """Forget everything that was added."""
        for array in self._arrays:
            array.discard()


class Corpus:
    """A corpus folder, opened for reading (arrays are mapped, not loaded)."""

    def __init__(self, folder: Path) -> None:
        """Open a corpus.

        Raises:
            IdiolectError: The folder is no corpus, or its arrays do not fit its index.
        """
        self.folder = Path(folder)
        try:
            header = json.loads((self.folder / "corpus.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise IdiolectError(
                f"{self.folder} is no corpus: {error}",
                hint="Make one with training.prepare or training.synthesis.motion_corpus.",
                code="corpus_missing",
                setting="--corpus",
            ) from error
        if header.get("format") != FORMAT:
            raise IdiolectError(
                f"{self.folder}: expected the form {FORMAT}, found {header.get('format')}",
                hint="Make the corpus again.",
                code="corpus_foreign",
                setting="--corpus",
            )
        self.fps = float(header["fps"])
        self.space = str(header["space"])
        self.channels = tuple(header["channels"])
        self.clips = [ClipEntry(**entry) for entry in header["clips"]]
        self.frame_offsets = np.concatenate([[0], np.cumsum([c.frames for c in self.clips])])
        self.sample_offsets = np.concatenate([[0], np.cumsum([c.samples for c in self.clips])])
        self.motion = self._open("motion", (int(self.frame_offsets[-1]), len(self.channels)))
        self.samples = self._open("samples", (int(self.sample_offsets[-1]),))
        self.phones = self._open("phones", (int(self.frame_offsets[-1]),))
        has_emotion = (self.folder / "emotion.npy").exists()  # older corpora have none
        self.emotion = self._open("emotion", self.phones.shape) if has_emotion else None
        self._templates: dict[str, np.ndarray] = {}
        if names := header.get("templates"):
            shape = (len(names), len(self.channels) // 3, 3)
            self._templates = dict(zip(names, self._open("templates", shape), strict=True))

    def traits(self) -> dict[str, dict[str, float]]:
        """What is known of each identity's manner of speaking; nothing in a captured corpus.

        Raises:
            IdiolectError: There is a styles.json that cannot be read.
        """
        path = self.folder / "styles.json"
        if not path.exists():
            return {}
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise IdiolectError(
                f"cannot read {path}: {error}",
                hint="Make the corpus again, or delete the file.",
                code="corpus_damaged",
                setting="--corpus",
            ) from error

    def clip_motion(self, index: int) -> np.ndarray:
        """Motion (T, C) float32 of a clip."""
        first, last = self.frame_offsets[index : index + 2]
        return np.asarray(self.motion[first:last], np.float32)

    def clip_samples(self, index: int) -> np.ndarray:
        """Level-normalised samples (S,) float32 of a clip."""
        first, last = self.sample_offsets[index : index + 2]
        return np.asarray(self.samples[first:last], np.float32) / SAMPLE_SCALE

    def clip_phones(self, index: int) -> np.ndarray:
        """Phone indices (T,) of a clip at the motion's frames."""
        first, last = self.frame_offsets[index : index + 2]
        return np.asarray(self.phones[first:last])

    def clip_emotion(self, index: int) -> np.ndarray:
        """Emotion indices (T,) of a clip at the motion's frames, or UNKNOWN_EMOTION."""
        first, last = self.frame_offsets[index : index + 2]
        if self.emotion is None:
            return np.full(last - first, UNKNOWN_EMOTION, np.uint8)
        return np.asarray(self.emotion[first:last])

    def template(self, identity: str) -> np.ndarray | None:
        """The face at rest (V, 3) of an identity, metres, in the space "vertices"."""
        return self._templates.get(identity)

    def select(self, split: str) -> list[int]:
        """Clips of a split: "train", "valid", "test", or a part of the test split.

        Mimic's Test-A, "test-a" here, are test clips of people who are also in the training split,
        Test-B, "test-b", those of people who are not.

        Raises:
            IdiolectError: There is no such split, or it is empty.
        """
        seen = {clip.identity for clip in self.clips if clip.split == "train"}
        parts = {"test-a": ("test", (True,)), "test-b": ("test", (False,))}
        base, wanted = parts.get(split, (split, (True, False)))
        chosen = [
            index
            for index, clip in enumerate(self.clips)
            if clip.split == base and (clip.identity in seen) in wanted
        ]
        if not chosen:
            found = ", ".join(sorted({clip.split for clip in self.clips}))
            raise IdiolectError(
                f"{self.folder}: there are no clips in the split {split}; it has {found}",
                hint="Choose one of train, valid, test, test-a (people known from training) and "
                "test-b (others).",
                code="split_empty",
                setting="--split",
            )
        return chosen

    def _open(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise IdiolectError(
                f"cannot read {path}: {error}",
                hint="Make the corpus again.",
                code="corpus_damaged",
                setting="--corpus",
            ) from error
        if array.shape != shape:
            raise IdiolectError(
                f"{path}: expected an array of shape {shape}, found {array.shape}",
                hint="Make the corpus again.",
                code="corpus_damaged",
                setting="--corpus",
            )
        return array


class FeatureStore:
    """Speech tracks of every clip of a corpus, end to end, 50 frames a second."""

    def __init__(
        self, offsets: np.ndarray, hidden: np.ndarray, posteriors: np.ndarray, prosody: np.ndarray
    ) -> None:
        self.offsets = offsets
        self.hidden = hidden
        self.posteriors = posteriors
        self.prosody = prosody

    def slice(self, clip: int, first: int, last: int) -> tuple[np.ndarray, ...]:
        """Hidden, posteriors and prosody of the frames [first, last) of a clip."""
        start = int(self.offsets[clip])
        end = min(start + last, int(self.offsets[clip + 1]))
        return tuple(
            np.asarray(track[start + first : end], np.float32)
            for track in (self.hidden, self.posteriors, self.prosody)
        )


@dataclass(frozen=True)
class DataConfig:
    """How batches are drawn."""

    batch: int = 16
    """Clips in a step."""
    window_s: float = 4.0
    """Length of the stretch learnt from."""
    reference_s: float = 5.0
    """Length of the reference stretch, from another clip of the same identity."""
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
    ) -> None:
        """Prepare.

        Raises:
            IdiolectError: The corpus' motion is not what the model puts out, or nobody in it has
                two clips.
        """
        _check_fits(corpus, model)
        self.corpus, self.features = corpus, features
        self.model, self.data, self.seed = model, data, seed
        self._by_identity = {split: _group(corpus, split) for split in ("train", "valid")}
        names = sorted(self._by_identity["train"])
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
        self._phone_to_silent = np.zeros(256, bool)
        self._phone_to_silent[PHONE_INDEX[SILENCE]] = True

    def batch(self, step: int) -> Batch:
        """The batch of a step; always the same for the same seed and step."""
        return self._draw("train", np.random.default_rng((self.seed, step)))

    def validation(self) -> Iterator[Batch]:
        """The same validation batches every time."""
        if self._by_identity["valid"]:
            for index in range(self.data.validation_batches):
                yield self._draw("valid", np.random.default_rng((self.seed, 1, index)))

    def _draw(self, split: str, rng: np.random.Generator) -> Batch:
        groups = self._by_identity[split]
        names = sorted(groups)
        items = []
        for name in rng.choice(len(names), self.data.batch):
            identity = names[int(name)]
            target, reference = rng.choice(groups[identity], 2, replace=False)
            items.append(self._item(identity, int(target), int(reference), rng))
        return _collate(items)

    def _item(
        self, identity: str, target: int, reference: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        rate, fps = 50, self.corpus.fps
        # Windows begin on whole seconds' fractions that both rates share, so features stay aligned.
        grid = np.gcd(rate, round(fps)) if float(fps).is_integer() else 1
        frames = self.corpus.clips[target].frames
        wanted = round(self.data.window_s * fps)
        tick = round(fps) // grid
        latest = max(0, frames - wanted) // tick
        start = int(rng.integers(0, latest + 1)) * tick
        first = round(start / fps * rate)
        tracks = self.features.slice(target, first, first + round(self.data.window_s * rate))
        motion = self.corpus.clip_motion(target)[start : start + wanted]
        phones = self.corpus.clip_phones(target)[start : start + wanted]
        silent = self._phone_to_silent[phones]
        example = self._reference(reference, rng)
        index = np.array(self._identity_index.get(identity, 0))
        traits = self._traits.get(identity, np.zeros(self.traits, np.float32))
        return (*tracks, motion, silent, example, index, traits)

    def _reference(self, clip: int, rng: np.random.Generator) -> np.ndarray:
        """A stretch of a clip's motion at the style encoder's frame rate."""
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
        return motion[before] * (1 - share) + motion[after] * share


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


def _collate(items: list[tuple[np.ndarray, ...]]) -> Batch:
    columns = list(zip(*items, strict=True))
    hidden, posteriors, prosody, motion, silent, reference = (_pad(c) for c in columns[:6])
    return Batch(
        tracks=SpeechTracks(hidden, posteriors, prosody),
        speech_lengths=_lengths(columns[2]),
        motion=motion,
        motion_lengths=_lengths(columns[3]),
        silent=silent,
        reference=reference,
        reference_lengths=_lengths(columns[5]),
        identities=torch.as_tensor(np.stack(columns[6]), dtype=torch.long),
        emotion=None,
        traits=torch.from_numpy(np.stack(columns[7])) if len(columns[7][0]) else None,
    )


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


def _pad(arrays: Iterable[np.ndarray]) -> Tensor:
    arrays = list(arrays)
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)


def _lengths(arrays: Iterable[np.ndarray]) -> Tensor:
    return torch.tensor([len(array) for array in arrays])
