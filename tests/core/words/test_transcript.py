"""What is done with the words of a line: trusted where they fit, said and left aside where not."""

import numpy as np
import pytest

from core.errors import Cancelled, IdiolectError
from core.phones import PHONE_INDEX, PHONES
from core.words.alignment_files import read_alignment, save_alignment
from core.words.transcript import KnownWords, _thinkable, find_words

BILABIALS = [PHONE_INDEX[phone] for phone in "PBM"]
SPANS = (
    *(("SIL", 10), ("B", 4), ("AA", 7), ("B", 3), ("SIL", 6)),
    *(("P", 5), ("AE", 6), ("K", 3), ("T", 3), ("SIL", 9)),
)
FRAMES = sum(frames for _, frames in SPANS)


def heard(confused=0.3):
    rng = np.random.default_rng(1)
    rows = [PHONE_INDEX[phone] for phone, frames in SPANS for _ in range(frames)]
    posteriors = rng.dirichlet(np.full(len(PHONES), 0.05), size=len(rows)) * confused
    posteriors[np.arange(len(rows)), rows] += 1 - confused
    return posteriors.astype(np.float16)


def find(known, **more):
    warnings = []
    said = find_words(known, heard(), FRAMES / 50, lambda: iter(()), warn=warnings.append, **more)
    return said, warnings


def test_nothing_known_is_nothing_done():
    assert find(KnownWords()) == (None, [])


def test_a_text_that_fits_sharpens_what_was_heard():
    said, warnings = find(KnownWords("Bob packed."))
    assert not warnings
    assert said.text == "bob packed"
    mixed = said.posteriors(heard())
    assert mixed.dtype == np.float16
    closed = mixed[:, BILABIALS].sum(axis=1)
    expected = [phone in "PBM" for phone, frames in SPANS for _ in range(frames)]
    assert (closed[expected] > 0.9).all()
    assert (closed[~np.array(expected)] < 0.1).all()
    assert mixed.sum(axis=1) == pytest.approx(np.ones(FRAMES), abs=0.01)


def test_a_wrong_text_is_said_and_left_aside():
    said, warnings = find(KnownWords("See you sooner."))
    assert said is None
    assert len(warnings) == 1
    assert '"See you sooner." ' not in warnings[0]
    assert "does not fit the speech" in warnings[0]
    assert "See you sooner." in warnings[0]


def test_a_text_without_words_is_said_and_left_aside():
    said, warnings = find(KnownWords("— … —"))
    assert said is None
    assert "holds no words" in warnings[0]


@pytest.mark.parametrize("name", ["line.TextGrid", "line.csv"])
def test_a_saved_alignment_given_back_says_the_same(tmp_path, name):
    said, _ = find(KnownWords("Bob packed."))
    save_alignment(said.alignment, tmp_path / name)
    again, warnings = find(KnownWords(alignment=tmp_path / name))
    assert not warnings
    np.testing.assert_array_equal(again.phones, said.phones)
    assert again.text == "bob packed"


def test_an_edited_alignment_is_obeyed(tmp_path):
    said, _ = find(KnownWords("Bob packed."))
    path = tmp_path / "line.csv"
    save_alignment(said.alignment, path)
    path.write_text(path.read_text().replace(",P,", ",AH,"))
    again, _ = find(KnownWords(text="ignored", alignment=path))
    assert (again.posteriors(heard())[30:35, BILABIALS].sum(axis=1) < 0.15).all()
    assert len(read_alignment(path).words) == 2


def test_an_alignment_of_another_recording_is_doubted(tmp_path):
    path = tmp_path / "line.csv"
    path.write_text("start_s,end_s,phone,word\n0,5,AA,ah\n")
    _, warnings = find(KnownWords(alignment=path))
    assert "another recording" in warnings[0]


def test_models_without_phones_say_that_they_cannot():
    with pytest.raises(IdiolectError) as raised:
        find_words(KnownWords("Bob"), np.zeros((9, 0)), 0.2, lambda: iter(()))
    assert raised.value.code == "no_phones"


def test_alignment_can_be_cancelled():
    with pytest.raises(Cancelled):
        find(KnownWords("Bob packed."), stop=lambda: True)


def test_accurate_mode_finds_words_and_falls_back_from_a_wrong_text():
    pytest.importorskip("pocketsphinx")
    said, warnings = find(KnownWords(accurate=True))
    assert not warnings
    assert "bob" in said.text
    said, warnings = find(KnownWords("See you sooner.", accurate=True))
    assert "does not fit" in warnings[0]
    assert "bob" in said.text


def test_a_recognised_closure_of_which_nothing_was_heard_is_not_made():
    heard_so = np.zeros((30, len(PHONES)), np.float32)
    heard_so[:, PHONE_INDEX["AA"]] = 1
    heard_so[5, PHONE_INDEX["B"]] = 0.1
    phones = np.full(30, PHONE_INDEX["AA"])
    phones[5:8] = phones[20:24] = PHONE_INDEX["B"]
    kept = _thinkable(phones, heard_so)
    assert (kept[5:8] == PHONE_INDEX["B"]).all()
    assert (kept[20:24] == -1).all()
    assert (kept[24:] == PHONE_INDEX["AA"]).all()
