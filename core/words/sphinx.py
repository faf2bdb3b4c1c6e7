"""Forced alignment by pocketsphinx (BSD licence), which carries an English acoustic model.

It was learnt from other speakers than our backbone, and hears differently: a second opinion on when
each phone of a known text was said. On synthetic speech with known times its onsets of p, b, m are
within 10 ms in the median. This module imports pocketsphinx; see `core.words.pronunciation` for
whether it is there.

Shapes: S samples at 16 kHz, N speech frames (50 Hz).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from pocketsphinx import Decoder

from core.audio import SAMPLE_RATE_HZ
from core.model.speech import FEATURE_RATE_HZ, SAMPLES_PER_FRAME
from core.phones import PHONE_INDEX, SILENCE, Segment
from core.words.aligning import SaidWord
from core.words.pronunciation import dictionary_entries, pronunciations

_RATE_HZ = 100
_PIECE_FRAMES = 500
"""Long speech is aligned in pieces: from so many frames on, one ends at the next pause…"""
_LONGEST_PIECE_FRAMES = 1500
"""… or here, wherever that is."""
_PAUSE_FRAMES = 10
_MARGIN_FRAMES = 10
"""Sound beside a piece that belongs to it, where no other word is said."""

Pronounce = Callable[[str], Sequence[str]]


class Aligner:
    """Forced alignment of a known text.

    Args:
        pronounce: Gives the phones of a word that the dictionary lacks; without it, speech with
            such words is not aligned.
    """

    def __init__(self, pronounce: Pronounce | None = None) -> None:
        self._decoder = Decoder(loglevel="FATAL", samprate=SAMPLE_RATE_HZ, bestpath=False)
        self._words = set(dictionary_entries())
        self._pronounce = pronounce

    def align(self, samples: np.ndarray, text: str) -> list[Segment] | None:
        """Finds the phones of `text` in samples (S,) float32 at 16 kHz.

        Returns:
            The segments, or None where the text does not fit the sound or holds unknown words.
        """
        words = plain_words(text)
        if not words or not all(self._know(word) for word in words):
            return None
        try:
            self._decoder.set_align_text(" ".join(words))
            decode(self._decoder, samples)
            if self._decoder.hyp() is None:
                return None
            # The second pass goes from words to phones.
            self._decoder.set_alignment()
            decode(self._decoder, samples)
            alignment = self._decoder.get_alignment()
        except RuntimeError:  # pocketsphinx: "Failed to ..." where no path through the text fits
            return None
        if alignment is None:
            return None
        return [
            Segment(
                phone.name if phone.name in PHONE_INDEX else SILENCE,
                phone.start / _RATE_HZ,
                (phone.start + phone.duration) / _RATE_HZ,
            )
            for word in alignment
            for phone in word
        ]

    def _know(self, word: str) -> bool:
        if word in self._words:
            return True
        phones = list(self._pronounce(word)) if self._pronounce else []
        if not phones or SILENCE in phones:
            return False
        self._decoder.add_word(word, " ".join(phones), True)
        self._words.add(word)
        return True


def decode(decoder: Decoder, samples: np.ndarray) -> None:
    """Has a decoder hear samples (S,) as one utterance, as loud as it can be."""
    peak = float(np.abs(samples).max(initial=1e-6))
    decoder.start_utt()
    decoder.process_raw((samples * (20000 / peak)).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def plain_words(text: str) -> list[str]:
    """The words of a text as the dictionary spells them: lower case, apostrophes kept."""
    words = re.sub(r"[^a-z' ]+", " ", text.lower().replace("’", "'")).split()
    return [word for word in (word.strip("'") for word in words) if word]


def second_opinion(
    words: Sequence[SaidWord],
    frames: int,
    blocks: Iterable[np.ndarray],
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Which phone of a text is said when, by pocketsphinx.

    Args:
        words: The words, about in time.
        frames: N.
        blocks: The samples (S,) in a row, in blocks.
        report: Called with ("Aligning", seconds done, seconds in all).
        stop: Polled between pieces; True gives the work up.

    Returns:
        (N,) index into `core.phones.PHONES`; -1 where it has no opinion.
    """
    opinion = np.full(frames, -1, dtype=np.int64)
    aligner = _aligner()
    pieces = list(_pieces(words, frames))
    # Samples may end before the pieces do: a last piece without sound has no opinion.
    for piece, samples in zip(pieces, _cut(pieces, blocks), strict=False):
        if stop():
            return opinion
        report("Aligning", piece.first // FEATURE_RATE_HZ, frames // FEATURE_RATE_HZ)
        for phone, start_s, end_s in aligner.align(samples, piece.text) or ():
            first, last = (piece.first + round(t * FEATURE_RATE_HZ) for t in (start_s, end_s))
            opinion[first : min(last, piece.last)] = PHONE_INDEX[phone]
    return opinion


@cache
def _aligner() -> Aligner:
    return Aligner(lambda word: pronunciations(word)[0])


class _Piece(NamedTuple):
    """Words [text] that are said in the frames [first, last)."""

    text: str
    first: int
    last: int


def _pieces(words: Sequence[SaidWord], frames: int) -> Iterator[_Piece]:
    """Cuts a text where there is a pause, so that a piece is neither short nor long."""
    begin, held = 0, list[SaidWord]()
    for index, word in enumerate(words):
        held.append(word)
        following = words[index + 1].first if index + 1 < len(words) else frames
        length, pause = word.last - held[0].first, following - word.last
        ends = length >= _PIECE_FRAMES and pause >= _PAUSE_FRAMES
        if ends or length >= _LONGEST_PIECE_FRAMES or index + 1 == len(words):
            first = max(begin, held[0].first - _MARGIN_FRAMES)
            begin = min((word.last + following) // 2, frames)
            last = min(begin, word.last + _MARGIN_FRAMES)
            yield _Piece(" ".join(one.word for one in held), first, last)
            held = []


def _cut(pieces: Sequence[_Piece], blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The samples of each piece; ends where the blocks do."""
    stream = iter(blocks)
    held, start = np.zeros(0, dtype=np.float32), 0
    for piece in pieces:
        first, last = piece.first * SAMPLES_PER_FRAME, piece.last * SAMPLES_PER_FRAME
        while start + len(held) < last:
            block = next(stream, None)
            if block is None:
                return
            held = np.concatenate([held, block])
            if start + len(held) <= first:
                held, start = held[:0], start + len(held)
        held, start = held[first - start :], first
        yield held[: last - first]
