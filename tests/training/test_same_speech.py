"""The same speech by several people: found where codes hold what is said, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.motion import ARKIT_CHANNELS
from training.corpus import Corpus, CorpusWriter
from training.same_speech import across_people, spoken_alike

PEOPLE, SENTENCES = 4, 5
WHO = [f"p{n // SENTENCES}" for n in range(PEOPLE * SENTENCES)]
SPEECH = [n % SENTENCES for n in range(PEOPLE * SENTENCES)]


def walks(of: list[int]) -> list[np.ndarray]:
    """A walk (T, 3) for each clip, the same for equal numbers, in a time of its own."""
    made = []
    for place, number in enumerate(of):
        steps = np.random.default_rng(number).standard_normal((30, 3)).cumsum(axis=0)
        at = np.linspace(0, 29, 26 + place % 7)  # nobody speaks at the same speed twice
        made.append(np.stack([np.interp(at, np.arange(30), column) for column in steps.T], axis=1))
    return made


def test_codes_of_what_is_said_are_found_with_others() -> None:
    found = across_people(walks(SPEECH), SPEECH, WHO)
    assert found.found.value == 1.0 and found.found.chance == pytest.approx(1 / SENTENCES)
    assert found.found.count == PEOPLE * SENTENCES * (PEOPLE - 1)
    assert found.nearer.value == 1.0 and found.same_speech < 0.3 * found.same_person


def test_codes_of_who_speaks_are_not() -> None:
    people = [int(name[1:]) for name in WHO]
    found = across_people(walks(people), SPEECH, WHO)
    assert found.nearer.value < 0.05 and found.same_speech > 3 * found.same_person
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((30, 3)) for _ in WHO]
    blind = across_people(noise, SPEECH, WHO)
    assert abs(blind.found.value - 1 / SENTENCES) < 0.2 and 0.3 < blind.nearer.value < 0.7


def test_who_speaks_alone_is_not_asked() -> None:
    found = across_people(walks([0, 1, 2]), [0, 1, -1], ["a", "a", "b"])
    assert found.found.count == found.nearer.count == 0


def test_the_same_speech_is_known_by_its_phones(tmp_path: Path) -> None:
    words = {"one": [3, 5, 9, 12, 7], "two": [8, 3, 20, 22, 6]}
    said = [words["one"], words["two"], [*words["one"][:4], 7, 7], [255], words["two"]]
    with CorpusWriter(tmp_path, ARKIT_CHANNELS, 25.0, "arkit") as writer:
        for number, phones in enumerate(said):
            # Each phone lasts as long as it likes, with a pause before.
            labels = np.concatenate([[0], np.repeat(phones, 2 + number)])
            motion = np.zeros((len(labels), 52))
            writer.add(f"{number}", "ada", "test", np.zeros(640), motion, labels)
    assert spoken_alike(Corpus(tmp_path), range(5)) == [0, 1, 0, -1, 1]
