"""Figures of what models do, as matplotlib figures that need no window.

Shapes: T frames, N points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from core.files import atomic_path

TRUTH = "#222222"
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#7d3c98", "#117864", "#a04000", "#5d6d7e")


def curves(
    title: str,
    unit: str,
    rows: Sequence[tuple[str, Mapping[str, np.ndarray]]],
    fps: float,
    *,
    truth: str = "truth",
) -> Figure:
    """Curves over time, a row of axes for each clip.

    Args:
        title: Above all.
        unit: Of the values.
        rows: Name of each row and its curves (T,) by name; the one called `truth` is drawn black.
        fps: Frames per second.
        truth: Name of the true curve.
    """
    figure = Figure(figsize=(9.0, 0.6 + 1.9 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for place, (axis, (name, lines)) in enumerate(zip(axes, rows, strict=True)):
        others = [line for line in lines if line != truth]
        for label, values in lines.items():
            colour = TRUTH if label == truth else COLOURS[others.index(label) % len(COLOURS)]
            width = 1.6 if label == truth else 1.1
            axis.plot(np.arange(len(values)) / fps, values, color=colour, lw=width, label=label)
        axis.set_ylabel(f"{name}\n{unit}", fontsize=8)
        axis.grid(alpha=0.25)
        if place == 0:
            figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", fontsize=8,
                          ncols=min(6, len(lines)))  # fmt: skip
    axes[-1].set_xlabel("s")
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def shaded_curves(
    title: str, unit: str, lines: Sequence[tuple[float, np.ndarray]], fps: float, label: str
) -> Figure:
    """Curves (T,) that go with a number, coloured from one end of a scale to the other."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    axis = figure.subplots()
    shade = _colours()
    least, most = min(n for n, _ in lines), max(n for n, _ in lines)
    for number, values in lines:
        place = (number - least) / max(most - least, 1e-9)
        axis.plot(np.arange(len(values)) / fps, values, color=shade(place), lw=1.2,
                  label=f"{label} {number:g}")  # fmt: skip
    axis.set(xlabel="s", ylabel=unit)
    axis.grid(alpha=0.25)
    figure.legend(loc="outside upper right", fontsize=8, ncols=min(6, len(lines)))
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def falls(
    title: str,
    size: str,
    panels: Sequence[tuple[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]],
) -> Figure:
    """How measures change with the size of what was done: a panel for each measure.

    Args:
        title: Above all.
        size: What the horizontal axis is.
        panels: Name of each, and pairs of curves (2, N) by name, the second drawn thin.
    """
    figure = Figure(figsize=(9.0, 1.0 + 2.4 * -(-len(panels) // 2)), layout="constrained")
    axes = figure.subplots(-(-len(panels) // 2), 2, squeeze=False).ravel()
    for axis, (name, lines) in zip(axes, panels, strict=False):  # the last axis may stay empty
        for place, (label, (own, other)) in enumerate(lines.items()):
            colour = COLOURS[place % len(COLOURS)]
            axis.plot(*own, color=colour, marker="o", ms=4, lw=1.5, label=label)
            axis.plot(*other, color=colour, marker="o", ms=2, lw=0.7, alpha=0.7)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel(size, fontsize=8)
        axis.grid(alpha=0.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", fontsize=8,
                  ncols=4)  # fmt: skip
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def maps(title: str, panels: Sequence[tuple[str, np.ndarray, Sequence[str]]]) -> Figure:
    """Points in the plane, coloured by what they are.

    Args:
        title: Above all.
        panels: Name, points (N, 2) and each point's group.
    """
    figure = Figure(figsize=(4.2 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, (name, points, groups) in zip(axes, panels, strict=True):
        names = sorted(set(groups))
        shade = _colours("turbo")
        for place, group in enumerate(names):
            chosen = points[[found == group for found in groups]]
            axis.scatter(chosen[:, 0], chosen[:, 1], s=9, alpha=0.85, label=group,
                         color=shade((place + 0.5) / len(names)))  # fmt: skip
        if len(names) <= 8:
            axis.legend(fontsize=7, markerscale=1.4)
        axis.set_title(name, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(title, fontsize=10)
    return figure


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG."""
    with atomic_path(path) as beside:
        figure.savefig(beside, format="png", dpi=110)
    return path


def _colours(name: str = "viridis") -> Any:
    import matplotlib

    return matplotlib.colormaps[name]
