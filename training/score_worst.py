"""The clips in which the lips go wrong most, drawn to be looked at frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from core.face.head import built_in_head
from core.face.lips import CLOSED_MM, lip_gap_mm
from core.face.mesh import FaceMesh
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import BILABIALS, PHONE_INDEX, SILENCE
from training.lip_sync_score import RATE_HZ, marks
from training.phone_scores import TOLERANCE_S, at_rest, runs, widen
from training.score_report import save_figure

if TYPE_CHECKING:
    from training.score import ClipScore

_MOST_FACES = 12
_WINDOW_M = 0.034
"""Half the width of what is drawn of a face, in metres."""


def draw_worst(clips: Sequence[ClipScore], count: int, folder: Path) -> str:
    """Draws the worst clips into worst_NN.png; returns a list of them in Markdown."""
    ranked = sorted(clips, key=lambda one: (-one.mistakes, one.clip.row["file"]))[:count]
    lines = ["", "## Worst clips", "", "| sheet | clip | mistakes | missed | wrong |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for number, one in enumerate(ranked, 1):
        missed, wrong = mistakes_of(one)
        save_figure(_sheet(one, missed, wrong), folder / f"worst_{number:02d}.png")
        times = [", ".join(f"{time:.2f}" for time in group) for group in (missed, wrong)]
        row = one.clip.row
        lines.append(
            f"| {number} | {row['file']} ({row.get('gender', '')}): {row['transcript']} | "
            f"{one.mistakes} | {times[0]} | {times[1]} |"
        )
    return "\n".join(lines)


def mistakes_of(one: ClipScore) -> tuple[list[float], list[float]]:
    """Times in seconds of closures that were missed, and of closures that nobody said."""
    gap = _gap(one.motion)
    closed = gap <= CLOSED_MM
    wanted = marks(one.clip.segments, BILABIALS, len(gap))
    silent = marks(one.clip.segments, (SILENCE,), len(gap))
    margin = round(TOLERANCE_S * RATE_HZ)
    reached, nearby = widen(closed, margin), widen(wanted, margin) | at_rest(silent, margin)
    missed = [(a + b) / 2 / RATE_HZ for a, b in runs(wanted) if not reached[a:b].any()]
    wrong = [(a + b) / 2 / RATE_HZ for a, b in runs(closed) if not nearby[a:b].all()]
    return missed, wrong


def _gap(motion: MotionClip) -> np.ndarray:
    """(T,) widest lip gap in mm at 100 Hz."""
    gap = lip_gap_mm(motion.select(ARKIT_CHANNELS)).max(axis=1)
    frames = np.arange(len(gap)) / motion.fps
    return np.interp(np.arange(int(frames[-1] * RATE_HZ) + 1) / RATE_HZ, frames, gap)


def _sheet(one: ClipScore, missed: list[float], wrong: list[float]) -> Figure:
    figure = Figure(figsize=(15.0, 8.0), layout="constrained")
    grid = figure.add_gridspec(4, _MOST_FACES, height_ratios=(1.1, 1.3, 0.7, 1.2))
    sound, lips, belief = (figure.add_subplot(grid[row, :]) for row in range(3))
    seconds = len(one.clip.samples) / 16000
    sound.specgram(one.clip.samples + 1e-6, NFFT=400, noverlap=240, Fs=16000, cmap="Greys")
    for phone, start_s, end_s in one.clip.segments:
        if phone != SILENCE:
            bold = phone in BILABIALS
            sound.text((start_s + end_s) / 2, 8100, phone, fontsize=7 if bold else 5,
                       ha="center", color="#c0392b" if bold else "#333333")  # fmt: skip
    for curve, colour, label in (
        (one.reference, "#999999", "procedural, aligned phones"),
        (one.motion, "#2471a3", "model"),
    ):
        gap = _gap(curve)
        lips.plot(np.arange(len(gap)) / RATE_HZ, gap, color=colour, lw=1.2, label=label)
    lips.axhline(CLOSED_MM, color="#bbbbbb", lw=0.7)
    for phone, start_s, end_s in one.clip.segments:
        if phone in BILABIALS:
            lips.axvspan(start_s, end_s, color="#1e8449", alpha=0.2)
    lips.plot(missed, [CLOSED_MM] * len(missed), "v", color="#c0392b", label="missed")
    lips.plot(wrong, [CLOSED_MM] * len(wrong), "^", color="#e67e22", label="wrong")
    lips.set_ylabel("lip gap, mm")
    lips.legend(fontsize=7, ncols=4, loc="upper right")
    times = np.arange(len(one.posteriors)) / 50
    for phones, name, colour in ((BILABIALS, "p b m", "#1e8449"), ((SILENCE,), "SIL", "#999999")):
        columns = [PHONE_INDEX[phone] for phone in phones]
        belief.plot(times, one.posteriors[:, columns].sum(axis=1), color=colour, label=name, lw=1)
    belief.set_ylabel("heard")
    belief.legend(fontsize=7, ncols=2, loc="upper right")
    for axis in (sound, lips, belief):
        axis.set_xlim(0, seconds)
    looked_at = sorted([(t, "missed") for t in missed] + [(t, "wrong") for t in wrong])
    for place in range(_MOST_FACES):
        axis = figure.add_subplot(grid[3, place])
        axis.axis("off")
        if place < len(looked_at):
            time, kind = looked_at[place]
            frame = min(round(time * one.motion.fps), len(one.motion.weights) - 1)
            _draw_mouth(axis, built_in_head(), one.motion.select(ARKIT_CHANNELS)[frame])
            axis.set_title(f"{kind} {time:.2f} s", fontsize=7)
    row = one.clip.row
    figure.suptitle(f"{row['file']}: {row['transcript']}", fontsize=9)
    return figure


def _draw_mouth(axis: Axes, head: FaceMesh, weights: np.ndarray) -> None:
    """The region of the mouth from the front, lit from above."""
    points = head.vertices + np.tensordot(weights, head.offsets(ARKIT_CHANNELS), axes=1)
    centre = points[head.inner_lip_pairs.ravel()].mean(axis=0)
    quads = np.where(head.faces < 0, head.faces[:, :1], head.faces)
    corners = points[quads]  # (F, 4, 3)
    middle = corners.mean(axis=1)
    near = (np.abs(middle - centre)[:, :2] < _WINDOW_M).all(axis=1) & (middle[:, 2] > -0.02)
    corners, middle = corners[near], middle[near]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    front = normals[:, 2] > 0
    order = np.flatnonzero(front)[np.argsort(middle[front, 2])]
    light = (normals[order] @ np.array([0.2, 0.5, 0.84])).clip(0.15, 1)
    colours = np.array([material.rgba[:3] for material in head.materials])
    base = colours[head.material_index[near][order]] ** (1 / 2.2)
    axis.add_collection(
        PolyCollection(corners[order][:, :, :2], facecolors=(base * light[:, None]).clip(0, 1),
                       edgecolors="none", antialiased=False)
    )  # fmt: skip
    axis.set_xlim(centre[0] - _WINDOW_M, centre[0] + _WINDOW_M)
    axis.set_ylim(centre[1] - _WINDOW_M, centre[1] + _WINDOW_M)
    axis.set_aspect("equal")
