"""The words of a line as a help: their phones take the place of those that were heard.

With the text of a line, or an alignment that somebody has corrected, the lips follow what is said
rather than what a small network makes of it. Where pocketsphinx is installed, it has a say in when
that was. Without a text, accurate mode first lets a recogniser find the words, and believes what
all that they may have been have in common. A text that is not what was said is found out, said, and
left aside.

Shapes: N speech frames (50 Hz).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from core.errors import Cancelled, IdiolectError
from core.model.speech import FEATURE_RATE_HZ
from core.phones import BILABIALS, PHONE_INDEX, PHONES, SILENCE, Segment
from core.words.aligning import Path as TextPath
from core.words.aligning import SaidWord, align
from core.words.alignment_files import Alignment, read_alignment
from core.words.pronunciation import pronunciations
from core.words.recognising import recognise
from core.words.spoken_text import spoken_words
from core.words.textgrid import Interval

FITS = -0.85
"""Mean log probability a frame of speech, against the likeliest phones, from which on a text counts
as what was said. Right texts score above -0.1 (native speakers) or -0.9 (learners' accents), texts
of other clips below -1.1 (a few very short ones -0.9)."""
_WORD_FITS = -2.0
"""A single word that fits worse is not believed."""
_WORTH_SAYING = 4
"""Letters from which on a word that was not heard is told of."""
_THINKABLE = 0.03
"""A p, b or m in a recognised word must have been heard with this probability, at least nearby."""
_TRUST = 0.9
"""Part of the posteriors that comes from the text; the rest remains what was heard."""
_TRUST_READING = 0.85
"""The same for words that were found by search."""

_SILENCE = PHONE_INDEX[SILENCE]

Warn = Callable[[str], None]


@dataclass(frozen=True)
class KnownWords:
    """What is known, or to be found out, about the words of a speech.

    Attributes:
        text: What is said; "" if that is not known.
        alignment: A file with what is said when; it comes first.
        accurate: Without either, let a recogniser find the words; slower.
        recogniser: Folder or hub name of a Whisper model that finds them; "" for the search of
            `core.words.recognising`, which needs no download.
    """

    text: str = ""
    alignment: Path | None = None
    accurate: bool = False
    recogniser: str = ""

    @property
    def anything(self) -> bool:
        """Whether there is anything to go by, or to be found out."""
        return bool(self.text.strip() or self.alignment or self.accurate)


@dataclass(frozen=True)
class Said:
    """The words of a speech in time.

    Attributes:
        phones: (N, 40) float16 phone probabilities by the words alone.
        trust: (N,) how far to believe them, 0..1; 0 where only what was heard counts.
        alignment: The same for people.
        text: The words.
    """

    phones: np.ndarray
    trust: np.ndarray
    alignment: Alignment
    text: str

    def part(self, first: int, last: int) -> Said:
        """The same for the frames [first, last) alone."""
        return replace(self, phones=self.phones[first:last], trust=self.trust[first:last])

    def posteriors(self, heard: np.ndarray) -> np.ndarray:
        """Phone probabilities (N, 40) that know the words; `heard` are those that do not."""
        frames = min(len(heard), len(self.phones))
        mixed = heard.astype(np.float32)
        trust = self.trust[:frames, None]
        mixed[:frames] += trust * (self.phones[:frames].astype(np.float32) - mixed[:frames])
        return mixed.astype(heard.dtype)


def find_words(
    known: KnownWords,
    posteriors: np.ndarray,
    duration_s: float,
    blocks: Callable[[], Iterator[np.ndarray]],
    *,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
    stop: Callable[[], bool] = lambda: False,
    warn: Warn = lambda message: None,
) -> Said | None:
    """Finds out what is said when.

    Args:
        known: What there is to go by.
        posteriors: (N, 40) phone probabilities at 50 Hz.
        duration_s: Length of the speech.
        blocks: Gives its samples (S,) at 16 kHz anew, in blocks.
        report: Called with (stage, done, total).
        stop: Polled now and then.
        warn: Called with what might not be as wished.

    Returns:
        The words in time, or None where the model must go by what it hears.

    Raises:
        IdiolectError: The alignment cannot be read; accurate mode's packages are missing; or the
            backbone knows no phones.
        Cancelled: `stop` said so.
    """
    if not known.anything:
        return None
    if posteriors.shape[1] != len(PHONES):
        raise IdiolectError(
            "this model's speech backbone gives no phones, and words need them",
            hint="Leave transcript, alignment and accurate mode off, or use the bundled model.",
            code="no_phones",
            setting="transcript",
        )
    heard = posteriors.astype(np.float32)
    if known.alignment is not None:
        return _given(read_alignment(known.alignment), len(heard), duration_s, warn)
    if known.text.strip():
        said = _written(known.text, heard, duration_s, blocks, report, stop, warn)
        if said is not None or not known.accurate:
            return said
    if known.recogniser:
        from core.words.whisper import transcribe  # loads transformers, which takes seconds

        words = spoken_words(transcribe(known.recogniser, blocks(), report, stop))
        path = _lay(words, heard, stop) if words else None
        if path is None:
            return None
        return _said(replace(path, phones=_thinkable(path.phones, heard)), duration_s, words)
    reading = recognise(heard, report=report, stop=stop)
    words = [found.word for found in reading.words]
    path = _lay(words, heard, stop) if words else None
    if path is None:
        return None
    trust = np.full(len(heard), _TRUST_READING, dtype=np.float32)
    said = _said(path, duration_s, words)
    return replace(said, phones=reading.phones.astype(np.float16), trust=trust)


def _thinkable(phones: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Phones without closures of which nothing at all was heard: a wrong word brought them."""
    shut = [PHONE_INDEX[phone] for phone in BILABIALS]
    chance = np.pad(heard[:, shut].sum(axis=1), 2)
    nearby = np.max([chance[shift : shift + len(phones)] for shift in range(5)], axis=0)
    kept = phones.copy()
    flags = np.isin(phones, shut)
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if nearby[first:last].max() < _THINKABLE:
            kept[first:last] = -1
    return kept


def fit_of(path: TextPath, posteriors: np.ndarray) -> float:
    """How well a text fits: mean of the path's ratio where anything is said, or should be."""
    spoken = (path.phones != _SILENCE) | (posteriors.argmax(axis=1) != _SILENCE)
    return float(path.ratio[spoken].mean()) if spoken.any() else 0.0


def _written(
    text: str,
    heard: np.ndarray,
    duration_s: float,
    blocks: Callable[[], Iterator[np.ndarray]],
    report: Callable[[str, int, int], None],
    stop: Callable[[], bool],
    warn: Warn,
) -> Said | None:
    words = spoken_words(text)
    if not words:
        warn("The transcript holds no words that can be read; the speech is animated without it.")
        return None
    report("Aligning", 0, 1)
    path = _lay(words, heard, stop)
    if path is None or fit_of(path, heard) < FITS:
        warn(
            f"The transcript ({_shortened(text)}) does not fit the speech; it is animated without "
            "it."
        )
        return None
    # Of little words fluent speech leaves little: that is no news.
    doubtful = [w.word for w in path.words if w.fit < _WORD_FITS and len(w.word) >= _WORTH_SAYING]
    if doubtful:
        warn(f"Not heard as written, and animated as heard: {', '.join(doubtful[:8])}.")
    try:
        from core.words.sphinx import second_opinion
    except (ImportError, OSError):  # pocketsphinx is optional here
        pass
    else:
        opinion = second_opinion(path.words, len(heard), blocks(), report, stop)
        path = _lay(words, heard, stop, opinion) or path
    report("Aligning", 1, 1)
    return _said(path, duration_s, words)


def _lay(
    words: list[str],
    heard: np.ndarray,
    stop: Callable[[], bool],
    opinion: np.ndarray | None = None,
) -> TextPath | None:
    path = align(heard, [(word, pronunciations(word)) for word in words], stop, opinion)
    if path is None and stop():
        raise Cancelled
    return path


def _said(path: TextPath, duration_s: float, words: list[str]) -> Said:
    phones = path.phones.copy()
    for word in path.words:
        if word.fit < _WORD_FITS:
            phones[word.first : word.last] = -1
    intervals = tuple(_interval(word, len(phones), duration_s) for word in path.words)
    alignment = Alignment(_segments(phones, duration_s), intervals, duration_s)
    return _certain(phones, alignment, " ".join(words))


def _certain(phones: np.ndarray, alignment: Alignment, text: str) -> Said:
    """Words of which one phone is known for each frame, or -1."""
    trust = np.where(phones >= 0, _TRUST, 0.0).astype(np.float32)
    rows = np.eye(len(PHONES), dtype=np.float16)[np.maximum(phones, 0)]
    return Said(rows, trust, alignment, text)


def _given(alignment: Alignment, frames: int, duration_s: float, warn: Warn) -> Said:
    if abs(alignment.duration_s - duration_s) > 0.5:
        warn(
            f"The alignment is {alignment.duration_s:.2f} s long, the speech {duration_s:.2f} s: "
            "is it of another recording?"
        )
    phones = np.full(frames, -1, dtype=np.int64)
    for phone, start_s, end_s in alignment.phones:
        first, last = round(start_s * FEATURE_RATE_HZ), round(end_s * FEATURE_RATE_HZ)
        phones[first : max(last, first + 1)] = PHONE_INDEX[phone]
    return _certain(phones, alignment, " ".join(word.text for word in alignment.words))


def _interval(word: SaidWord, frames: int, duration_s: float) -> Interval:
    end_s = duration_s if word.last >= frames else word.last / FEATURE_RATE_HZ
    return Interval(word.first / FEATURE_RATE_HZ, end_s, word.word)


def _segments(phones: np.ndarray, duration_s: float) -> tuple[Segment, ...]:
    edges = np.flatnonzero(np.diff(phones, prepend=-2, append=-2))
    found = []
    for first, last in itertools.pairwise(edges):
        if phones[first] >= 0:
            end_s = duration_s if last == len(phones) else last / FEATURE_RATE_HZ
            found.append(Segment(PHONES[phones[first]], first / FEATURE_RATE_HZ, end_s))
    return tuple(found)


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return f'"{words}"' if len(words) <= 50 else f'"{words[:50]}…"'
