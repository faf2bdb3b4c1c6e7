"""Text, synthesisers, labels: the speech that the backbone learns from."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from core.audio import load_speech
from core.errors import IdiolectError
from core.phones import BILABIALS, PHONE_INDEX, PHONES, SILENCE
from training.synthesis.phone_sets import phone_of_festival, phones_of_ipa
from training.synthesis.text import sentences
from training.synthesis.tts import Espeak, Festival, Flite, Utterance, move_closures

pytest.importorskip("pocketsphinx")

from core.words.sphinx import Aligner, plain_words
from training.synthesis.alignment import (
    IGNORED,
    Recogniser,
    Segment,
    dictionary_words,
    labels_from,
)

SENTENCE = "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"


def espeak() -> Espeak:
    try:
        return Espeak()
    except IdiolectError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize(
    ("symbols", "phones"),
    [
        ("p", ["P"]),
        ("tʃ", ["CH"]),
        ("ɔːɹ", ["AO", "R"]),
        ("juː", ["Y", "UW"]),
        ("aɪɚ", ["AY", "ER"]),
        ("ts", ["T", "S"]),
        ("", [SILENCE]),
        ("ʔ", []),
    ],
)
def test_ipa(symbols: str, phones: list[str]) -> None:
    assert phones_of_ipa(symbols) == phones


def test_festival_names() -> None:
    assert phone_of_festival("pau") == SILENCE
    assert phone_of_festival("ax") == "AH"
    assert phone_of_festival("dx") == "D"
    assert phone_of_festival("m") == "M"
    assert phone_of_festival("xyz") is None


def test_sentences_are_repeatable_different_and_rich() -> None:
    words = ["amphibian", "zeppelin", "o'clock", "ox"]
    first = list(itertools.islice(sentences(7, words), 300))
    assert first == list(itertools.islice(sentences(7, words), 300))
    assert first != list(itertools.islice(sentences(8, words), 300))
    assert len(set(first)) > 290
    text = " ".join(first)
    assert "amphibian" in text
    assert "o'clock" not in text  # only plain words are said the same by every engine
    assert "_" not in text
    letters = Counter(character for character in text.lower() if character.isalpha())
    assert sum(letters[c] for c in "pbm") / letters.total() > 0.08


def test_labels_cover_what_segments_say() -> None:
    segments = [Segment("B", 0.10, 0.15), Segment("AA", 0.15, 0.30), Segment("T", 0.30, 0.301)]
    labels = labels_from(segments, 40, doubtful=[(0.2, 0.25)])
    names = ["" if label == IGNORED else PHONES[label] for label in labels]
    assert names[9:16] == [SILENCE, *["B"] * 5, "AA"]
    assert names[19:26] == ["AA", *[""] * 5, "AA"]
    assert names[29:32] == ["AA", "T", SILENCE]  # however short, a phone is seen
    assert len(labels) == 40


def test_closure_is_moved_to_where_its_silence_begins() -> None:
    rate_hz = 16000
    time = np.arange(rate_hz) / rate_hz
    sound = 0.3 * np.sin(2 * np.pi * 200 * time)
    sound[round(0.42 * rate_hz) : round(0.50 * rate_hz)] = 0
    at_burst = [Segment("AA", 0.1, 0.5), Segment("P", 0.5, 0.54), Segment("AA", 0.54, 1.0)]
    moved = move_closures(sound, rate_hz, at_burst)
    assert moved[1].start_s == pytest.approx(0.42, abs=0.006)
    assert moved[0].end_s == moved[1].start_s
    assert moved[2] == at_burst[2]
    # No stop, no silence before it, or a pause before it: nothing moves.
    nasal = [at_burst[0], Segment("M", 0.5, 0.54)]
    assert move_closures(sound, rate_hz, nasal) == nasal
    loud = [Segment("AA", 0.6, 0.8), Segment("P", 0.8, 0.9)]
    assert move_closures(sound, rate_hz, loud) == loud
    pause = [Segment(SILENCE, 0.1, 0.5), Segment("P", 0.5, 0.54)]
    assert move_closures(sound, rate_hz, pause) == pause


def check_utterance(said: Utterance, quieter: float) -> None:
    """Segments are in order and known, and lips are closed where it is quiet."""
    starts = [segment.start_s for segment in said.segments]
    assert starts == sorted(starts)
    assert all(segment.phone in PHONE_INDEX for segment in said.segments)
    assert all(segment.end_s > segment.start_s for segment in said.segments)
    heard = [segment.phone for segment in said.segments if segment.phone != SILENCE]
    assert heard[:3] in (["B", "AA", "B"], ["B", "AO", "B"])
    assert said.segments[-1].end_s <= len(said.samples) / said.rate_hz + 0.05

    def level(phones: tuple[str, ...]) -> float:
        parts = [
            said.samples[round(s.start_s * said.rate_hz) : round(s.end_s * said.rate_hz)]
            for s in said.segments
            if s.phone in phones
        ]
        return float(np.sqrt(np.square(np.concatenate(parts)).mean()))

    assert level(("P", "B")) < quieter * level(("AA", "AY", "AH", "UW", "AO"))


def test_espeak_gives_times_of_phones() -> None:
    engine = espeak()
    check_utterance(engine.speak(SENTENCE, "en-us+m3"), quieter=0.5)
    with pytest.raises(IdiolectError, match="no voice xx-nowhere"):
        engine.speak("hello", "xx-nowhere")
    assert engine.pronounce("mimic") == ["M", "IH", "M", "IH", "K"]
    first = engine.speak_randomly(SENTENCE, random.Random(1))
    assert first.voice == engine.speak_randomly(SENTENCE, random.Random(1)).voice
    assert first.voice != engine.speak_randomly(SENTENCE, random.Random(2)).voice


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flite_gives_times_of_phones() -> None:
    check_utterance(Flite().speak_randomly(SENTENCE, random.Random(0)), quieter=0.6)


@pytest.mark.skipif(not shutil.which("festival"), reason="festival is not installed")
def test_festival_gives_times_of_phones() -> None:
    spoken = Festival().speak_all([SENTENCE, 'A "quoted" \\ word.'], random.Random(0))
    assert len(spoken) == 2
    check_utterance(spoken[0], quieter=0.6)


def test_words_of_a_text() -> None:
    assert plain_words("Don't stop — “Bob’s” O'Neil, 'twas!") == [
        "don't", "stop", "bob's", "o'neil", "twas",
    ]  # fmt: skip
    assert {"bob", "packed", "beautiful"} <= dictionary_words()


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_alignment_agrees_with_exact_times() -> None:
    """Closures found by alignment lie where the synthesiser made them."""
    said = Flite().speak_randomly(SENTENCE, random.Random(0))
    found = Aligner().align(said.samples, SENTENCE)
    assert found is not None
    exact = [s.start_s for s in said.segments if s.phone in BILABIALS]
    aligned = [s.start_s for s in found if s.phone in BILABIALS]
    assert len(aligned) == len(exact) == 6
    assert np.median(np.abs(np.subtract(aligned, exact))) < 0.02


def test_alignment_of_the_bundled_clip(speech_file: Path) -> None:
    samples = load_speech(speech_file)
    segments = Aligner().align(samples, SENTENCE)
    assert segments is not None
    heard = [segment.phone for segment in segments if segment.phone != SILENCE]
    assert heard[:7] == ["B", "AA", "B", "P", "AE", "K", "T"]
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(segments))


def test_words_that_nobody_knows_are_not_aligned_unless_pronounced(speech_file: Path) -> None:
    samples = load_speech(speech_file)
    text = SENTENCE.replace("Bob", "Bobqux")
    assert Aligner().align(samples, text) is None
    assert Aligner().align(samples, "...") is None
    segments = Aligner(lambda word: ("B", "AA", "B")).align(samples, text)
    assert segments is not None
    assert [s.phone for s in segments if s.phone != SILENCE][:3] == ["B", "AA", "B"]


def test_recogniser_hears_words_and_says_where_it_doubts(speech_file: Path) -> None:
    samples = load_speech(speech_file)
    sure, unsure = Recogniser(confident=0.0), Recogniser(confident=1.01)
    heard = sure.align(samples)
    assert heard is not None
    assert len(set(plain_words(heard.text)) & set(plain_words(SENTENCE))) >= 4
    assert heard.doubtful == []
    doubting = unsure.align(samples)
    assert doubting is not None
    assert len(doubting.doubtful) == len(doubting.text.split())
    assert unsure.align(np.zeros(8000, np.float32)) is None
