"""English as a recogniser knows it: a tree of pronunciations, and how likely words follow words.

The dictionary and the trigram model are those of pocketsphinx (English); nothing is fetched.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from core.errors import IdiolectError
from core.phones import PHONE_INDEX, SILENCE
from core.words.pronunciation import dictionary_entries, dictionary_path

ROOT = 0
"""The node of the pause between words."""
_UNKNOWN = -1000.0
"""What the language model says of a word that it does not have is far below this."""
_MOST_REMEMBERED = 500_000
"""Answers of the language model that are kept, 0.1 kB each."""


class Tree(NamedTuple):
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


class Language:
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
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            value = float(self._log.log_to_ln(self._model.prob(newest_first)))
            self._known[newest_first] = value
        return value


@cache
def lexicon() -> tuple[Tree, Language]:
    """Tree and language model, loaded once (a second, 60 MB).

    Raises:
        IdiolectError: pocketsphinx, which brings them, is not installed.
    """
    language = Language()
    return _tree(language), language


def _tree(language: Language) -> Tree:
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
    ahead[ROOT] = 0.0
    return Tree(
        phone=np.array([PHONE_INDEX[phones[node]] for node in order]),
        child_first=child_first,
        child_count=child_count,
        word_first=word_first,
        word_count=np.array([len(ends[node]) for node in order]),
        words=words,
        ahead=ahead,
    )
