"""When each phone was said: forced alignment of transcripts, and recognition where there is none.

Uses pocketsphinx, which carries an English acoustic model, dictionary and language model
(`core.words.sphinx`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pocketsphinx import Decoder, get_model_path

from core.audio import SAMPLE_RATE_HZ
from core.phones import PHONE_INDEX, SILENCE, Segment
from core.words.sphinx import Aligner, decode

LABEL_RATE_HZ = 100
IGNORED = 255
"""Label of frames whose phone is not known well enough to learn from."""


class Alignment(NamedTuple):
    """Phones of a clip, and the stretches in which they are not to be trusted.

    Attributes:
        segments: in order of time, without gaps.
        doubtful: (start_s, end_s) of words that the recogniser was unsure of.
        text: the words that were aligned.
    """

    segments: list[Segment]
    doubtful: list[tuple[float, float]]
    text: str


class Recogniser:
    """Recognises the words first, then aligns them: for speech without a transcript.

    Args:
        confident: words whose posterior probability is lower are marked as doubtful.
    """

    MARGIN_S = 0.04

    def __init__(self, confident: float = 0.35) -> None:
        self._decoder = Decoder(loglevel="FATAL", samprate=SAMPLE_RATE_HZ)
        self._aligner = Aligner()
        self._confident = confident

    def align(self, samples: np.ndarray) -> Alignment | None:
        """Finds words and phones in samples (S,) float32 at 16 kHz; None where none are heard."""
        decode(self._decoder, samples)
        if self._decoder.hyp() is None:
            return None
        words: list[str] = []
        doubtful: list[tuple[float, float]] = []
        for segment in self._decoder.seg():
            if segment.word[0] in "<[+":  # silence, noise, breath
                continue
            words.append(re.sub(r"\(\d+\)$", "", segment.word))
            if segment.prob < self._confident:
                start = segment.start_frame / LABEL_RATE_HZ - self.MARGIN_S
                end = (segment.end_frame + 1) / LABEL_RATE_HZ + self.MARGIN_S
                doubtful.append((max(0.0, start), end))
        text = " ".join(words)
        segments = self._aligner.align(samples, text)
        return None if segments is None else Alignment(segments, doubtful, text)


def labels_from(
    segments: Sequence[Segment],
    frames: int,
    doubtful: Sequence[tuple[float, float]] = (),
) -> np.ndarray:
    """Labels for training.

    Args:
        segments: phones in time; what they do not cover is silence.
        frames: number of labels at 100 Hz; label m belongs to time m / 100 s.
        doubtful: stretches to ignore, (start_s, end_s).

    Returns:
        (frames,) uint8: index into `core.phones.PHONES`, or IGNORED.
    """
    labels = np.full(frames, PHONE_INDEX[SILENCE], dtype=np.uint8)
    for phone, start_s, end_s in segments:
        first, last = (round(time * LABEL_RATE_HZ) for time in (start_s, end_s))
        labels[first : max(last, first + 1)] = PHONE_INDEX[phone]
    for start_s, end_s in doubtful:
        labels[round(start_s * LABEL_RATE_HZ) : round(end_s * LABEL_RATE_HZ)] = IGNORED
    return labels


def dictionary_words() -> set[str]:
    """Every word that pocketsphinx's English dictionary can pronounce."""
    path = Path(get_model_path()) / "en-us" / "cmudict-en-us.dict"
    with path.open(encoding="utf-8") as lines:
        return {line.split(maxsplit=1)[0] for line in lines if line.strip()}
