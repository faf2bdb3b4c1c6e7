"""Figures of an evaluation, as PNG files.

- lips.png: lip distance over time, the model's against the truth's;
- mixes.png: lip distance along mixes of two styles (Mimic, figure 5);
- codes.png: t-SNE of style codes by person and by emotion, and of content codes (figure 4);
- transition.png: lip distance and an emotion's channels while the emotion changes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.animator import Animator
from core.conditioning import EmotionTrack
from core.emotions import EMOTION_INDEX, EMOTIONS
from core.motion import ARKIT_CHANNELS
from training import plots
from training.code_report import CodeReport
from training.corpus import Corpus
from training.surfaces import Surface
from training.tsne import tsne

if TYPE_CHECKING:
    from training.evaluate import Evaluation

log = logging.getLogger(__name__)

_SHOWN = ("browInnerUp", "browDownLeft", "mouthSmileLeft", "mouthFrownLeft", "jawOpen")
_FROM, _TO = "sadness", "happiness"
_MAPPED = 16
"""People in a map: more colours cannot be told apart."""


def write_figures(
    folder: Path,
    animator: Animator,
    corpus: Corpus,
    evaluation: Evaluation,
    surface: Surface,
    report: CodeReport | None,
) -> list[Path]:
    """Write every figure that there is something to draw for; returns their paths."""
    written = []
    name = evaluation.name
    if evaluation.samples:
        rows = []
        for clip, truth, predicted in evaluation.samples:
            gaps = {"truth": truth, name: predicted}
            curves = {label: surface.lip_gap_mm(m).mean(axis=1) for label, m in gaps.items()}
            rows.append((clip[-24:], curves))
        figure = plots.curves("lips apart", "mm", rows, corpus.fps)
        written.append(plots.save_png(figure, folder / "lips.png"))
    if report is not None and report.mixed:
        figure = plots.shaded_curves(
            f"{name}: lips apart, from one style to another", "mm", report.mixed, corpus.fps, "mix"
        )
        written.append(plots.save_png(figure, folder / "mixes.png"))
    if report is not None and report.style is not None and len(report.people) > 3:
        written.append(plots.save_png(_maps(name, report), folder / "codes.png"))
    if animator.config.emotion.given and corpus.space == "arkit" and evaluation.samples:
        written.append(plots.save_png(_transition(animator, corpus), folder / "transition.png"))
    return written


def _maps(name: str, report: CodeReport) -> plots.Figure:
    """Where clips lie by their codes."""
    people = sorted(set(report.people))[:_MAPPED]
    kept = [index for index, person in enumerate(report.people) if person in people]
    who = [report.people[index] for index in kept]
    shown = [report.emotions[index] for index in kept]
    style_codes = np.asarray(report.style)[kept]
    style = tsne(style_codes)
    panels = [("style codes by person", style, who), ("style codes by emotion", style, shown)]
    if report.content is not None:
        content = tsne(report.content[kept])
        panels += [("content codes by person", content, who)]
    return plots.maps(f"{name}: t-SNE of codes", panels)


def _transition(animator: Animator, corpus: Corpus) -> plots.Figure:
    """One line whose emotion changes in its middle."""
    lines = [index for index, clip in enumerate(corpus.clips) if clip.split != "train"]
    clip = max(lines or range(len(corpus.clips)), key=lambda index: corpus.clips[index].samples)
    duration_s = corpus.clips[clip].samples / 16000
    middle = duration_s / 2
    rows = np.zeros((2, len(EMOTIONS)), np.float32)
    rows[0, EMOTION_INDEX[_FROM]] = rows[1, EMOTION_INDEX[_TO]] = 1.0
    track = EmotionTrack(rows, np.array([middle - 0.3, middle + 0.3]))
    motion = animator.animate(
        corpus.clip_samples(clip), emotion=track, fps=corpus.fps, finishing=None
    )
    weights = motion.select(ARKIT_CHANNELS)
    curves = {name: weights[:, ARKIT_CHANNELS.index(name)] for name in _SHOWN}
    title = f"{animator.name}: from {_FROM} to {_TO} at {middle:.1f} s"
    return plots.curves(title, "weight", [("", curves)], corpus.fps)
