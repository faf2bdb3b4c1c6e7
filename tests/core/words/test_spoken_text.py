"""Written English as spoken words."""

import pytest

from core.words.spoken_text import number_words, spoken_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Bob packed my five dozen liquor jugs.", "bob packed my five dozen liquor jugs"),
        ("Don’t “stop”, 'em!", "don't stop em"),
        ("Dr. Smith met Mr Jones etc.", "doctor smith met mister jones et cetera"),
        ("in 1987, not 1905 or 1900", "in nineteen eighty seven not nineteen oh five or nineteen "
         "hundred"),
        ("1,200,000 people", "one million two hundred thousand people"),
        ("the 3rd and the 20th", "the third and the twentieth"),
        ("$3.50, £1 & 50%", "three dollars fifty one pound and fifty percent"),
        ("agent 007 in the 80s", "agent zero zero seven in the eighties"),
        ("pi is 3.14", "pi is three point one four"),
        ("[laughs] café *sighs* yes", "cafe yes"),
        ("No. I said no.", "no i said no"),
        ("…!? —", ""),
    ],
)  # fmt: skip
def test_a_text_becomes_what_is_said(text, words):
    assert spoken_words(text) == words.split()


def test_numbers_up_to_twelve_digits_have_words():
    assert " ".join(number_words(999_999_999_999)).startswith("nine hundred ninety nine billion")
    assert number_words(0) == ["zero"]
    assert number_words(40) == ["forty"]
