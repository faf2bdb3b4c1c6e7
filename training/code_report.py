"""What a model's codes hold, measured on a corpus (`training.codes` has the measures).

Of the clips of a split, with what is learnt by probes taken from the training split:
identity retrieved from style codes, identity read from content codes, emotion read from style
codes, phones predicted in time, and whether the mouth's amplitude rises along mixes of two styles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from core.animator import Animator
from core.emotions import EMOTIONS
from core.model.style import IdentityStyles
from core.motion import MotionClip, resample
from training.batches import main_emotion
from training.codes import MIXES, Finding, moments, probe, retrieval, rises
from training.corpus import UNKNOWN_EMOTION, Corpus
from training.durations import duration_error
from training.surfaces import Surface

PROBED = 480
"""Training clips that probes learn from, at most."""
PAIRS = 6
"""Pairs of people between whom styles are mixed."""


@dataclass
class CodeReport:
    """What was found, and what figures of it are drawn from.

    Attributes:
        findings: Value and chance by what was asked.
        style: Style codes (N, d_s) of the split's clips.
        content: Moments of the content codes over each clip, (N, 2 d_c + d_c (d_c − 1) / 2), the
            means first; None without a content encoder.
        people: Who performs each.
        emotions: What each shows.
        mixed: Lip distance (T,) mm of one line at each of `MIXES`, for the pair furthest apart.
    """

    findings: dict[str, dict[str, float]] = field(default_factory=dict)
    style: np.ndarray | None = None
    content: np.ndarray | None = None
    people: list[str] = field(default_factory=list)
    emotions: list[str] = field(default_factory=list)
    mixed: list[tuple[float, np.ndarray]] = field(default_factory=list)

    def add(self, name: str, finding: Finding) -> None:
        """Note a finding, if there is one."""
        if finding.count and math.isfinite(finding.value):
            self.findings[name] = {
                "value": finding.value, "chance": finding.chance, "count": finding.count
            }  # fmt: skip


@torch.no_grad()
def code_report(
    animator: Animator, corpus: Corpus, clips: Sequence[int], surface: Surface
) -> CodeReport:
    """Measure what a model's codes hold.

    Args:
        animator: The model; one that knows styles by identity has no codes to ask.
        corpus: The corpus.
        clips: The clips of the split.
        surface: The face on which the mouth is measured.
    """
    report = CodeReport()
    report.people = [corpus.clips[index].identity for index in clips]
    report.emotions = [_emotion_name(corpus, index) for index in clips]
    learnt = [index for index, clip in enumerate(corpus.clips) if clip.split == "train"]
    every = max(1, -(-len(learnt) // PROBED))
    learnt = [index for index in learnt[::every] if index not in set(clips)]
    if not isinstance(animator.engine.model.style_encoder, IdentityStyles):
        report.style = np.stack([style_code(animator, corpus, index) for index in clips])
        report.add("person retrieved from style codes", retrieval(report.style, report.people))
        if len(set(report.emotions)) > 1 and learnt:
            known = np.stack([style_code(animator, corpus, index) for index in learnt])
            shown = [_emotion_name(corpus, index) for index in learnt]
            with torch.enable_grad():
                found = probe(known, shown, report.style, report.emotions)
            report.add("emotion read from style codes", found)
        _mix(report, animator, corpus, clips, surface)
    if animator.engine.model.content_encoder is not None:
        report.content = np.stack([moments(content_codes(animator, corpus, i)) for i in clips])
        means = report.content[:, : animator.config.content.code]
        # A probe of the same people: half of each one's clips to learn from, half to be told.
        halves = _halves(report.people)
        if all(halves):
            asked = {
                "person read from content codes": means,
                "person read from moments of content codes": report.content,
                "person read from style codes": report.style,
            }
            names = [[report.people[index] for index in half] for half in halves]
            for name, codes in asked.items():
                if codes is not None:
                    with torch.enable_grad():
                        found = probe(codes[halves[0]], names[0], codes[halves[1]], names[1])
                    report.add(name, found)
    if (durations := duration_error(animator, corpus, clips)) is not None:
        finding = Finding(durations.error_ms, durations.guess_ms, durations.phones)
        report.add("error of phone durations (ms)", finding)
    return report


def style_code(animator: Animator, corpus: Corpus, clip: int) -> np.ndarray:
    """The style code (d_s,) of a clip."""
    motion = MotionClip(corpus.clip_motion(clip), corpus.channels, corpus.fps, corpus.space)
    return animator.style_from_motion(motion)


def content_codes(animator: Animator, corpus: Corpus, clip: int) -> np.ndarray:
    """The content codes (T, d_c) of a clip at the model's frame rate."""
    motion = MotionClip(corpus.clip_motion(clip), corpus.channels, corpus.fps, corpus.space)
    given = torch.from_numpy(resample(motion, animator.fps).weights)[None].to(animator.device)
    mask = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
    codes: Tensor = animator.engine.model.encode_content(given, mask)
    return codes[0].float().cpu().numpy()


def _mix(
    report: CodeReport, animator: Animator, corpus: Corpus, clips: Sequence[int], surface: Surface
) -> None:
    """Lips along mixes of styles: of those who open most and those who open least."""
    if report.style is None:
        return
    people = sorted(set(report.people))
    opened = {}
    for person in people:
        own = [i for i, who in zip(clips, report.people, strict=True) if who == person]
        opened[person] = float(
            np.mean([surface.lip_gap_mm(corpus.clip_motion(i)).mean(1).std() for i in own])
        )
    order = sorted(people, key=opened.__getitem__)
    pairs = min(PAIRS, len(order) // 2)
    codes = {
        person: report.style[[who == person for who in report.people]].mean(0) for person in people
    }
    samples = corpus.clip_samples(max(clips, key=lambda index: corpus.clips[index].samples))
    right = 0
    for place in range(pairs):
        least, most = codes[order[place]], codes[order[-1 - place]]
        curves = []
        for mix in MIXES:
            style = (1.0 - mix) * least + mix * most
            motion = animator.animate(samples, style=style, fps=corpus.fps, finishing=None)
            weights = motion.select(corpus.channels) if corpus.space == "arkit" else motion.weights
            curves.append(surface.lip_gap_mm(weights).mean(axis=1))
        right += rises([float(curve.std()) for curve in curves])
        if place == 0:
            report.mixed = list(zip(MIXES, curves, strict=True))
    if pairs:
        finding = Finding(right / pairs, math.nan, pairs)
        report.add("pairs whose mixes open the lips monotonically", finding)


def _halves(people: Sequence[str]) -> tuple[list[int], list[int]]:
    """Every other clip of each person."""
    seen: dict[str, int] = {}
    halves: tuple[list[int], list[int]] = ([], [])
    for index, person in enumerate(people):
        seen[person] = seen.get(person, 0) + 1
        halves[(seen[person] - 1) % 2].append(index)
    return halves


def _emotion_name(corpus: Corpus, clip: int) -> str:
    emotion = main_emotion(corpus, clip)
    return "unknown" if emotion == UNKNOWN_EMOTION else EMOTIONS[emotion]
