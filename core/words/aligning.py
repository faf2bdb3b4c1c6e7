"""When each word and phone of a known text was said: the most probable path through what the
backbone heard (Viterbi), with pauses and unwritten sounds allowed between words.

Only what was heard is needed: no other recogniser, any length, any voice the backbone knows.

Shapes: N speech frames (50 Hz), S states of the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.phones import PHONE_INDEX, PHONES, SILENCE

Pronunciations = Sequence[Sequence[str]]
"""Ways to say one word, each a sequence of phones."""

_SILENCE = PHONE_INDEX[SILENCE]
_FILLER = len(PHONES)
"""Something that the text does not hold: an "uh", a laugh, a word more."""
_FLOOR = 2e-3
"""No phone is held to be less probable: the backbone is never so sure."""
_FILLER_COST = 1.5
"""What a frame of filler costs against the most probable phone, in nats."""
_FILLER_ENTRY = 10.0
_OPINION_SHARE = 0.3
"""What a second opinion counts beside what was heard."""
_BLOCK_FRAMES = 3000
_LOOK_AHEAD_FRAMES = 1000
_STATES_PER_FRAME = 1.2
"""More than the fastest speech needs, pauses, fillers and other ways to say a word counted."""


class SaidWord(NamedTuple):
    """A word in time.

    Attributes:
        word: As it was looked up.
        first: Its first frame.
        last: The frame after its last.
        fit: Mean log probability of its phones, against the most probable ones: 0 is best.
    """

    word: str
    first: int
    last: int
    fit: float


@dataclass(frozen=True)
class Path:
    """A text laid onto speech.

    Attributes:
        phones: (N,) index into PHONES of what is said, -1 where it is not in the text.
        words: In order; without those for which there was no time.
        ratio: (N,) log probability of the path against the most probable phone, at most 0.
    """

    phones: np.ndarray
    words: list[SaidWord]
    ratio: np.ndarray


@dataclass(frozen=True)
class _Graph:
    """States of a text in order; a state is reached from itself and from earlier ones.

    Attributes:
        emits: (S,) column of the emissions: a phone, or _FILLER.
        before: (S, P) states from which a state is reached, S for none.
        cost: (S,) of entering a state.
        word: (S,) index of the word, -1 between words.
        initial: (S,) bool, states in which a text may begin.
        final: (S,) bool, states in which it may end.
    """

    emits: np.ndarray
    before: np.ndarray
    cost: np.ndarray
    word: np.ndarray
    initial: np.ndarray
    final: np.ndarray


def align(
    posteriors: np.ndarray,
    words: Sequence[tuple[str, Pronunciations]],
    stop: Callable[[], bool] = lambda: False,
    opinion: np.ndarray | None = None,
) -> Path | None:
    """Lays a text onto what was heard.

    Args:
        posteriors: (N, 40) phone probabilities at 50 Hz.
        words: The words of the text with their pronunciations.
        stop: Polled now and then; True gives the work up.
        opinion: (N,) index into PHONES of what is said by another aligner, -1 where it has none.

    Returns:
        The path, whose fit is that to what was heard alone; or None where there is nothing to lay,
        less time than phones, or `stop` said so.
    """
    shortest = sum(min(len(way) for way in ways) for _, ways in words)
    if not words or shortest > len(posteriors):
        return None
    graph = _graph([ways for _, ways in words])
    believed = posteriors if opinion is None else _with_opinion(posteriors, opinion)
    states = _best_states(graph, _emissions(believed), stop)
    if states is None:
        return None
    phones = np.where(graph.emits[states] == _FILLER, -1, graph.emits[states])
    heard = np.log(np.maximum(posteriors.astype(np.float32), _FLOOR))
    said = heard[np.arange(len(heard)), np.maximum(phones, 0)]
    ratio = np.where(phones >= 0, said - heard.max(axis=1), -_FILLER_COST).astype(np.float32)
    found = []
    owner = graph.word[states]
    edges = np.flatnonzero(np.diff(owner, prepend=-2, append=-2))
    for first, last in itertools.pairwise(edges):
        if owner[first] >= 0:
            name = words[owner[first]][0]
            fit = float(ratio[first:last].mean())
            found.append(SaidWord(name, int(first), int(last), fit))
    return Path(phones, found, ratio)


def _with_opinion(posteriors: np.ndarray, opinion: np.ndarray) -> np.ndarray:
    """Phone probabilities (N, 40) by both; where a phone begins and ends is blurred by a frame."""
    told = (opinion >= 0)[:, None]
    phones = told * np.eye(len(PHONES), dtype=np.float32)[np.maximum(opinion, 0)]
    around = np.pad(phones, ((1, 1), (0, 0)), mode="edge")
    blurred = 0.25 * around[:-2] + 0.5 * phones + 0.25 * around[2:]
    return posteriors + _OPINION_SHARE * told * (blurred - posteriors)


def _emissions(posteriors: np.ndarray) -> np.ndarray:
    """(N, 41) log scores of every phone and of the filler."""
    scores = np.log(np.maximum(posteriors.astype(np.float32), _FLOOR))
    spoken = np.delete(scores, _SILENCE, axis=1).max(axis=1, keepdims=True)
    return np.concatenate([scores, spoken - _FILLER_COST], axis=1)


def _graph(words: Sequence[Pronunciations]) -> _Graph:
    emits: list[int] = []
    before: list[list[int]] = []
    cost: list[float] = []
    owner: list[int] = []

    def add(column: int, sources: list[int], price: float, word: int) -> int:
        emits.append(column)
        before.append(sources)
        cost.append(price)
        owner.append(word)
        return len(emits) - 1

    def pause(exits: list[int]) -> list[int]:
        silent = add(_SILENCE, list(exits), 0.0, -1)
        filler = add(_FILLER, [*exits, silent], _FILLER_ENTRY, -1)
        after = add(_SILENCE, [filler], 0.0, -1)
        return [*exits, silent, filler, after]

    exits = pause([-1])
    for index, ways in enumerate(words):
        ends = []
        for way in ways:
            sources = exits
            for phone in way:
                sources = [add(PHONE_INDEX[phone], list(sources), 0.0, index)]
            ends += sources
        exits = pause(ends)
    count = len(emits)
    width = max(len(sources) for sources in before)
    table = np.full((count, width), count, dtype=np.int64)
    for state, sources in enumerate(before):
        table[state, : len(sources)] = [count if source < 0 else source for source in sources]
    final = np.zeros(count, dtype=bool)
    final[exits] = True
    return _Graph(
        emits=np.array(emits),
        before=table,
        cost=np.array(cost, dtype=np.float32),
        word=np.array(owner),
        initial=np.array([-1 in sources for sources in before]),
        final=final,
    )


def _best_states(
    graph: _Graph, emissions: np.ndarray, stop: Callable[[], bool]
) -> np.ndarray | None:
    """(N,) the most probable states. Long speech goes block by block, each with a look ahead, so
    that time and memory grow with the length alone.
    """
    frames, count = len(emissions), len(graph.emits)
    states = np.zeros(frames, dtype=np.int64)
    begin, current = 0, -1
    while begin < frames:
        if stop():
            return None
        end = min(frames, begin + _BLOCK_FRAMES + _LOOK_AHEAD_FRAMES)
        low = max(current, 0)
        high = min(count, low + int(_STATES_PER_FRAME * (end - begin)) + 200)
        if end == frames and begin == 0:
            high = count
        path = _viterbi(graph, emissions[begin:end], low, high, current, ends=end == frames)
        kept = len(path) if end == frames else _BLOCK_FRAMES
        states[begin : begin + kept] = path[:kept]
        begin, current = begin + kept, int(path[kept - 1])
    return states


def _viterbi(
    graph: _Graph, emissions: np.ndarray, low: int, high: int, current: int, ends: bool
) -> np.ndarray:
    """The most probable states among [low, high) for some frames.

    Args:
        graph: The text.
        emissions: (n, 41) of these frames.
        low: First state.
        high: The state after the last.
        current: State of the frame before these; -1 at the beginning.
        ends: Whether the text ends with these frames, if it can.
    """
    size = high - low
    before = graph.before[low:high] - low
    before[(before < 0) | (before >= size)] = size
    columns, cost = graph.emits[low:high], graph.cost[low:high]
    score = np.full(size + 1, -np.inf, dtype=np.float32)
    choices = np.zeros((len(emissions), size), dtype=np.int8)
    rows = np.arange(size)
    for frame, emission in enumerate(emissions):
        if frame == 0 and current < 0:
            score[:size] = np.where(graph.initial[low:high], -cost, -np.inf)
        else:
            if frame == 0:
                score[current - low] = 0.0
            moves = score[before]  # (S, P)
            best = moves.argmax(axis=1)
            moved = moves[rows, best] - cost
            going = moved > score[:size]
            choices[frame] = np.where(going, best + 1, 0)
            score[:size] = np.where(going, moved, score[:size])
        score[:size] += emission[columns]
    last = score[:size].copy()
    if ends and np.isfinite(last[graph.final[low:high]]).any():
        last[~graph.final[low:high]] = -np.inf
    path = np.zeros(len(emissions), dtype=np.int64)
    path[-1] = last.argmax()
    for frame in range(len(emissions) - 1, 0, -1):
        choice = choices[frame, path[frame]]
        path[frame - 1] = path[frame] if choice == 0 else before[path[frame], choice - 1]
    return path + low
