"""Words found by dictionary and language model, on posteriors made from known phones."""

import numpy as np
import pytest

from core.errors import Cancelled
from core.phones import PHONE_INDEX, PHONES
from core.words.pronunciation import dictionary_entries

pytest.importorskip("pocketsphinx")  # the worker goes on without it

from core.words import recognising
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
    found = recognise(heard(text)).words
    assert [word.word for word in found] == text.split()
    assert [word.last for word in found] == sorted(word.last for word in found)


def test_the_language_model_decides_between_words_that_sound_alike():
    assert [word.word for word in recognise(heard("i want to write a letter")).words][3] == "write"
    assert [word.word for word in recognise(heard("turn to the right")).words][3] == "right"


def test_silence_holds_no_words():
    silence = np.zeros((100, len(PHONES)), np.float32)
    silence[:, PHONE_INDEX["SIL"]] = 1
    assert recognise(silence).words == []
    assert recognise(silence[:0]).words == []


def test_progress_is_told_and_the_search_can_be_cancelled():
    told = []
    recognise(heard("please put the paper on the table"), report=lambda *a: told.append(a))
    assert told[0][0] == "Recognising"
    assert len(told) >= 2
    with pytest.raises(Cancelled):
        recognise(heard("turn to the right"), stop=lambda: True)


def test_beliefs_follow_what_was_said_from_the_first_frame_to_the_last():
    posteriors = heard("please put the paper on the table")
    reading = recognise(posteriors)
    assert reading.phones.shape == posteriors.shape
    assert reading.phones.sum(axis=1) == pytest.approx(np.ones(len(posteriors)), abs=1e-4)
    assert (reading.phones.argmax(axis=1) == posteriors.argmax(axis=1)).mean() > 0.95


def test_a_sound_that_every_reading_has_is_sure_where_the_word_is_not():
    """Between "pin", "bin" and "pan" the word is open; that the lips close is not."""
    posteriors = heard("pin", confused=0.1)
    lips = [PHONE_INDEX[phone] for phone in "PBM"]
    first = posteriors[:, lips].sum(axis=1) > 0.5
    vowel = posteriors[:, PHONE_INDEX["IH"]] > 0.5
    posteriors[first] = posteriors[vowel] = 0.005
    posteriors[np.ix_(first, [PHONE_INDEX["P"], PHONE_INDEX["B"]])] = 0.4
    posteriors[np.ix_(vowel, [PHONE_INDEX["IH"], PHONE_INDEX["AE"]])] = 0.4
    told = recognise(posteriors).phones
    assert (told[first][:, lips].sum(axis=1)[1:-1] > 0.9).all()
    assert (told[first][:, lips].max(axis=1) < 0.85).all()


def test_long_speech_is_settled_piece_by_piece_and_reads_the_same(monkeypatch):
    text = "my mother bought a big blue umbrella for the summer"
    posteriors = heard(text)
    whole = recognise(posteriors)
    monkeypatch.setattr(recognising, "_SETTLED_FRAMES", 60)
    monkeypatch.setattr(recognising, "_AHEAD_FRAMES", 60)
    pieces = recognise(posteriors)
    assert [word.word for word in pieces.words] == text.split()
    assert [word.last for word in pieces.words] == [word.last for word in whole.words]
    assert np.abs(pieces.phones - whole.phones).mean() < 0.005
