"""Words found by dictionary and language model, on posteriors made from known phones."""

import numpy as np
import pytest

from core.errors import Cancelled
from core.phones import PHONE_INDEX, PHONES
from core.words.pronunciation import dictionary_entries

pytest.importorskip("pocketsphinx")

from core.words.recognising import recognise


def heard(text, confused=0.35):
    """Posteriors of a text in which every phone is often mistaken for its neighbours."""
    rng = np.random.default_rng(0)
    phones = ["SIL"] * 8
    for word in text.split():
        for phone in dictionary_entries()[word][0]:
            phones += [phone] * int(rng.integers(3, 7))
    phones += ["SIL"] * 8
    rows = [PHONE_INDEX[phone] for phone in phones]
    posteriors = rng.dirichlet(np.full(len(PHONES), 0.1), size=len(rows)) * confused
    posteriors[np.arange(len(rows)), rows] += 1 - confused
    return posteriors.astype(np.float32)


@pytest.mark.parametrize(
    "text",
    [
        "who saw the beautiful moon",
        "please put the paper on the table",
        "my mother bought a big blue umbrella for the summer",
    ],
)
def test_the_words_are_found(text):
    found = recognise(heard(text))
    assert [word.word for word in found] == text.split()
    assert [word.last for word in found] == sorted(word.last for word in found)


def test_the_language_model_decides_between_words_that_sound_alike():
    assert [word.word for word in recognise(heard("i want to write a letter"))][3] == "write"
    assert [word.word for word in recognise(heard("turn to the right"))][3] == "right"


def test_silence_holds_no_words():
    silence = np.zeros((100, len(PHONES)), np.float32)
    silence[:, PHONE_INDEX["SIL"]] = 1
    assert recognise(silence) == []
    assert recognise(silence[:0]) == []


def test_progress_is_told_and_the_search_can_be_cancelled():
    told = []
    recognise(heard("please put the paper on the table"), report=lambda *a: told.append(a))
    assert told[0][0] == "Recognising"
    assert len(told) >= 2
    with pytest.raises(Cancelled):
        recognise(heard("turn to the right"), stop=lambda: True)
