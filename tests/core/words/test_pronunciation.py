"""How words are pronounced, with and without a dictionary."""

import pytest

from core.phones import PHONES
from core.words import pronunciation
from core.words.pronunciation import dictionary_entries, pronunciations, spelt_out


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("bob", "B AA B"),
        ("packed", "P AE K D"),
        ("phone", "F OW N"),
        ("smile", "S M AY L"),
        ("knight", "N AY T"),
        ("bring", "B R IH NG"),
        ("nation", "N AE SH AH N"),
        ("hmm", "EY CH EH M EH M"),
        ("grrm", "JH IY AA R AA R EH M"),
        ("'", "AH"),
    ],
)
def test_letters_have_sounds(word, phones):
    assert spelt_out(word) == tuple(phones.split())


def test_spelling_hears_every_p_b_m_that_the_dictionary_has():
    known = {"bumper", "pamper", "member", "umbrella", "problem", "lamp", "happy", "summer", "pub"}
    for word in known & dictionary_entries().keys():
        written = [phone for phone in spelt_out(word) if phone in "PBM"]
        spoken = [phone for phone in dictionary_entries()[word][0] if phone in "PBM"]
        assert written == spoken, word


@pytest.mark.skipif(not dictionary_entries(), reason="pocketsphinx is not installed")
def test_the_dictionary_comes_first_and_helps_with_what_it_lacks():
    assert pronunciations("tomato")[0] == ("T", "AH", "M", "EY", "T", "OW")
    assert ("AH",) in pronunciations("of")
    assert pronunciations("bobs's")[0][-2:] == ("IH", "Z")
    assert pronunciations("phonebooth") == [("F", "OW", "N", "B", "UW", "TH")]
    assert len(pronunciations("and")) > 1


def test_without_a_dictionary_every_word_can_be_said(monkeypatch):
    monkeypatch.setattr(pronunciation, "dictionary_entries", lambda: {})
    for word in ("bob", "supercalifragilistic", "x", "'", "rhythms"):
        (way,) = pronunciations(word)
        assert way
        assert set(way) <= set(PHONES)
