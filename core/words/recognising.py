"""Words without a transcript: a beam search over a dictionary and a language model, through what
the backbone heard.

The backbone hears phones better than a classic recogniser; the language model knows which words
they make. The dictionary and the trigram model are those of pocketsphinx (English); nothing is
fetched.

The search is time-synchronous over a tree of pronunciations with the language model looked ahead
(Ortmanns, Ney and Eiden, "Language-model look-ahead for large vocabulary speech recognition",
ICSLP 1996): a hypothesis is a place in the tree and the two words before it. All hypotheses of a
frame are extended at once, as arrays.

Shapes: N speech frames (50 Hz), H hypotheses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from core.errors import Cancelled, IdiolectError
from core.phones import PHONE_INDEX, SILENCE
from core.words.pronunciation import dictionary_entries, dictionary_path

_SILENCE = PHONE_INDEX[SILENCE]
_ROOT = 0
_MODEL = "en-us.lm.bin"
_FLOOR = 2e-4
_PRIOR_SHARE = 0.3
_UNKNOWN = -1000.0
"""What the language model says of a word that it does not have is far below this."""


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
    """Hypotheses kept a frame."""
    beam: float = 18.0
    """Those worse than the best by more are dropped."""
    most_ends: int = 60
    """Word ends followed up a frame."""


class HeardWord(NamedTuple):
    """A recognised word.

    Attributes:
        word: As the dictionary spells it.
        last: The frame after its last.
    """

    word: str
    last: int


class _Tree(NamedTuple):
    """Pronunciations with common beginnings merged; node 0 is the pause between words.

    Attributes:
        phone: (nodes,) what a node sounds like.
        child_first, child_count: (nodes,) its children stand in a row.
        word_first, word_count: (nodes,) the words that end at it, as a range of `words`.
        words: names.
        ahead: (nodes,) log probability of the likeliest word at or behind it.
    """

    phone: np.ndarray
    child_first: np.ndarray
    child_count: np.ndarray
    word_first: np.ndarray
    word_count: np.ndarray
    words: list[str]
    ahead: np.ndarray


class _Language:
    """The trigram model, asked once for each question."""

    def __init__(self) -> None:
        try:
            from pocketsphinx import Config, LogMath, NGramModel
        except (ImportError, OSError) as error:
            raise IdiolectError(
                f"Recognising words needs the package pocketsphinx, which does not import: {error}",
                hint="Repair the environment in the add-on's preferences (or: pip install "
                "pocketsphinx), give a transcript, or switch accurate mode off.",
                code="missing_package",
                setting="accurate",
            ) from error
        dictionary = dictionary_path()
        assert dictionary is not None  # it lies in the package that was just imported
        self._log = LogMath()
        self._model: Any = NGramModel(
            Config(), self._log, str(dictionary.with_name("en-us.lm.bin"))
        )
        self._known: dict[tuple[str, ...], float] = {}

    def __call__(self, *newest_first: str) -> float:
        """Natural logarithm of the probability of the first word after the others."""
        value = self._known.get(newest_first)
        if value is None:
            value = float(self._log.log_to_ln(self._model.prob(newest_first)))
            self._known[newest_first] = value
        return value


def _missing(problem: str) -> IdiolectError:
    return IdiolectError(
        f"Accurate mode needs the package pocketsphinx, which cannot be used: {problem}",
        hint="Repair the environment in the add-on's preferences (or: pip install pocketsphinx), "
        "give a transcript, or switch accurate mode off.",
        code="missing_package",
        setting="accurate",
    )


@cache
def _resources() -> tuple[_Tree, _Language]:
    language = _Language()
    return _tree(language), language


def recognise(
    posteriors: np.ndarray,
    settings: SearchSettings = SearchSettings(),
    report: Callable[[str, int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[HeardWord]:
    """The likeliest words.

    Args:
        posteriors: (N, 40) phone probabilities at 50 Hz.
        settings: How to search.
        report: Called with ("Recognising", seconds done, seconds in all).
        stop: Polled every second of speech.

    Raises:
        IdiolectError: pocketsphinx, which brings the dictionary and the model, is not installed.
        Cancelled: `stop` said so.
    """
    tree, language = _resources()
    search = _Search(tree, language, settings)
    emissions = _emissions(posteriors)
    for frame, emission in enumerate(emissions):
        if frame % 50 == 0:
            if stop():
                raise Cancelled
            if report:
                report("Recognising", frame // 50, len(emissions) // 50)
        search.step(frame, emission)
    return search.best(len(emissions))


def _emissions(posteriors: np.ndarray) -> np.ndarray:
    """(N, 40) log scores; how common a phone is counts a little less than in the posteriors."""
    scores = np.log(np.maximum(posteriors.astype(np.float32), _FLOOR))
    prior = np.log(np.maximum(posteriors.mean(axis=0), 5e-3)) if len(posteriors) else 0.0
    return scores - _PRIOR_SHARE * prior


class _Search:
    """The hypotheses at one frame, and how they came there."""

    def __init__(self, tree: _Tree, language: _Language, settings: SearchSettings) -> None:
        self._tree = tree
        self._language = language
        self._settings = settings
        # A history is the last two words; hypotheses carry its number.
        self._histories: list[tuple[str, ...]] = [("<s>",)]
        self._numbers: dict[tuple[str, ...], int] = {("<s>",): 0}
        # A trace is a word, when it ended, and the trace before it.
        self._traces: list[tuple[str, int, int]] = [("", 0, -1)]
        self.node = np.zeros(1, dtype=np.int64)
        self.history = np.zeros(1, dtype=np.int64)
        self.trace = np.zeros(1, dtype=np.int64)
        self.score = np.zeros(1, dtype=np.float32)

    def step(self, frame: int, emission: np.ndarray) -> None:
        """Goes on to the next frame."""
        tree, settings = self._tree, self._settings
        parts = [
            (self.node, self.history, self.trace, self.score - settings.stay_cost),
            self._children(self.node, self.history, self.trace, self.score),
        ]
        ended = self._words(frame)
        if ended is not None:
            node, history, trace, score = ended
            parts += [ended, self._children(node, history, trace, score)]
        node, history, trace, score = (np.concatenate(part) for part in zip(*parts, strict=True))
        score = score + emission[tree.phone[node]]
        keep = np.flatnonzero(score > score.max() - settings.beam)
        if len(keep) > 4 * settings.most:
            keep = keep[np.argpartition(-score[keep], 4 * settings.most)[: 4 * settings.most]]
        # The better of two hypotheses at the same place with the same history stays.
        order = keep[np.argsort(-score[keep], kind="stable")]
        _, first = np.unique(node[order] * len(self._histories) + history[order], return_index=True)
        order = order[np.sort(first)[: settings.most]]
        self.node, self.history, self.trace = node[order], history[order], trace[order]
        self.score = score[order] - score[order[0]]

    def best(self, frames: int) -> list[HeardWord]:
        """The words of the best hypothesis, which must be at the end of one."""
        ended = self._words(frames, final=True)
        candidates = [(float(self.score[i]), int(self.trace[i])) for i in self._resting()]
        if ended is not None:
            candidates += zip(ended[3].tolist(), ended[2].tolist(), strict=True)
        if not candidates:
            candidates = [(0.0, int(self.trace[0]))]
        trace = max(candidates)[1]
        words = []
        while trace > 0:
            word, last, trace = self._traces[trace]
            words.append(HeardWord(word, last))
        return words[::-1]

    def _resting(self) -> np.ndarray:
        return np.flatnonzero(self.node == _ROOT)

    def _children(
        self, node: np.ndarray, history: np.ndarray, trace: np.ndarray, score: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All ways on into the tree."""
        tree, weight = self._tree, self._settings.language
        count = tree.child_count[node]
        source = np.repeat(np.arange(len(node)), count)
        offset = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
        child = tree.child_first[node[source]] + offset
        gain = weight * (tree.ahead[child] - tree.ahead[node[source]])
        return child, history[source], trace[source], (score[source] + gain).astype(np.float32)

    def _words(
        self, frame: int, final: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
        """Hypotheses that have come to the end of a word, now in the pause after it."""
        tree, settings = self._tree, self._settings
        at_end = np.flatnonzero(tree.word_count[self.node] > 0)[: settings.most_ends]
        histories, traces, scores = [], [], []
        for index in at_end:
            node = self.node[index]
            before = self._histories[self.history[index]]
            base = float(self.score[index]) - settings.language * float(tree.ahead[node])
            first = tree.word_first[node]
            for word in tree.words[first : first + tree.word_count[node]]:
                known = self._language(word, *before)
                score = base + settings.language * known - settings.word_cost
                if final:
                    score += settings.language * self._language("</s>", word, before[0])
                histories.append(self._number((word, before[0])))
                traces.append(len(self._traces))
                self._traces.append((word, frame, int(self.trace[index])))
                scores.append(score)
        if not scores:
            return None
        return (
            np.zeros(len(scores), dtype=np.int64),
            np.array(histories, dtype=np.int64),
            np.array(traces, dtype=np.int64),
            np.array(scores, dtype=np.float32),
        )

    def _number(self, history: tuple[str, ...]) -> int:
        number = self._numbers.get(history)
        if number is None:
            number = self._numbers[history] = len(self._histories)
            self._histories.append(history)
        return number


def _tree(language: _Language) -> _Tree:
    """The tree of all dictionary words that the language model knows."""
    children: list[dict[str, int]] = [{}]
    phones = [SILENCE]
    ends: list[list[str]] = [[]]
    for word, ways in dictionary_entries().items():
        if language(word) < _UNKNOWN:
            continue
        for way in ways:
            node = 0
            for phone in way:
                if phone not in children[node]:
                    children[node][phone] = len(children)
                    children.append({})
                    phones.append(phone)
                    ends.append([])
                node = children[node][phone]
            if word not in ends[node]:
                ends[node].append(word)
    # Numbered breadth first, so that the children of a node stand in a row.
    order = [0]
    for node in order:
        order += children[node].values()
    number = {node: index for index, node in enumerate(order)}
    words: list[str] = []
    word_first = np.zeros(len(order), dtype=np.int64)
    ahead = np.full(len(order), -np.inf, dtype=np.float32)
    for index, node in enumerate(order):
        word_first[index] = len(words)
        words += ends[node]
        for word in ends[node]:
            ahead[index] = max(ahead[index], language(word))
    child_count = np.array([len(children[node]) for node in order])
    child_first = np.array(
        [number[min(children[node].values(), key=number.__getitem__)] if children[node] else 0
         for node in order]
    )  # fmt: skip
    for index in range(len(order) - 1, 0, -1):
        first, count = child_first[index], child_count[index]
        if count:
            ahead[index] = max(ahead[index], ahead[first : first + count].max())
    ahead[_ROOT] = 0.0
    return _Tree(
        phone=np.array([PHONE_INDEX[phones[node]] for node in order]),
        child_first=child_first,
        child_count=child_count,
        word_first=word_first,
        word_count=np.array([len(ends[node]) for node in order]),
        words=words,
        ahead=ahead,
    )
