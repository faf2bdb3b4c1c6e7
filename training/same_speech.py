"""Do content codes stay the same when somebody else says the same (PSE's own open check)?

Where several people say the same sentences, a sentence's codes should be near those of the same
sentence by others, and far from those of other sentences, whoever says them:

- found: among the clips of ONE other person, is the nearest the one that says the same?
- nearer: is the same sentence by another person nearer than another sentence by the same person?

The same is asked of the motion itself, since speech can be read off lips as they are: what an
encoder of content adds is what its codes do better.

Clips are compared by dynamic time warping, since nobody says a sentence twice in the same time.

Shapes: N clips, T frames, D numbers of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.animator import Animator
from training.code_report import content_codes
from training.codes import Finding
from training.corpus import Corpus
from training.metrics import dtw
from training.motion_phones import distance, said

SPLIT = "same-speech"
"""Where a corpus keeps such clips (`training.synthesis.study_corpus`)."""
_ALIKE = 0.2
"""Phones of the same words, aligned twice, differ by less than this share."""


class AcrossPeople(NamedTuple):
    """How clips lie to each other.

    Attributes:
        found: The same speech found among the clips of another person.
        nearer: Same speech by another person nearer than other speech by the same person.
        same_speech: Mean distance between people who say the same.
        same_person: Mean distance between different speech by the same person.
    """

    found: Finding
    nearer: Finding
    same_speech: float
    same_person: float


def across_people(
    clips: Sequence[np.ndarray], speech: Sequence[int], people: Sequence[str]
) -> AcrossPeople:
    """Compare clips.

    Args:
        clips: N sequences (T, D).
        speech: Which speech each is; −1 leaves a clip out.
        people: Who says it.
    """
    kept = [index for index, which in enumerate(speech) if which >= 0]
    which = np.array([speech[index] for index in kept])
    who = np.array([people[index] for index in kept])
    apart = np.zeros((len(kept), len(kept)))
    for first in range(len(kept)):
        for second in range(first + 1, len(kept)):
            cost = dtw(clips[kept[first]], clips[kept[second]])
            apart[first, second] = apart[second, first] = cost
    right, guessed, nearer = [], [], []
    same_speech, same_person = [], []
    for here in range(len(kept)):
        alike = np.flatnonzero((which == which[here]) & (who != who[here]))
        other = np.flatnonzero((which != which[here]) & (who == who[here]))
        same_speech += apart[here, alike].tolist()
        same_person += apart[here, other].tolist()
        nearer += (apart[here, alike][:, None] < apart[here, other][None]).ravel().tolist()
        for person in sorted(set(who[alike])):
            asked = np.flatnonzero(who == person)
            if len(set(which[asked])) > 1:
                right.append(which[asked[apart[here, asked].argmin()]] == which[here])
                guessed.append(np.mean(which[asked] == which[here]))
    return AcrossPeople(
        _finding(right, float(np.mean(guessed)) if guessed else math.nan),
        _finding(nearer, 0.5),
        float(np.mean(same_speech)) if same_speech else math.nan,
        float(np.mean(same_person)) if same_person else math.nan,
    )


def spoken_alike(corpus: Corpus, clips: Sequence[int]) -> list[int]:
    """Which speech each clip is, by its phones; −1 where they are not known."""
    examples: list[np.ndarray] = []
    found = []
    for index in clips:
        phones = said(corpus, index)
        place = -1
        if len(phones):
            near = (i for i, example in enumerate(examples) if _alike(phones, example))
            place = next(near, len(examples))
            if place == len(examples):
                examples.append(phones)
        found.append(place)
    return found


@torch.no_grad()
def content_across_people(
    animator: Animator, corpus: Corpus, clips: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Ask a model's content codes, and the motion itself.

    Returns:
        By what was asked: value, chance and count; nothing of a model without a content encoder,
        or where some clip says what nobody else does.
    """
    if animator.engine.model.content_encoder is None:
        return {}
    speech = spoken_alike(corpus, clips)
    people = [corpus.clips[index].identity for index in clips]
    speakers: dict[int, set[str]] = {}
    for which, person in zip(speech, people, strict=True):
        speakers.setdefault(which, set()).add(person)
    if -1 in speakers or any(len(said_by) < 2 for said_by in speakers.values()):
        return {}
    codes = [content_codes(animator, corpus, index) for index in clips]
    codes = [one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-9) for one in codes]
    motion = [corpus.clip_motion(index) for index in clips]
    told = {}
    for name, sequences in (("content codes", codes), ("motion itself", motion)):
        found = across_people(sequences, speech, people)
        for asked, finding in (("found", found.found), ("nearer", found.nearer)):
            told[f"{name}: {asked}"] = {
                "value": finding.value, "chance": finding.chance, "count": finding.count,
            }  # fmt: skip
        ratio = found.same_speech / found.same_person
        told[f"{name}: distance"] = {"value": ratio, "chance": 1.0, "count": finding.count}
    return told


def _alike(first: np.ndarray, second: np.ndarray) -> bool:
    most = _ALIKE * max(len(first), len(second))
    if abs(len(first) - len(second)) > most:
        return False
    counts = np.bincount(first, minlength=64) - np.bincount(second, minlength=64)
    # No two sequences are nearer than what has to be put in or taken out.
    if max(counts.clip(0).sum(), (-counts).clip(0).sum()) > most:
        return False
    return distance(first, second) <= most


def _finding(answers: Sequence[bool], chance: float) -> Finding:
    value = float(np.mean(answers)) if answers else math.nan
    return Finding(value, chance, len(answers))
