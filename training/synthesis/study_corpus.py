"""A small corpus for studies: the same people in every emotion, with Mimic's two tests.

    python -m training.synthesis.study_corpus --speech SHARDS --out DIR

Speech with phones (`training.synthesis.speech_corpus`) is performed by the procedural animator, as
in `training.synthesis.motion_corpus`, but by a plan: every person performs every emotion equally
often, each clip holds one emotion, and nothing but the motion tells who performs. So what a style
code holds can be measured.

- train: people p-…, each in every emotion;
- valid: four strangers;
- test, of people in train (Test-A): new sentences, by voices that are not in train;
- test, of people q-… (Test-B): strangers;
- transitions: people of train whose emotion changes in mid-sentence, which no clip of train does;
- same-speech: people of train and strangers who all say the same sentences, in emotions that tell
  neither the person nor the sentence: for what content codes hold (`training.same_speech`).

Blinks are left out: they come when they come, and measuring them measures luck.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from core.audio import SAMPLE_RATE_HZ
from core.emotions import EMOTIONS
from core.errors import IdiolectError
from core.model.speech import prosody
from core.motion import ARKIT_CHANNELS, frame_count
from training.command import command
from training.corpus import CorpusWriter
from training.synthesis.animator import animate_phones
from training.synthesis.emotions import strongest, vary_expressions
from training.synthesis.motion_corpus import LABEL_RATE_HZ, Piece, pieces_of, segments_of
from training.synthesis.roughen import roughen
from training.synthesis.speech_corpus import Shard, find_shards
from training.synthesis.styles import SpeakingStyle, sample_style, vary_style

log = logging.getLogger(__name__)

LONGEST_S = 3.6
WEAKEST = 0.6
"""Emotions are shown at least so strongly."""


@dataclass(frozen=True)
class StudyPlan:
    """Who performs how much."""

    people: int = 48
    """In train."""
    tested: int = 24
    """Of them, in Test-A."""
    strangers: int = 12
    """In Test-B."""
    takes: int = 2
    """Clips of each person in each emotion, in train and in Test-B."""
    transitions: int = 24
    """Clips whose emotion changes."""
    sentences: int = 8
    """Said by everybody in same-speech."""
    speakers: int = 12
    """In same-speech, every other one a stranger."""
    fps: float = 25.0
    """Frames per second of the motion."""
    seed: int = 1
    """Everything random follows from it."""


class Take(NamedTuple):
    """One clip to be made.

    Attributes:
        person: Who performs.
        split: Where it belongs.
        emotion: What is shown first.
        then: What is shown in the end.
        sentence: Which of the sentences that several people say; −1 for one of its own.
    """

    person: str
    split: str
    emotion: int
    then: int
    sentence: int = -1


def takes_of(plan: StudyPlan) -> Iterator[Take]:
    """Every clip of a plan."""
    everything = range(len(EMOTIONS))
    groups = (
        ("p", plan.people, "train", plan.takes),
        ("v", 4, "valid", 1),
        ("p", plan.tested, "test", 1),
        ("q", plan.strangers, "test", plan.takes),
    )
    for letter, count, split, takes in groups:
        for number in range(count):
            for emotion in everything:
                for _ in range(takes):
                    yield Take(f"{letter}-{number:03d}", split, emotion, emotion)
    for number in range(plan.transitions):
        first = number % len(EMOTIONS)
        then = (first + 1 + number // len(EMOTIONS)) % len(EMOTIONS)
        yield Take(f"p-{number % plan.people:03d}", "transitions", first, then)
    for number in range(min(plan.speakers, 2 * plan.people, 2 * plan.strangers)):
        person = f"{'pq'[number % 2]}-{number // 2:03d}"
        for sentence in range(plan.sentences):
            # Neither the person nor the sentence can be told by it.
            emotion = (number + sentence) % len(EMOTIONS)
            yield Take(person, "same-speech", emotion, emotion, sentence)


def make_study(shards: list[Shard], out: Path, plan: StudyPlan) -> None:
    """Write the corpus.

    Args:
        shards: Speech with phones, some of it in the split "valid".
        out: Folder to write.
        plan: Who performs how much.

    Raises:
        IdiolectError: There is not enough speech.
    """
    rng = np.random.default_rng(plan.seed)
    pieces: dict[str, list[Piece]] = {"train": [], "valid": []}
    for shard in shards:
        for piece in pieces_of(shard):
            pieces[piece.split].append(_shortened(piece))
    shared = _sentences(pieces["valid"], plan.sentences)
    takes = [take for take in takes_of(plan) if take.sentence < len(shared)]
    styles: dict[str, SpeakingStyle] = {}
    queues: dict[str, list[Piece]] = {"train": [], "valid": []}
    with CorpusWriter(out, ARKIT_CHANNELS, plan.fps, "arkit") as writer:
        for index, take in enumerate(tqdm(takes, desc="performances", mininterval=2.0)):
            source = "train" if take.split == "train" else "valid"
            if not pieces[source]:
                raise IdiolectError(
                    f"the speech has no clips in its split {source}",
                    hint="Make it with python -m training.synthesis.speech_corpus.",
                    code="corpus_too_small",
                    setting="--speech",
                )
            if take.sentence >= 0:
                piece = shared[take.sentence]
            else:
                if not queues[source]:
                    order = rng.permutation(len(pieces[source]))
                    queues[source] = [pieces[source][int(i)] for i in order]
                piece = queues[source].pop(0)
            if take.person not in styles:
                styles[take.person] = sample_style(rng)
            _perform(writer, piece, take, styles[take.person], plan, index)
    log.info("%s: %d clips of %d people", out, len(takes), len(styles))


def _perform(
    writer: CorpusWriter, piece: Piece, take: Take, style: SpeakingStyle, plan: StudyPlan,
    index: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng((plan.seed, index))
    duration_s = len(piece.samples) / SAMPLE_RATE_HZ
    frames = frame_count(duration_s, plan.fps)
    emotion = np.zeros((frames, len(EMOTIONS)), np.float32)
    level = float(rng.uniform(WEAKEST, 1.0))
    # Over .6 s in the middle of the clip, where the emotion changes at all.
    turn = ((np.arange(frames) / plan.fps - duration_s / 2) / 0.6 + 0.5).clip(0.0, 1.0)
    emotion[:, take.emotion] += level * (1.0 - turn)
    emotion[:, take.then] += level * turn
    motion = animate_phones(
        segments_of(piece.labels),
        prosody(torch.from_numpy(piece.samples)[None])[0].numpy(),
        vary_style(style, rng),
        fps=plan.fps,
        duration_s=duration_s,
        emotion=emotion,
        expressions=vary_expressions(rng),
    )
    at = (np.arange(frames) / plan.fps * LABEL_RATE_HZ).round().astype(int)
    writer.add(
        f"{piece.name}#{index}", take.person, take.split,
        roughen(piece.samples, rng), motion.weights,
        piece.labels[at.clip(0, len(piece.labels) - 1)],
        strongest(emotion), intensities=emotion,
    )  # fmt: skip


def _sentences(pieces: list[Piece], count: int) -> list[Piece]:
    """The longest stretches that say something different."""
    chosen: list[Piece] = []
    said: set[bytes] = set()
    for piece in sorted(pieces, key=lambda piece: -len(piece.labels)):
        phones = piece.labels[np.flatnonzero(np.diff(piece.labels, prepend=255))].tobytes()
        if phones not in said and len(chosen) < count:
            said.add(phones)
            chosen.append(piece)
    return chosen


def _shortened(piece: Piece) -> Piece:
    """Its beginning, where it is long."""
    labels = piece.labels[: round(LONGEST_S * LABEL_RATE_HZ)]
    hop = SAMPLE_RATE_HZ // LABEL_RATE_HZ
    return piece._replace(labels=labels, samples=piece.samples[: len(labels) * hop].copy())


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder of speech shards")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    plan = StudyPlan()
    parser.add_argument("--people", type=int, default=plan.people, help="people in train")
    parser.add_argument("--tested", type=int, default=plan.tested, help="of them, in Test-A")
    parser.add_argument("--strangers", type=int, default=plan.strangers, help="in Test-B")
    parser.add_argument("--speakers", type=int, default=plan.speakers,
                        help="people who say the same sentences")  # fmt: skip
    parser.add_argument("--fps", type=float, default=plan.fps, help="frames per second")
    parser.add_argument("--seed", type=int, default=plan.seed)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    plan = StudyPlan(
        people=options.people, tested=min(options.tested, options.people),
        strangers=options.strangers, speakers=options.speakers, fps=options.fps, seed=options.seed,
    )  # fmt: skip
    make_study(find_shards([options.speech]), options.out, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
