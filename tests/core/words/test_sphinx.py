"""A second opinion on when a text was said, on a synthetic voice with known words."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from core.audio import load_speech
from core.phones import BILABIALS, PHONE_INDEX
from core.words.aligning import SaidWord, align
from core.words.transcript import KnownWords, find_words

# It imports pocketsphinx, without which the worker goes on.
sphinx = pytest.importorskip("core.words.sphinx", exc_type=ImportError)

TEXT = "bob packed my five dozen liquor jugs who saw the beautiful moon"
SHUT = [PHONE_INDEX[phone] for phone in BILABIALS]


@pytest.fixture(scope="module")
def sound(speech_file):
    return load_speech(speech_file)


def about_in_time(frames):
    """The words, evenly spread."""
    words = TEXT.split()
    edges = np.linspace(0, frames, len(words) + 1).astype(int)
    return [
        SaidWord(w, int(a), int(b), 0.0) for w, (a, b) in zip(words, pairwise(edges), strict=True)
    ]


def closures(opinion):
    return int(np.diff(np.isin(opinion, SHUT).astype(int), prepend=0).clip(0).sum())


def test_phones_of_the_text_are_found_in_the_sound(sound):
    frames = len(sound) // 320
    opinion = sphinx.second_opinion(about_in_time(frames), frames, iter(np.array_split(sound, 7)))
    assert closures(opinion) == 5  # b, b and p, m, b, m
    assert (opinion >= 0).mean() > 0.8
    loud = np.square(sound[: frames * 320].reshape(frames, 320)).mean(axis=1)
    said = opinion > 0
    assert loud[said].mean() > 20 * loud[opinion == 0].mean()


def test_long_speech_is_heard_in_pieces_that_begin_in_pauses(sound):
    twice = np.concatenate([sound, np.zeros(16000, np.float32)] * 8)
    length, pause = len(sound) // 320, 50
    words = [
        word._replace(first=word.first + shift, last=word.last + shift)
        for shift in (k * (length + pause) for k in range(8))
        for word in about_in_time(length)
    ]
    frames = len(twice) // 320
    pieces = list(sphinx._pieces(words, frames))
    assert 2 < len(pieces) < 8
    assert all(one.last <= two.first for one, two in pairwise(pieces))
    assert " ".join(piece.text for piece in pieces) == " ".join([TEXT] * 8)
    told = []
    opinion = sphinx.second_opinion(
        words, frames, iter(np.array_split(twice, 50)), lambda *at: told.append(at)
    )
    assert closures(opinion) == 8 * 5
    assert len(told) == len(pieces)


def test_cut_samples_are_those_of_the_piece():
    samples = np.arange(320 * 100, dtype=np.float32)
    pieces = [sphinx._Piece("a", 3, 20), sphinx._Piece("b", 40, 70), sphinx._Piece("c", 70, 100)]
    for count in (1, 3, 100):
        found = list(sphinx._cut(pieces, iter(np.array_split(samples, count))))
        for piece, cut in zip(pieces, found, strict=True):
            np.testing.assert_array_equal(cut, samples[320 * piece.first : 320 * piece.last])
    assert list(sphinx._cut(pieces, iter(()))) == []


def test_work_that_is_given_up_leaves_the_rest_open(sound):
    frames = len(sound) // 320
    opinion = sphinx.second_opinion(about_in_time(frames), frames, iter([sound]), stop=lambda: True)
    assert (opinion == -1).all()


def test_an_opinion_moves_a_boundary_that_was_hardly_heard():
    heard = np.full((30, 40), 1e-3, np.float32)
    heard[:10, PHONE_INDEX["B"]] = heard[20:, PHONE_INDEX["IY"]] = 0.9
    heard[10:20, [PHONE_INDEX["B"], PHONE_INDEX["IY"]]] = (0.46, 0.44)
    word = [("bee", [("B", "IY")])]
    opinion = np.full(30, PHONE_INDEX["IY"])
    opinion[:10] = PHONE_INDEX["B"]
    assert (align(heard, word).phones == PHONE_INDEX["B"]).sum() == 20
    assert (align(heard, word, opinion=opinion).phones == PHONE_INDEX["B"]).sum() == 10
    assert (align(heard, word, opinion=np.full(30, -1)).phones == PHONE_INDEX["B"]).sum() == 20


def test_a_text_is_laid_without_pocketsphinx_too(monkeypatch):
    heard = np.full((30, 40), 1e-3, np.float32)
    heard[:10, PHONE_INDEX["B"]] = heard[10:, PHONE_INDEX["IY"]] = 0.96
    monkeypatch.setitem(sys.modules, "core.words.sphinx", None)
    said = find_words(KnownWords("bee"), heard, 0.6, lambda: iter(()))
    assert (said.posteriors(heard)[:10, PHONE_INDEX["B"]] > 0.95).all()
