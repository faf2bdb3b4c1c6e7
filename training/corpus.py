"""The on-disk form of a corpus of speech with motion.

A corpus is a folder:

- `corpus.json`: format, motion space, channels and fps, and one entry a clip (name, identity,
  split, frames, samples), in the order in which the clips lie in the arrays; splits are "train",
  "valid" and "test";
- `motion.npy`: (ΣT, C) float16, all clips end to end;
- `samples.npy`: (ΣS,) int16, 16 kHz mono speech, each clip's level already normalised
  (`core.audio.speech_gain`) and then scaled by `SAMPLE_SCALE`;
- `phones.npy`: (ΣT,) uint8 index into `core.phones.PHONES` at each motion frame, 255 = unknown;
- `emotion.npy`: (ΣT,) uint8 index into `core.emotions.EMOTIONS`, 255 = unknown (may be absent);
- `intensities.npy`: (ΣT, 8) float16, how strong each of `core.emotions.EMOTIONS` is, where that is
  known better than by one name (may be absent);
- `templates.npy`: in the space "vertices", (I, V, 3) float32 metres, the faces at rest of the
  identities that `corpus.json` lists as "templates";
- `styles.json`: in a synthetic corpus, the traits of every identity by name (may be absent).

What the speech backbone hears in it is computed once and kept beside it (`training.features`);
`training.batches` draws what is learnt from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from core.emotions import EMOTIONS
from core.errors import IdiolectError
from core.files import atomic_path
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
        self._arrays = [self._motion, self._samples, self._phones, self._emotion]
        self._intensities: GrowingArray | None = None

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
        intensities: np.ndarray | None = None,
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
            intensities: Emotion intensities (T, 8), 0..1; given for every clip of a corpus or none.
        """
        self.entries.append(ClipEntry(name, identity, split, len(motion), len(samples)))
        self._motion.append(motion.astype(np.float16))
        self._samples.append((samples * SAMPLE_SCALE).clip(-32767, 32767).astype(np.int16))
        self._phones.append(phones.astype(np.uint8))
        if emotion is None:
            emotion = np.full(len(motion), UNKNOWN_EMOTION)
        self._emotion.append(emotion.astype(np.uint8))
        if intensities is not None:
            if self._intensities is None:
                path = self.folder / "intensities.npy"
                self._intensities = GrowingArray(path, "<f2", (len(EMOTIONS),))
                self._arrays.append(self._intensities)
            self._intensities.append(intensities.astype(np.float16))
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
        self.intensities = (
            self._open("intensities", (len(self.phones), len(EMOTIONS)))
            if (self.folder / "intensities.npy").exists()
            else None
        )
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

    def clip_intensities(self, index: int) -> np.ndarray:
        """Emotion intensities (T, 8) of a clip, 0..1, NaN in frames whose emotion is not known."""
        if self.intensities is not None:
            first, last = self.frame_offsets[index : index + 2]
            return np.asarray(self.intensities[first:last], np.float32)
        indices = self.clip_emotion(index)
        intensities = np.eye(256, len(EMOTIONS), dtype=np.float32)[indices]
        intensities[indices == UNKNOWN_EMOTION] = np.nan
        return intensities

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
