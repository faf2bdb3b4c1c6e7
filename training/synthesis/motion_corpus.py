"""A corpus of speech with motion, from speech whose phones are known and the procedural animator.

    python -m training.synthesis.motion_corpus --speech SHARDS --out DIR

reads the shards of `training.synthesis.speech_corpus`, gives every stretch of speech to one of many
sampled speaking styles, roughens the sound as microphones and rooms do, and animates the phones.
The result is in the form that `training.corpus` reads, like a corpus of captured performance.

Every clip has an emotion, or a mixture of two, or goes from one to another, drawn without regard to
the style (`training.synthesis.emotions`). Half the clips of ready-made styles are neutral.

Identities: `style-0000` … have sampled styles; `ready-NAME` are the ready-made ones, from whose
clips the bundle takes their style codes; those of the validation split are styles never trained on,
spoken by voices never trained on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from core.audio import SAMPLE_RATE_HZ
from core.files import atomic_path
from core.model.speech import prosody
from core.motion import ARKIT_CHANNELS, frame_count
from core.phones import PHONE_INDEX, PHONES, SILENCE, Segment
from training.command import command
from training.corpus import UNKNOWN_PHONE, CorpusWriter
from training.synthesis.animator import animate_phones
from training.synthesis.emotions import draw_intensities, strongest, vary_expressions
from training.synthesis.roughen import roughen
from training.synthesis.speech_corpus import Shard, find_shards
from training.synthesis.styles import READY_MADE, SpeakingStyle, sample_style, vary_style

log = logging.getLogger(__name__)

FPS = 50.0
LABEL_RATE_HZ = 100
SHORTEST_S = 2.0
LONGEST_S = 10.0
READY_CLIPS = 16
MUTED_SHARE = 0.12
"""Share of clips with a stretch muted: what makes no sound must not move the mouth."""
WORDLESS_SHARE = 0.03
"""Share of clips that are noise only."""


class Piece(NamedTuple):
    """A stretch of speech whose phones are all known.

    Attributes:
        name: For the index.
        split: "train" or "valid".
        samples: (S,) level-normalised, 16 kHz.
        labels: (L,) phone indices at 100 Hz.
    """

    name: str
    split: str
    samples: np.ndarray
    labels: np.ndarray


def pieces_of(shard: Shard) -> Iterator[Piece]:
    """Cut a shard's clips at phones that are not known, and to at most `LONGEST_S`."""
    hop = SAMPLE_RATE_HZ // LABEL_RATE_HZ
    for clip in shard.clips:
        samples, labels = shard.samples(clip), shard.labels(clip)
        for first, last in _known_stretches(labels):
            yield Piece(
                f"{shard.folder.name}/{clip.name}@{first}",
                clip.split,
                samples[first * hop : last * hop],
                labels[first:last],
            )


def segments_of(labels: np.ndarray) -> list[Segment]:
    """Runs of equal labels (L,) at 100 Hz as segments in seconds."""
    bounds = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [
        Segment(PHONES[int(labels[first])], first / LABEL_RATE_HZ, last / LABEL_RATE_HZ)
        for first, last in itertools.pairwise(bounds)
    ]


class Performance(NamedTuple):
    """What a piece became.

    Attributes:
        samples: (S,) roughened.
        motion: (T, 52) at `FPS`.
        phones: (T,) phone indices at its frames.
        intensities: (T, 8) emotion intensities.
    """

    samples: np.ndarray
    motion: np.ndarray
    phones: np.ndarray
    intensities: np.ndarray


def perform(
    piece: Piece,
    style: SpeakingStyle,
    heard: np.random.Generator,
    seen: np.random.Generator,
    *,
    neutral: bool = False,
) -> Performance:
    """One performance of a piece in a style.

    Args:
        piece: The speech.
        style: The manner.
        heard: Chance of what happens to the sound. It has a source of its own, so that another
            animator on the same speech gives a corpus that sounds the same.
        seen: Chance of what the face does.
        neutral: Without emotion.
    """
    samples, labels = piece.samples.copy(), piece.labels.copy()
    chance = heard.random()
    if chance < WORDLESS_SHARE:
        samples[:] = 0.0
        labels[:] = PHONE_INDEX[SILENCE]
    elif chance < WORDLESS_SHARE + MUTED_SHARE:
        _mute(samples, labels, heard)
    duration_s = len(samples) / SAMPLE_RATE_HZ
    frames = frame_count(duration_s, FPS)
    # The clean sound moves the face; the model has to see through the noise.
    voice = prosody(torch.from_numpy(samples)[None])[0].numpy()
    intensities = draw_intensities(frames, FPS, seen)
    if neutral:
        intensities[:, 1:] = 0.0
    motion = animate_phones(
        segments_of(labels),
        voice,
        vary_style(style, seen),
        fps=FPS,
        duration_s=duration_s,
        rng=seen,
        emotion=intensities,
        expressions=vary_expressions(seen),
    )
    at = (np.arange(frames) / FPS * LABEL_RATE_HZ).round().astype(int)
    phones = labels[at.clip(0, len(labels) - 1)]
    return Performance(roughen(samples, heard), motion.weights, phones, intensities)


def make_corpus(
    shards: list[Shard], out: Path, identities: int, takes: dict[str, int], seed: int
) -> None:
    """Write the corpus.

    Args:
        shards: Speech with phones.
        out: Folder to write.
        identities: Number of sampled styles in the training split.
        takes: How often each shard's pieces are performed, by shard name (1 where not given).
        seed: Everything random follows from it.
    """
    rng = np.random.default_rng(seed)
    pieces: dict[str, list[Piece]] = {"train": [], "valid": []}
    for shard in shards:
        for piece in pieces_of(shard):
            repeats = takes.get(shard.folder.name, 1) if piece.split == "train" else 1
            pieces[piece.split] += [piece] * repeats
    writer = CorpusWriter(out, ARKIT_CHANNELS, FPS, "arkit")
    styles: dict[str, SpeakingStyle] = {}
    plans: list[tuple[str, str, Piece]] = []
    for split, count in (("train", identities), ("valid", max(2, len(pieces["valid"]) // 6))):
        order = rng.permutation(len(pieces[split]))
        for place, index in enumerate(order):
            name = f"{'style' if split == 'train' else 'stranger'}-{place % count:04d}"
            plans.append((name, split, pieces[split][int(index)]))
    for name in READY_MADE:
        chosen = rng.choice(len(pieces["train"]), min(READY_CLIPS, len(pieces["train"])), False)
        plans += [(f"ready-{name}", "train", pieces["train"][int(i)]) for i in chosen]
    for index, (name, split, piece) in enumerate(tqdm(plans, desc="performances", mininterval=2.0)):
        ready = name.removeprefix("ready-")
        if name not in styles:
            styles[name] = READY_MADE[ready] if ready in READY_MADE else sample_style(rng)
        heard, seen = (np.random.default_rng((seed, index, sense)) for sense in (0, 1))
        neutral = ready in READY_MADE and index % 2 == 0
        made = perform(piece, styles[name], heard, seen, neutral=neutral)
        writer.add(
            piece.name, name, split, made.samples, made.motion, made.phones,
            strongest(made.intensities), intensities=made.intensities,
        )  # fmt: skip
    writer.close()
    with atomic_path(out / "styles.json") as path:
        path.write_text(json.dumps({name: asdict(style) for name, style in styles.items()}))
    hours = sum(entry.frames for entry in writer.entries) / FPS / 3600
    log.info("%s: %d clips, %.2f hours, %d styles", out, len(plans), hours, len(styles))


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder of speech shards")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--identities", type=int, default=500, help="sampled speaking styles")
    parser.add_argument(
        "--takes",
        nargs="*",
        default=["exact=2", "recognised=2", "flite=0", "espeak=0"],
        metavar="SHARD=N",
        help="how often each shard is performed (default: real speech more often than synthetic)",
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    takes = {name: int(count) for name, _, count in (t.partition("=") for t in options.takes)}
    shards = [s for s in find_shards([options.speech]) if takes.get(s.folder.name, 1) > 0]
    make_corpus(shards, options.out, options.identities, takes, options.seed)
    return 0


def _known_stretches(labels: np.ndarray) -> list[tuple[int, int]]:
    """Bounds of the stretches without unknown phones, long ones cut at their quietest places."""
    known = np.concatenate([[False], labels != UNKNOWN_PHONE, [False]])
    edges = np.flatnonzero(np.diff(known.astype(int)))
    stretches = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        parts = -(-(last - first) // round(LONGEST_S * LABEL_RATE_HZ))
        cuts = np.linspace(first, last, parts + 1).round().astype(int).tolist()
        stretches += list(itertools.pairwise(cuts))
    return [(a, b) for a, b in stretches if b - a >= SHORTEST_S * LABEL_RATE_HZ]


def _mute(samples: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Silence a stretch of half a second to a second and a half, in place."""
    length = int(rng.integers(50, 150))
    start = int(rng.integers(0, max(1, len(labels) - length)))
    hop = SAMPLE_RATE_HZ // LABEL_RATE_HZ
    samples[start * hop : (start + length) * hop] = 0.0
    labels[start : start + length] = PHONE_INDEX[SILENCE]


if __name__ == "__main__":
    sys.exit(main())
