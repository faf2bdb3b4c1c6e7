"""The corpus that the speech backbone learns from, made by one command.

    python -m training.synthesis.speech_corpus --out DIR --real FOLDER_WITH_index.csv
        [--espeak-hours 1.2] [--flite-hours 1.5] [--festival-hours 1.5]

writes one shard a source: DIR/exact, DIR/prompt, DIR/recognised (real speech by how its phones are
known), DIR/espeak, DIR/flite, DIR/festival. A shard that is there already is kept, so the command
resumes.

A shard is a folder with `samples.npy` (int16, 16 kHz, all clips in a row, each scaled so that
active speech has an RMS of 0.1, which is stored as 0.1 * SCALE), `labels.npy` (uint8 at 100 Hz, see
`alignment.labels_from`) and `clips.json`. Clips of the test split are never put into a corpus.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from core.audio import SAMPLE_RATE_HZ, load_speech, speech_gain
from core.errors import IdiolectError, read_failed
from core.phones import PHONES
from core.words.sphinx import Aligner
from training.command import command
from training.synthesis.alignment import (
    LABEL_RATE_HZ,
    Alignment,
    Recogniser,
    Segment,
    dictionary_words,
    labels_from,
)
from training.synthesis.text import sentences
from training.synthesis.tts import Espeak, Festival, Flite, Utterance

log = logging.getLogger(__name__)

SCALE = 8192
"""Value of 1.0 in stored samples; leaves room for peaks four times full scale."""
SAMPLES_PER_LABEL = SAMPLE_RATE_HZ // LABEL_RATE_HZ
REAL_SHARDS = ("exact", "prompt", "recognised")
SHORTEST_S = 0.5


@dataclass(frozen=True)
class Clip:
    """One clip of a shard.

    Attributes:
        name: file name, or the synthesiser's voice.
        speaker: who speaks.
        split: "train" or "valid".
        text: what is said.
        first: index of its first label in the shard.
        frames: number of its labels.
    """

    name: str
    speaker: str
    split: str
    text: str
    first: int
    frames: int


class Shard:
    """A shard read from disk; its arrays stay there until they are used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.clips = [
                Clip(**entry) for entry in json.loads((folder / "clips.json").read_text())
            ]
            self._samples = np.load(folder / "samples.npy", mmap_mode="r")
            self._labels = np.load(folder / "labels.npy", mmap_mode="r")
            self._beliefs = None
            if (folder / "beliefs.npy").exists():
                self._beliefs = np.load(folder / "beliefs.npy", mmap_mode="r")
        except OSError as error:
            raise read_failed(folder, error, setting="speech_corpus") from error

    def samples(self, clip: Clip) -> np.ndarray:
        """(frames * 160,) float32 of a clip, active speech at an RMS of 0.1."""
        first, last = clip.first * SAMPLES_PER_LABEL, (clip.first + clip.frames) * SAMPLES_PER_LABEL
        return self._samples[first:last].astype(np.float32) / SCALE

    def labels(self, clip: Clip) -> np.ndarray:
        """(frames,) uint8 at 100 Hz of a clip."""
        return np.asarray(self._labels[clip.first : clip.first + clip.frames])

    def beliefs(self, clip: Clip) -> np.ndarray:
        """(frames, 40) float32 at 100 Hz: how probable each phone is held to be, by the teacher of
        `training.relabel`; all 0 where it has not been asked.
        """
        if self._beliefs is None:
            return np.zeros((clip.frames, len(PHONES)), dtype=np.float32)
        beliefs = self._beliefs[clip.first : clip.first + clip.frames]
        return beliefs.astype(np.float32) / 255


class ShardWriter:
    """Collects clips and writes them as one shard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0
        self._clips: list[Clip] = []
        self._samples: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def add(
        self,
        samples: np.ndarray,
        segments: list[Segment],
        *,
        name: str,
        speaker: str,
        split: str = "train",
        text: str = "",
        doubtful: list[tuple[float, float]] | None = None,
    ) -> None:
        """Adds samples (S,) float32 at 16 kHz with their phones; what is too short is left out."""
        frames = len(samples) // SAMPLES_PER_LABEL
        if frames < SHORTEST_S * LABEL_RATE_HZ:
            return
        scaled = samples[: frames * SAMPLES_PER_LABEL] * (speech_gain(samples) * SCALE)
        self._samples.append(scaled.round().clip(-32768, 32767).astype(np.int16))
        self._labels.append(labels_from(segments, frames, doubtful or ()))
        first = self._clips[-1].first + self._clips[-1].frames if self._clips else 0
        self._clips.append(Clip(name, speaker, split, text, first, frames))
        self.seconds += frames / LABEL_RATE_HZ

    def close(self) -> None:
        """Writes the shard beside its place, then moves it there."""
        if not self._clips:
            raise IdiolectError(
                f"Nothing could be put into {self.folder.name}.",
                hint="Check the recordings and the synthesiser that it is made from.",
                code="empty_corpus",
            )
        beside = self.folder.with_name(f".{self.folder.name}.partial")
        beside.mkdir(parents=True, exist_ok=True)
        np.save(beside / "samples.npy", np.concatenate(self._samples))
        np.save(beside / "labels.npy", np.concatenate(self._labels))
        (beside / "clips.json").write_text(json.dumps([asdict(clip) for clip in self._clips]))
        beside.rename(self.folder)


def real_clips(folder: Path, splits: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a folder's index.csv that belong to one of `splits`.

    The columns used are file, corpus, speaker, transcript, duration_s and split.

    Raises:
        IdiolectError: there is no index, or it lacks a column.
    """
    try:
        with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise read_failed(folder / "index.csv", error, setting="real") from error
    wanted = ("file", "corpus", "speaker", "transcript", "duration_s", "split")
    missing = [column for column in wanted if rows and column not in rows[0]]
    if missing or not rows:
        raise IdiolectError(
            f"{folder / 'index.csv'} lacks {', '.join(missing) or 'any clip'}.",
            hint=f"It needs the columns {', '.join(wanted)}.",
            code="bad_index",
            setting="real",
        )
    return [row for row in rows if row["split"] in splits]


def kind_of(row: dict[str, str]) -> str:
    """How well the words of a real clip are known: the name of the shard it goes to."""
    if not row["transcript"]:
        return "recognised"
    # Learners who read a prompt do not always say what stands there.
    return "prompt" if row["corpus"].startswith("speechocean") else "exact"


def make_real(writer: ShardWriter, kind: str, folder: Path) -> None:
    """Aligns the train and valid clips of one kind."""
    rows = [row for row in real_clips(folder, ("train", "valid")) if kind_of(row) == kind]
    align = _recognition() if kind == "recognised" else _known_words()
    failed = 0
    for row in _progress(rows, kind):
        samples = load_speech(folder / row["file"])
        found = align(samples, row["transcript"])
        if found is None:
            failed += 1
            continue
        writer.add(
            samples,
            found.segments,
            name=row["file"],
            speaker=row["speaker"],
            split=row["split"],
            text=found.text,
            doubtful=found.doubtful,
        )
    log.info("%s: %d of %d clips could not be aligned", kind, failed, len(rows))


def _recognition() -> Callable[[np.ndarray, str], Alignment | None]:
    recogniser = Recogniser()
    return lambda samples, text: recogniser.align(samples)


def _known_words() -> Callable[[np.ndarray, str], Alignment | None]:
    aligner = Aligner(pronouncer())

    def align(samples: np.ndarray, text: str) -> Alignment | None:
        segments = aligner.align(samples, text)
        return None if segments is None else Alignment(segments, [], text)

    return align


def make_spoken(
    writer: ShardWriter, speak: Callable[[], Iterator[tuple[str, Utterance]]], hours: float
) -> None:
    """Fills a shard with `hours` of synthetic speech, every fortieth clip for validation."""
    for index, (text, said) in enumerate(speak()):
        if np.abs(said.samples).max(initial=0) < 1e-3:
            continue
        divisor = math.gcd(said.rate_hz, SAMPLE_RATE_HZ)
        samples = resample_poly(said.samples, SAMPLE_RATE_HZ // divisor, said.rate_hz // divisor)
        # A pause on both sides, so that beginnings and ends are learnt too.
        pad = round(0.15 * SAMPLE_RATE_HZ)
        segments = [
            Segment(phone, start_s + 0.15, end_s + 0.15) for phone, start_s, end_s in said.segments
        ]
        writer.add(
            np.pad(samples, pad).astype(np.float32),
            segments,
            name=said.voice,
            speaker=said.voice,
            split="valid" if index % 40 == 39 else "train",
            text=text,
        )
        if writer.seconds >= hours * 3600:
            return


def speak_one_by_one(engine: Espeak | Flite, seed: int) -> Iterator[tuple[str, Utterance]]:
    """Endless utterances of an engine that speaks text by text."""
    chance = random.Random(seed)
    for text in sentences(seed, sorted(dictionary_words())):
        yield text, engine.speak_randomly(text, chance)


def speak_in_batches(engine: Festival, seed: int) -> Iterator[tuple[str, Utterance]]:
    """Endless utterances of an engine that takes long to start."""
    chance = random.Random(seed)
    texts = sentences(seed, sorted(dictionary_words()))
    while True:
        batch = [next(texts) for _ in range(40)]
        for said in engine.speak_all(batch, chance):
            yield "", said


def pronouncer() -> Callable[[str], list[str]] | None:
    """Phones for words that are in no dictionary, where espeak-ng is installed."""
    try:
        return Espeak().pronounce
    except IdiolectError as error:
        log.warning("%s Clips with words that are in no dictionary are left out.", error.message)
        return None


def _progress(rows: list[dict[str, str]], what: str) -> Iterator[dict[str, str]]:
    for index, row in enumerate(rows):
        if index % 50 == 0:
            log.info("%s: %d of %d", what, index, len(rows))
        yield row


def find_shards(folders: list[Path]) -> list[Shard]:
    """All shards in corpus folders, by name.

    Raises:
        IdiolectError: a folder has none.
    """
    shards = []
    for folder in folders:
        found = sorted(path.parent for path in folder.glob("*/clips.json"))
        found = [path for path in found if not path.name.startswith(".")]
        if not found:
            raise IdiolectError(
                f"There is no speech corpus in {folder}.",
                hint="Make one: python -m training.synthesis.speech_corpus --out DIR …",
                code="empty_corpus",
                setting="speech",
            )
        shards += [Shard(path) for path in found]
    return shards


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--real", type=Path, help="folder with index.csv and recordings")
    parser.add_argument("--kinds", nargs="*", choices=REAL_SHARDS, default=REAL_SHARDS)
    parser.add_argument("--espeak-hours", type=float, default=0.0)
    parser.add_argument("--flite-hours", type=float, default=0.0)
    parser.add_argument("--festival-hours", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    seed = options.seed
    makers: dict[str, Callable[[ShardWriter], None]] = {}
    if options.espeak_hours:
        makers["espeak"] = lambda writer: make_spoken(
            writer, lambda: speak_one_by_one(Espeak(), seed), options.espeak_hours
        )
    if options.flite_hours:
        makers["flite"] = lambda writer: make_spoken(
            writer, lambda: speak_one_by_one(Flite(), seed + 1), options.flite_hours
        )
    if options.festival_hours:
        makers["festival"] = lambda writer: make_spoken(
            writer, lambda: speak_in_batches(Festival(), seed + 2), options.festival_hours
        )
    if options.real:
        for kind in options.kinds:
            makers[kind] = lambda writer, kind=kind: make_real(writer, kind, options.real)  # type: ignore[misc]
    for name, make in makers.items():
        folder = options.out / name
        if folder.exists():
            log.info("%s is there already", folder)
            continue
        writer = ShardWriter(folder)
        make(writer)
        writer.close()
        log.info("%s: %.2f hours", folder, writer.seconds / 3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
