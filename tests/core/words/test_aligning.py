"""Texts laid onto what was heard, on posteriors made from known phones."""

import numpy as np
import pytest

from core.phones import PHONE_INDEX, PHONES
from core.words.aligning import align

BOB = ("bob", [("B", "AA", "B")])
PACKED = ("packed", [("P", "AE", "K", "T")])
SEE = ("see", [("S", "IY")])


def heard(*spans, noise=0.3, seed=0):
    """Posteriors of (phone, frames) spans with some doubt."""
    rng = np.random.default_rng(seed)
    phones = [PHONE_INDEX[phone] for phone, frames in spans for _ in range(frames)]
    posteriors = rng.dirichlet(np.full(len(PHONES), 0.05), size=len(phones)) * noise
    posteriors[np.arange(len(phones)), phones] += 1 - noise
    return posteriors.astype(np.float32)


def names(path):
    return ["-" if phone < 0 else PHONES[phone] for phone in path.phones]


BOB_PACKED = (
    *(("SIL", 10), ("B", 4), ("AA", 7), ("B", 3), ("SIL", 6)),
    *(("P", 5), ("AE", 6), ("K", 3), ("T", 3), ("SIL", 9)),
)


def test_every_phone_is_found_where_it_was_said():
    path = align(heard(*BOB_PACKED), [BOB, PACKED])
    expected = [phone for phone, frames in BOB_PACKED for _ in range(frames)]
    assert names(path) == expected
    assert [(w.word, w.first, w.last) for w in path.words] == [("bob", 10, 24), ("packed", 30, 47)]
    assert all(word.fit > -0.2 for word in path.words)


def test_what_was_heard_chooses_between_pronunciations():
    ways = ("tomato", [("T", "AH", "M", "EY"), ("T", "AH", "M", "AA")])
    path = align(heard(("T", 4), ("AH", 4), ("M", 4), ("AA", 6)), [ways])
    assert names(path)[-1] == "AA"


def test_sounds_that_the_text_lacks_are_left_to_the_backbone():
    extra = (("SIL", 5), ("M", 12), ("SIL", 5), *BOB_PACKED)
    path = align(heard(*extra), [BOB, PACKED])
    assert set(names(path)[6:16]) == {"-"}
    assert path.words[0].first == 32


def test_a_wrong_text_fits_badly():
    right = align(heard(*BOB_PACKED), [BOB, PACKED])
    wrong = align(heard(*BOB_PACKED), [SEE, SEE, SEE])
    assert right.ratio.mean() > -0.1
    assert wrong.ratio.mean() < -0.5


@pytest.mark.parametrize("words", [[], [PACKED] * 20])
def test_nothing_to_lay_or_more_than_there_is_time_for(words):
    assert align(heard(("SIL", 20)), words) is None


def test_the_work_can_be_given_up():
    assert align(heard(*BOB_PACKED), [BOB], stop=lambda: True) is None


def test_long_speech_is_laid_block_by_block_with_the_same_result():
    count = 260  # over 13 000 frames: several blocks
    spans = BOB_PACKED * count
    path = align(heard(*spans), [BOB, PACKED] * count)
    expected = [phone for phone, frames in spans for _ in range(frames)]
    assert names(path) == expected
    assert len(path.words) == 2 * count
