"""Evaluations as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from training.motion_score import MEASURES

GROUP_MEASURES = ("lve_mm", "fve_m2", "ldd_m2", "fdd_m2", "closure_recall", "closure_precision")
"""What is told of each identity and each emotion; the JSON has everything."""
MOST_ROWS = 40


class Evaluated(Protocol):
    """What `training.evaluate` finds out about a model."""

    name: str
    parameters: int
    everything: dict[str, float]
    identities: dict[str, dict[str, float]]
    emotions: dict[str, dict[str, float]]
    seconds_per_second: float
    without_reference: int
    codes: dict[str, dict[str, float]]


def markdown(evaluations: Sequence[Evaluated], corpus: str, split: str) -> str:
    """Tables of one or several models on one split: all, then by identity and by emotion.

    The column "truth" is what the captured motion itself gets where that can be said: the best that
    a model can do.
    """
    first = evaluations[0]
    everything = first.everything
    lines = [
        f"# {corpus}, {split}",
        "",
        f"{everything['clips']:.0f} clips, {everything['seconds'] / 60:.1f} min, "
        f"{len(first.identities)} identities"
        + (f"; {first.without_reference} without a reference" if first.without_reference else "")
        + ".",
        "",
    ]
    names = _unique([evaluation.name for evaluation in evaluations])
    rows = []
    for key, measure in MEASURES.items():
        arrow = {"low": " ↓", "high": " ↑"}.get(measure.better, "")
        unit = f" ({measure.unit})" if measure.unit else ""
        values = [evaluation.everything[key] for evaluation in evaluations]
        cells = [_cell(value, measure.scale) for value in values]
        truth = everything.get(f"true_{key}", math.nan)
        rows.append([f"{measure.label}{unit}{arrow}", *cells, _cell(truth, measure.scale)])
    times = [_cell(evaluation.seconds_per_second) for evaluation in evaluations]
    sizes = [f"{evaluation.parameters / 1e6:.1f}" for evaluation in evaluations]
    rows.append(["time per second of speech (s)", *times, "–"])
    rows.append(["parameters (10⁶)", *sizes, "–"])
    lines += table(["", *names, "truth"], rows)
    lines += _codes_table(names, evaluations)
    for title in ("identities", "emotions"):
        for name, evaluation in zip(names, evaluations, strict=True):
            groups: dict[str, dict[str, float]] = getattr(evaluation, title)
            if len(groups) > 1:
                lines += ["", f"## {title.capitalize()}: {name}", "", *_group_table(groups)]
    return "\n".join(lines) + "\n"


def _codes_table(names: Sequence[str], evaluations: Sequence[Evaluated]) -> list[str]:
    """What codes hold, beside what guessing gets."""
    asked = list(dict.fromkeys(key for found in evaluations for key in found.codes))
    if not asked:
        return []
    rows = []
    for key in asked:
        cells = []
        for evaluation in evaluations:
            found = evaluation.codes.get(key)
            if found is None:
                cells.append("–")
            elif math.isnan(found["chance"]):
                cells.append(_cell(found["value"]))
            else:
                cells.append(f"{_cell(found['value'])} ({_cell(found['chance'])})")
        rows.append([key, *cells])
    return ["", "## What codes hold", "", *table(["found (by guessing)", *names], rows)]


def _group_table(groups: dict[str, dict[str, float]]) -> list[str]:
    header = ["", "clips"]
    for key in GROUP_MEASURES:
        unit = f" ({MEASURES[key].unit})" if MEASURES[key].unit else ""
        header.append(MEASURES[key].label + unit)
    rows = [
        [name, f"{found['clips']:.0f}"]
        + [_cell(found[key], MEASURES[key].scale) for key in GROUP_MEASURES]
        for name, found in list(groups.items())[:MOST_ROWS]
    ]
    rest = len(groups) - MOST_ROWS
    return table(header, rows) + (["", f"… and {rest} more."] if rest > 0 else [])


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are numbers."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]


def _cell(value: float, scale: float = 1.0) -> str:
    return f"{value * scale:.3g}" if math.isfinite(value) else "–"


def _unique(names: list[str]) -> list[str]:
    """Names, numbered where several models have the same."""
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]
