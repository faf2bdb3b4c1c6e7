"""BEAT (Liu et al., ECCV 2022): 30 people, eight emotions, ARKit weights from a phone.

As published (English data v0.2.1): a folder a speaker with, for each recording NAME such as
`1_wayne_0_65_65`, NAME.json (51 ARKit weights, no tongueOut, 60 fps), NAME.wav (16 kHz), and
NAME.TextGrid (words and phones) and NAME.csv (emotions in time), where there are any.

A name is speaker number, speaker name, kind of recording (even: speech, odd: conversation; 0 and 1
English, then Chinese, Spanish, Japanese), first and last question. In speech the question says the
emotion; conversations are labelled neutral.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.audio import load_speech
from core.emotions import EMOTION_INDEX, EMOTIONS
from core.motion import ARKIT_CHANNELS, MotionClip
from core.motion_files import load_motion
from training.readers.interface import (
    TEST,
    TRAIN,
    UNKNOWN_EMOTION,
    VALID,
    Recording,
    Take,
    bad_source,
    check_folder,
    cut,
    read_lines,
    words_beside,
)

FOUR_HOUR_SPEAKERS = frozenset({1, 2, 3, 4, 6, 7, 8, 9, 11, 21})
"""The ten with the most speech; the other twenty have another split."""

_LAST_OF_EMOTION = (64, 72, 80, 86, 94, 102, 110, 118)
_FIRST_OF_EMOTION = (65, 73, 81, 87, 95, 103, 111)


class Name(NamedTuple):
    """What the name of a recording says."""

    speaker: int
    person: str
    kind: int
    first: int
    last: int

    @property
    def identity(self) -> str:
        """The speaker, as the folders are called by some and the files by all."""
        return f"{self.speaker}_{self.person}"

    @property
    def english(self) -> bool:
        """Whether the phones are ARPAbet."""
        return self.kind < 2


def parse_name(path: Path) -> Name:
    """The parts of a file's name."""
    match = re.fullmatch(r"(\d+)_([a-z]+)_([0-7])_(\d+)_(\d+)", path.stem)
    if match is None:
        raise bad_source(path, "expected a name such as 1_wayne_0_65_65")
    speaker, person, *numbers = match.groups()
    return Name(int(speaker), person, *map(int, numbers))


def emotion_of(name: Name) -> str:
    """The emotion by the question: 0-64 neutral, 65-72 happiness, … 111-118 disgust."""
    if name.kind % 2:
        return "neutral"
    return EMOTIONS[min(int(np.searchsorted(_LAST_OF_EMOTION, name.last)), len(EMOTIONS) - 1)]


def splits_of(name: Name) -> tuple[tuple[str, float, float], ...]:
    """The published split of a recording: (split, from, to) with times as shares of its length.

    Recordings that the published rule does not name have no split. One that spans several
    questions takes the strictest of their splits, so that nothing heard in training is tested.
    """
    several = {_split_of(name, question) for question in range(name.first, name.last + 1)}
    if several == {"halves"}:
        return ((TEST, 0.0, 0.5), (VALID, 0.5, 1.0))
    strictest = (TEST, "halves", VALID, TRAIN)
    chosen = next((split for split in strictest if split in several), "")
    return ((TEST if chosen == "halves" else chosen, 0.0, 1.0),) if chosen else ()


def _split_of(name: Name, question: int) -> str:
    plenty = name.speaker in FOUR_HOUR_SPEAKERS
    if name.kind % 2:
        if plenty:
            return TEST if question == 1 else VALID if question == 12 else TRAIN
        # 1_0_0 and 1_4_4 are speaker 29's only.
        return "halves" if question == 1 else TRAIN if question <= 4 else ""
    if question in _FIRST_OF_EMOTION:
        return TEST if plenty else "halves"
    if plenty:
        if question <= 8:
            return TEST
        return (
            VALID if question >= 57 and question in (*range(57, 65), *_LAST_OF_EMOTION) else TRAIN
        )
    if question <= 8:
        return TEST if question <= 4 else VALID
    second_of_emotion = tuple(first + 1 for first in _FIRST_OF_EMOTION)
    return TRAIN if question <= 16 or question in (*second_of_emotion, 118) else ""


def recordings(source: Path) -> list[Recording]:
    """The recordings of BEAT.

    Raises:
        IdiolectError: "bad_source".
    """
    check_folder(source)
    return list(_recordings(source))


def _recordings(source: Path) -> Iterator[Recording]:
    for path in sorted(source.rglob("*.json")):
        name = parse_name(path)
        if not path.with_suffix(".wav").exists():
            continue  # BEAT lacks the sound of a few recordings
        for split, start, end in splits_of(name):
            half = "" if end - start == 1 else "_a" if start == 0 else "_b"
            load = partial(_load, path, name, start, end)
            yield Recording(path.stem + half, name.identity, split, load)


def _load(path: Path, name: Name, start: float, end: float) -> Take:
    motion = load_motion(path)
    if unknown := set(motion.channels) - set(ARKIT_CHANNELS):
        raise bad_source(path, f"expected ARKit names, found {', '.join(sorted(unknown)[:5])}")
    phones, transcript = words_beside(path) if name.english else (None, "")
    take = Take(
        samples=load_speech(path.with_suffix(".wav")),
        motion=motion,
        phones=phones,
        transcript=transcript,
        emotion=_emotions(path.with_suffix(".csv"), name, motion),
    )
    length_s = len(motion.weights) / motion.fps
    return take if (start, end) == (0, 1) else cut(take, start * length_s, end * length_s)


def _emotions(path: Path, name: Name, motion: MotionClip) -> np.ndarray:
    """(T,) labels: by the file of emotions in time where there is one, else by the name."""
    frames = len(motion.weights)
    if not path.is_file():
        return np.full(frames, EMOTION_INDEX[emotion_of(name)], np.uint8)
    labels = np.full(frames, UNKNOWN_EMOTION, np.uint8)
    for line in read_lines(path):
        cells = [cell.strip() for cell in line.split(",")]
        try:
            start_s, end_s, label = float(cells[1]), float(cells[2]), int(float(cells[4]))
        except (ValueError, IndexError):
            label = -1
        if not 0 <= label < len(EMOTIONS):
            raise bad_source(path, f"expected name,start,end,duration,0-7; found {line!r}")
        labels[round(start_s * motion.fps) : round(end_s * motion.fps)] = label
    return labels
