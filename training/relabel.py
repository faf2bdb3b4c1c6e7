"""Has a trained backbone say what it believes about the real clips of a speech corpus.

    python -m training.relabel --speech-corpus DIR --backbone FILE

writes `beliefs.npy` (uint8 at the labels' 100 Hz, 255 = certain) beside the labels of every shard
of real speech: the next round of `training.backbone` learns from both. Beliefs speak where a
recogniser was unsure of the words, and contradict where a reader did not say what stands in the
prompt. They are the mean over several imitated vocal tracts, and lean towards the phones of the
words: those of the transcript, else those that the backbone and a language model make out together
(`core.words.recognising`), as far as these fit what was heard.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import torch

from core.files import atomic_path
from core.model.paired_backbone import PairedBackbone
from core.model.speech import CompactBackbone, mel_filterbank
from core.phones import PHONE_INDEX, PHONES, SILENCE
from core.words.aligning import align
from core.words.pronunciation import pronunciations
from core.words.recognising import recognise
from core.words.spoken_text import spoken_words
from training.backbone import load_backbone
from training.command import command
from training.synthesis.speech_corpus import REAL_SHARDS, SAMPLES_PER_LABEL, find_shards

log = logging.getLogger(__name__)

WARPS = (0.92, 0.96, 1.0, 1.04, 1.08)
"""Vocal tracts that the teacher imagines: factors on the frequencies."""


WORDS_SHARE = 0.65
"""Part of a belief that comes from words that fit."""
FITTING = -0.7
"""Fit of a word (`core.words.aligning.SaidWord`) from which on it is believed."""


def lean_towards_words(beliefs: np.ndarray, text: str) -> np.ndarray:
    """Beliefs that know the words.

    Args:
        beliefs: (frames, 40) at 100 Hz.
        text: what is said; "" where that is not known.

    Returns:
        (frames, 40).
    """
    heard = beliefs[::2]
    words = spoken_words(text) if text else [found.word for found in recognise(heard).words]
    path = align(heard, [(word, pronunciations(word)) for word in words]) if words else None
    if path is None:
        return beliefs
    said = np.zeros(len(heard), dtype=bool)
    for word in path.words:
        said[word.first : word.last] = word.fit > FITTING
    said |= path.phones == PHONE_INDEX[SILENCE]
    phones = np.eye(len(PHONES), dtype=np.float32)[np.maximum(path.phones, 0)]
    mixed = heard + WORDS_SHARE * said[:, None] * (phones - heard)
    return np.repeat(mixed, 2, axis=0)[: len(beliefs)]


@torch.inference_mode()
def beliefs_of(backbone: CompactBackbone | PairedBackbone, samples: np.ndarray) -> np.ndarray:
    """Phone probabilities at 100 Hz.

    Args:
        backbone: the teacher, in evaluation mode.
        samples: (S,) float32, active speech at an RMS of 0.1.

    Returns:
        (S // 160, 40) float32.
    """
    frames = len(samples) // SAMPLES_PER_LABEL
    padded = np.pad(samples, (0, 3 * SAMPLES_PER_LABEL))
    # The network hears 50 times a second; hearing once more 10 ms later fills the gaps.
    two = [padded[: len(samples) + 320], padded[SAMPLES_PER_LABEL : len(samples) + 480]]
    power = backbone.log_mel.power(torch.from_numpy(np.stack(two)))
    total = torch.zeros(2, power.shape[1] // 2, len(PHONES))
    bands = backbone.log_mel.filterbank.shape[1]
    for warp in WARPS:
        filters = mel_filterbank(bands, warp=warp)
        log_mel = backbone.log_mel.scale(power @ filters)
        logits = backbone.features_of(log_mel).phone_logits
        assert logits is not None  # compact backbones know phones
        total += logits.log_softmax(-1)
    even, odd = (total / len(WARPS)).softmax(-1).numpy()
    woven = np.stack((even, odd), axis=1).reshape(-1, len(PHONES))
    return woven[:frames]


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech-corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--backbone", type=Path, required=True, help="the teacher")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    backbone = load_backbone(options.backbone)
    for shard in find_shards(options.speech_corpus):
        if shard.folder.name not in REAL_SHARDS:
            continue
        known = shard.folder.name != "recognised"
        parts = [
            lean_towards_words(
                beliefs_of(backbone, shard.samples(clip)), clip.text if known else ""
            )
            for clip in shard.clips
        ]
        believed = np.round(255 * np.concatenate(parts)).astype(np.uint8)
        with atomic_path(shard.folder / "beliefs.npy") as path, path.open("wb") as file:
            np.save(file, believed)
        log.info("%s: %d clips", shard.folder, len(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
