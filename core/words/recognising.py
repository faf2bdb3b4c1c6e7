"""Words without a transcript: a beam search over a dictionary and a language model, through what
the backbone heard.

The backbone hears phones better than a classic recogniser; the language model knows which words
they make (`core.words.lexicon`).

The search is time-synchronous over a tree of pronunciations with the language model looked ahead
(Ortmanns, Ney and Eiden, "Language-model look-ahead for large vocabulary speech recognition",
ICSLP 1996): a hypothesis is a place in the tree and the two words before it. All hypotheses of a
frame are extended at once, as arrays.

The best words are wrong now and then, so not they alone tell the phones: every hypothesis that the
search kept has its say, as much as it is probable given all speech around it (forward-backward
through what the beam left; Wessel, Schlüter, Macherey and Ney, "Confidence measures for large
vocabulary continuous speech recognition", 2001). Where all readings have a "b", it is one.

Shapes: N speech frames (50 Hz), H hypotheses, A ways from those of a frame to those of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.errors import Cancelled
from core.phones import PHONES
from core.words.lexicon import ROOT, Language, Tree, lexicon

_FLOOR = 2e-4
_PRIOR_SHARE = 0.3
_SETTLED_FRAMES = 500
"""Frames whose phones are made up at a time, and what is remembered of the search is cleared."""
_AHEAD_FRAMES = 200
"""What is said so much later tells no more of them."""
_SMALLEST_SHARE = 1e-3
"""Ways into a hypothesis that bring less of its probability are forgotten."""


@dataclass(frozen=True)
class SearchSettings:
    """How the search weighs and prunes."""

    language: float = 1.2
    """Weight of the language model against what was heard."""
    word_cost: float = 1.0
    """Cost of every word, in nats."""
    stay_cost: float = 0.0
    """Cost of staying in a phone for another frame."""
    most: int = 3000
    """Hypotheses kept a frame, at most 65535."""
    beam: float = 18.0
    """Those worse than the best by more are dropped."""
    most_ends: int = 60
    """Word ends followed up a frame."""
    sharpness: float = 0.5
    """What differences of score count in beliefs: less than 1, as neighbouring frames are heard
    alike and tell the same twice."""


class HeardWord(NamedTuple):
    """A recognised word.

    Attributes:
        word: As the dictionary spells it.
        last: The frame after its last.
    """

    word: str
    last: int


@dataclass(frozen=True)
class Reading:
    """Speech as it was read.

    Attributes:
        words: The likeliest ones.
        phones: (N, 40) phone probabilities, by all words that it may have been.
    """

    words: list[HeardWord]
    phones: np.ndarray


def recognise(
    posteriors: np.ndarray,
    settings: SearchSettings = SearchSettings(),
    report: Callable[[str, int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Reading:
    """What the words are, or may be.

    Args:
        posteriors: (N, 40) phone probabilities at 50 Hz.
        settings: How to search.
        report: Called with ("Recognising", seconds done, seconds in all).
        stop: Polled every second of speech.

    Raises:
        IdiolectError: pocketsphinx, which brings the dictionary and the model, is not installed.
        Cancelled: `stop` said so.
    """
    search = _Search(*lexicon(), settings)
    emissions = _emissions(posteriors)
    for frame, emission in enumerate(emissions):
        if frame % 50 == 0:
            if stop():
                raise Cancelled
            if report:
                report("Recognising", frame // 50, len(emissions) // 50)
        search.step(frame, emission)
    return search.ended()


def _emissions(posteriors: np.ndarray) -> np.ndarray:
    """(N, 40) log scores; how common a phone is counts a little less than in the posteriors."""
    scores = np.log(np.maximum(posteriors.astype(np.float32), _FLOOR))
    prior = np.log(np.maximum(posteriors.mean(axis=0), 5e-3)) if len(posteriors) else 0.0
    return scores - _PRIOR_SHARE * prior


class _Trace(NamedTuple):
    """A word, the frame after its last, and the number of the trace before it."""

    word: str
    last: int
    before: int


class _Ways(NamedTuple):
    """Hypotheses made of others.

    Attributes:
        source: (A,) which hypothesis of the frame before.
        node: (A,) its place in the tree.
        history: (A,) number of the two words before it.
        trace: (A,) number of the trace behind it.
        gain: (A,) what it adds to the score.
    """

    source: np.ndarray
    node: np.ndarray
    history: np.ndarray
    trace: np.ndarray
    gain: np.ndarray


class _Step(NamedTuple):
    """How one frame followed from the one before.

    Attributes:
        phone: (H,) of each hypothesis.
        source: (A,) hypotheses of the frame before.
        target: (A,) what they became.
        share: (A,) part of the target's probability that came this way.
        before: How many hypotheses the frame before had.
    """

    phone: np.ndarray
    source: np.ndarray
    target: np.ndarray
    share: np.ndarray
    before: int


class _Search:
    """The hypotheses at one frame, and how they came there."""

    def __init__(self, tree: Tree, language: Language, settings: SearchSettings) -> None:
        self._tree = tree
        self._language = language
        self._settings = settings
        # A history is the last two words; hypotheses carry its number.
        self._histories: list[tuple[str, ...]] = [("<s>",)]
        self._numbers: dict[tuple[str, ...], int] = {("<s>",): 0}
        self._traces = [_Trace("", 0, -1)]
        self._endings: dict[tuple[int, int], tuple[list[str], np.ndarray, np.ndarray]] = {}
        self._steps: list[_Step] = []
        self._phones: list[np.ndarray] = []
        self._frame = 0
        self._node = np.zeros(1, dtype=np.int64)
        self._history = np.zeros(1, dtype=np.int64)
        self._trace = np.zeros(1, dtype=np.int64)
        self._score = np.zeros(1, dtype=np.float32)
        """Of the best path to each."""
        self._mass = np.zeros(1, dtype=np.float64)
        """Log of the probability of all paths to each, as sharp as beliefs are."""

    def step(self, frame: int, emission: np.ndarray) -> None:
        """Goes on to the next frame, with (40,) log scores of its phones."""
        tree, settings = self._tree, self._settings
        here = np.arange(len(self._node))
        staying = np.full(len(here), -settings.stay_cost, dtype=np.float32)
        nothing = np.zeros(len(here), dtype=np.float32)
        now = _Ways(here, self._node, self._history, self._trace, staying)
        parts = [now, self._children(now._replace(gain=nothing))]
        ended = self._words(frame)
        if ended is not None:
            parts += [ended, self._children(ended)]
        ways = _Ways(*(np.concatenate(part) for part in zip(*parts, strict=True)))
        gain = ways.gain + emission[tree.phone[ways.node]]
        score = self._score[ways.source] + gain
        kept = np.flatnonzero(score > score.max() - settings.beam)
        if len(kept) > 4 * settings.most:
            kept = kept[np.argpartition(-score[kept], 4 * settings.most)[: 4 * settings.most]]
        # The better of two hypotheses at the same place with the same history stays, with the
        # probability of both.
        place = ways.node[kept] * len(self._histories) + ways.history[kept]
        order = np.lexsort((-score[kept], place))
        kept, place = kept[order], place[order]
        heads = np.flatnonzero(np.diff(place, prepend=-1))
        ranked = np.argsort(-score[kept[heads]])
        rank = np.empty(len(heads), dtype=np.int64)
        rank[ranked] = np.arange(len(heads))
        target = np.repeat(rank, np.diff(heads, append=len(kept)))
        mass = self._mass[ways.source[kept]] + settings.sharpness * gain[kept]
        part = np.exp(mass - mass.max())
        whole = np.bincount(target, part)
        share = part / whole[target]
        best = kept[heads[ranked[: settings.most]]]
        told = (target < settings.most) & (share > _SMALLEST_SHARE)
        self._steps.append(
            _Step(
                tree.phone[ways.node[best]].astype(np.uint8),
                ways.source[kept][told].astype(np.uint16),
                target[told].astype(np.uint16),
                share[told].astype(np.float32),
                len(here),
            )
        )
        self._node, self._history, self._trace = (
            ways.node[best],
            ways.history[best],
            ways.trace[best],
        )
        self._score = score[best] - score[best[0]]
        # A hypothesis may be kept whose probability is too small for a number.
        self._mass = np.log(np.maximum(whole[: settings.most], 1e-300))
        self._frame = frame + 1
        if len(self._steps) == _SETTLED_FRAMES + _AHEAD_FRAMES:
            self._settle(_SETTLED_FRAMES, np.exp(self._mass))
            self._forget()

    def ended(self) -> Reading:
        """The words of the best hypothesis that is at the end of one, and all phones."""
        resting = self._node == ROOT
        belief = np.where(resting, np.exp(self._mass), 0.0)
        ends = [(float(self._score[i]), int(self._trace[i])) for i in np.flatnonzero(resting)]
        last = self._words(self._frame, final=True)
        if last is not None:
            scores = self._score[last.source] + last.gain
            ends += zip(scores.tolist(), last.trace.tolist(), strict=True)
            mass = self._mass[last.source] + self._settings.sharpness * last.gain
            belief += np.bincount(last.source, np.exp(mass), len(belief))
        if not ends:
            ends = [(0.0, int(self._trace[0]))]
        if not belief.any():
            belief = np.exp(self._mass)
        self._settle(len(self._steps), belief)
        trace = max(ends)[1]
        words = []
        while trace > 0:
            word, end, trace = self._traces[trace]
            words.append(HeardWord(word, end))
        phones = [np.zeros((0, len(PHONES)), np.float32), *self._phones]
        return Reading(words[::-1], np.concatenate(phones))

    def _settle(self, frames: int, belief: np.ndarray) -> None:
        """Makes up the phones of the oldest frames: what is believed now goes back in time."""
        phones = np.zeros((len(self._steps), len(PHONES)), dtype=np.float32)
        for frame in range(len(self._steps) - 1, -1, -1):
            step = self._steps[frame]
            belief = belief / belief.sum()
            phones[frame] = np.bincount(step.phone, belief, len(PHONES))
            belief = np.bincount(step.source, step.share * belief[step.target], step.before)
        self._phones.append(phones[:frames])
        del self._steps[:frames]

    def _forget(self) -> None:
        """Drops histories, endings and traces to which no hypothesis leads any more."""
        used, self._history = np.unique(self._history, return_inverse=True)
        self._histories = [self._histories[index] for index in used]
        self._numbers = {history: number for number, history in enumerate(self._histories)}
        self._endings.clear()
        alive = {0}
        for number in set(self._trace.tolist()):
            while number not in alive:
                alive.add(number)
                number = self._traces[number].before
        order = sorted(alive)
        renamed = {old: new for new, old in enumerate(order)}
        self._traces = [
            self._traces[old]._replace(before=renamed.get(self._traces[old].before, -1))
            for old in order
        ]
        self._trace = np.array([renamed[old] for old in self._trace.tolist()], dtype=np.int64)

    def _children(self, ways: _Ways) -> _Ways:
        """All ways on into the tree."""
        tree = self._tree
        count = tree.child_count[ways.node]
        parent = np.repeat(np.arange(len(ways.node)), count)
        offset = np.arange(len(parent)) - np.repeat(np.cumsum(count) - count, count)
        above = ways.node[parent]
        child = tree.child_first[above] + offset
        gain = ways.gain[parent] + self._settings.language * (tree.ahead[child] - tree.ahead[above])
        return _Ways(
            ways.source[parent],
            child,
            ways.history[parent],
            ways.trace[parent],
            gain.astype(np.float32),
        )

    def _words(self, frame: int, final: bool = False) -> _Ways | None:
        """Hypotheses that have come to the end of a word, now in the pause after it."""
        at_end = np.flatnonzero(self._tree.word_count[self._node] > 0)[: self._settings.most_ends]
        if not len(at_end):
            return None
        endings = [
            self._ending(int(node), int(history))
            for node, history in zip(self._node[at_end], self._history[at_end], strict=True)
        ]
        first = len(self._traces)
        for (words, _, _), before in zip(endings, self._trace[at_end].tolist(), strict=True):
            self._traces += [_Trace(word, frame, before) for word in words]
        source = np.repeat(at_end, [len(words) for words, _, _ in endings])
        history = np.concatenate([numbers for _, numbers, _ in endings])
        gain = np.concatenate([gains for _, _, gains in endings])
        if final:
            last = [self._language("</s>", *self._histories[number]) for number in history]
            gain = gain + self._settings.language * np.array(last, dtype=np.float32)
        node = np.full(len(source), ROOT, dtype=np.int64)
        return _Ways(source, node, history, np.arange(first, len(self._traces)), gain)

    def _ending(self, node: int, history: int) -> tuple[list[str], np.ndarray, np.ndarray]:
        """The words that end at a node, the histories that they make, and what they gain."""
        found = self._endings.get((node, history))
        if found is None:
            tree, settings = self._tree, self._settings
            before = self._histories[history]
            first = tree.word_first[node]
            words = tree.words[first : first + tree.word_count[node]]
            numbers = [self._number((word, before[0])) for word in words]
            known = np.array([self._language(word, *before) for word in words], dtype=np.float32)
            gains = settings.language * (known - tree.ahead[node]) - settings.word_cost
            found = words, np.array(numbers, dtype=np.int64), gains.astype(np.float32)
            self._endings[node, history] = found
        return found

    def _number(self, history: tuple[str, ...]) -> int:
        number = self._numbers.get(history)
        if number is None:
            number = self._numbers[history] = len(self._histories)
            self._histories.append(history)
        return number
