"""Scores of speakers as a report: figures of groups, intervals, a table, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from core.files import atomic_path
from training.lip_sync_score import LipSyncScore
from training.phone_scores import ClosureCount, PhoneScore

Score = TypeVar("Score", PhoneScore, LipSyncScore)

PHONE_FIGURES = (
    *("visemes", "visemes_exact", "closure_recall", "closure_precision", "loose_recall"),
    *("loose_precision", "silence_recall", "silence_precision", "jaw", "rounding", "lips"),
)
MOTION_FIGURES = (
    *("closure_recall", "closure_precision", "mean_recall", "mean_precision", "jaw", "rounding"),
    *("lips", "moving_in_silence", "lag_ms", "vowel_gap_mm", "jerk"),
)
FLATTERED = (
    "The mode transcript is flattered: where pocketsphinx is installed it has a say in the "
    "alignment, and it made the reference. The mode transcript-own goes without it."
)


@dataclass
class SpeakerScores:
    """What one speaker's clips scored: phones by mode, motion by the name of its column."""

    groups: tuple[str, ...]
    phones: dict[str, PhoneScore] = field(default_factory=dict)
    motion: dict[str, LipSyncScore] = field(default_factory=dict)


def merged(kind: type[Score], scores: Iterable[Score]) -> Score:
    """One score that holds the sums of many."""
    total = kind()
    for part in scores:
        for entry in fields(kind):
            value, more = getattr(total, entry.name), getattr(part, entry.name)
            if isinstance(value, ClosureCount):
                for count in fields(ClosureCount):
                    summed = getattr(value, count.name) + getattr(more, count.name)
                    setattr(value, count.name, summed)
            else:
                setattr(total, entry.name, value + more)
    return total


def report(results: dict[str, SpeakerScores], resamples: int = 300) -> dict[str, Any]:
    """Figures of every group, with intervals for all speakers together.

    Returns:
        {group: {"phones": {mode: {figure: value}}, "motion": {column: {figure: value}}}}, and under
        "intervals" the same for "all" with [low, high] in place of values. Figures pool what the
        speakers said; mean_recall and mean_precision give each speaker the same weight.
    """
    speakers = list(results.values())
    groups = sorted({group for speaker in speakers for group in speaker.groups})
    found: dict[str, Any] = {}
    for group in ("all", *groups):
        members = [s for s in speakers if group == "all" or group in s.groups]
        found[group] = {"speakers": len(members), **_figures(members)}
    rng = np.random.default_rng(0)
    draws = [
        _figures([speakers[i] for i in rng.integers(len(speakers), size=len(speakers))])
        for _ in range(resamples)
    ]
    found["intervals"] = _intervals(draws)
    return found


def table(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    groups = [name for name in found if name != "intervals"]
    lines = ["## Phones heard", "", _row(["mode", "group", "speakers", *PHONE_FIGURES])]
    lines.append(_row(["---"] * (3 + len(PHONE_FIGURES))))
    for mode in found["all"]["phones"]:
        for group in groups:
            if mode in found[group]["phones"]:
                values = found[group]["phones"][mode]
                numbers = [f"{values[k]:.3f}" for k in PHONE_FIGURES]
                lines.append(_row([mode, group, str(found[group]["speakers"]), *numbers]))
        spans = _spans(found["intervals"]["phones"][mode], PHONE_FIGURES)
        lines.append(_row([mode, "interval", "", *spans]))
    columns = list(found["all"]["motion"])
    if columns:
        lines += ["", "## Motion of the built-in head", ""]
        lines += [_row(["motion", "group", *MOTION_FIGURES])]
        lines.append(_row(["---"] * (2 + len(MOTION_FIGURES))))
    for column in columns:
        for group in groups:
            values = found[group]["motion"][column]
            lines.append(_row([column, group, *(f"{values[k]:.3f}" for k in MOTION_FIGURES)]))
        spans = _spans(found["intervals"]["motion"][column], MOTION_FIGURES)
        lines.append(_row([column, "interval", *spans]))
    if "transcript" in found["all"]["phones"]:
        lines += ["", FLATTERED]
    return "\n".join(lines)


def save_bars(found: dict[str, Any], path: Path) -> None:
    """Recall and precision of closures by mode and group, with their intervals, as a PNG."""
    columns = [name for name in found["all"]["motion"] if "finished" in name or "aligned" in name]
    figure = Figure(figsize=(11.0, 1.2 + 0.34 * len(columns)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(columns))[::-1]
    for axis, name in zip(axes, ("closure_recall", "closure_precision"), strict=True):
        values = np.array([found["all"]["motion"][column][name] for column in columns])
        spans = np.array([found["intervals"]["motion"][column][name] for column in columns])
        reach = np.abs(spans.T - values).clip(0)
        axis.barh(rows, values, xerr=reach, color="#7fa8c9", ecolor="#333333", height=0.7)
        for group, mark in (("women", "o"), ("men", "s"), ("TTS", "^")):
            if group in found:
                points = [found[group]["motion"][column][name] for column in columns]
                axis.plot(points, rows, mark, ms=4, label=group, color="#c0392b", mfc="none")
        axis.set_xlim(0.5, 1.0)
        axis.set_title(name.replace("_", " of p b m: "), fontsize=9)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(rows, columns, fontsize=7)
    axes[1].legend(fontsize=7, loc="lower left")
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as beside:
        figure.savefig(beside, format="png", dpi=110)


def _figures(speakers: Sequence[SpeakerScores]) -> dict[str, Any]:
    modes, columns = list(speakers[0].phones), list(speakers[0].motion)
    return {
        "phones": {
            mode: merged(PhoneScore, (s.phones[mode] for s in speakers)).summary() for mode in modes
        },
        "motion": {
            column: {
                **merged(LipSyncScore, (s.motion[column] for s in speakers)).summary(),
                **_means([s.motion[column].closures for s in speakers]),
            }
            for column in columns
        },
    }


def _means(counts: Sequence[ClosureCount]) -> dict[str, float]:
    """Recall and precision, every speaker with the same weight."""
    recalls = [count.recall for count in counts if count.wanted]
    precisions = [count.precision for count in counts if count.made]
    return {
        "mean_recall": float(np.mean(recalls)) if recalls else 0.0,
        "mean_precision": float(np.mean(precisions)) if precisions else 0.0,
    }


def _intervals(draws: Sequence[Any]) -> Any:
    if isinstance(draws[0], dict):
        return {key: _intervals([draw[key] for draw in draws]) for key in draws[0]}
    return [float(value) for value in np.percentile(draws, (2.5, 97.5))]


def _spans(intervals: dict[str, list[float]], figures: Sequence[str]) -> list[str]:
    return ["{:.3f}–{:.3f}".format(*intervals[figure]) for figure in figures]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
