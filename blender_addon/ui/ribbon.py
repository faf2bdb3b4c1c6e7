"""What the panel's character says and feels, along the bottom of timeline, dope sheet, sequencer.

The speech as a waveform of its loudness, once it has been animated; the emotions as bands of colour
over it, as high as they are strong, one upon the other. Drawn, and not markers: markers belong to
the artist, and a band shows how long a change takes. In the sequencer the speech's strip also shows
its own waveform.

Shapes: P columns of pixels, E = 8 emotions.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import blf
import bpy
import gpu
import numpy as np
import numpy.typing as npt

from .. import properties
from ..animation import applying, raw_motion, tracks
from ..properties import character_of, transitions
from ..sequencer.clock import Clock, frame_rate
from ..worker.protocol import WorkerError

COLOURS = {
    "neutral": (0.5, 0.5, 0.5),
    "happiness": (0.98, 0.8, 0.18),
    "anger": (0.9, 0.22, 0.15),
    "sadness": (0.25, 0.47, 0.86),
    "contempt": (0.6, 0.45, 0.75),
    "surprise": (1.0, 0.55, 0.15),
    "fear": (0.32, 0.66, 0.47),
    "disgust": (0.55, 0.62, 0.2),
}
_HEIGHT = 26
_ABOVE = 22
"""Pixels, at an interface scale of 1, between the bottom and the bands: there is a scroll bar."""
_STEP = 3
_ALPHA = 0.6
_WAVE = (0.75, 0.8, 0.85, 0.35)
_WORTH_A_NAME = 0.15

_EDITORS = ("SpaceDopeSheetEditor", "SpaceSequenceEditor")
_handles: list[tuple[Any, Any]] = []

Floats = npt.NDArray[Any]


def _draw() -> None:
    """The draw handler. Blender calls it for every redraw of those editors."""
    context = bpy.context
    region = context.region
    target = character_of(context)
    if region is None or target is None or not properties.of_scene(context.scene).show_ribbon:
        return
    columns = np.arange(0, region.width + _STEP, _STEP, dtype=np.float32)
    view: Any = region.view2d
    left, right = (view.region_to_view(x, 0)[0] for x in (0, region.width))
    frames = left + columns / max(region.width, 1) * (right - left)
    scale = context.preferences.system.ui_scale
    loud = loudness_at(context.scene, target, frames)
    if loud is not None and loud.max() > 0.0:
        _draw_waveform(columns, loud, _ABOVE * scale, _HEIGHT * scale)
    felt = intensities_at(context.scene, target, frames)
    if felt is not None and felt[:, 1:].max() > 0.0:
        _draw_bands(columns, felt, _ABOVE * scale, _HEIGHT * scale)
        _draw_names(columns, felt, _ABOVE * scale, scale)


def loudness_at(scene: bpy.types.Scene, target: bpy.types.Object, frames: Floats) -> Floats | None:
    """How loud the character speaks at frames: (P,) 0..1; None if it has not been animated."""
    fps, loud = frame_rate(scene), None
    try:
        action = applying.stored_action(target)
        stored = raw_motion.loudness_of(action) if action else []
    except WorkerError:  # damaged: the Finish panel says so
        return None
    for first, speed, heard in stored:
        row = (frames - first) / fps * speed * tracks.RATE_HZ
        now = np.interp(row, np.arange(len(heard)), heard, left=0.0, right=0.0)
        loud = now if loud is None else np.maximum(loud, now)
    return loud


def intensities_at(
    scene: bpy.types.Scene, target: bpy.types.Object, frames: Floats
) -> Floats | None:
    """What a character's list or sliders say at frames: (P, E); None where they say nothing."""
    settings = properties.of(target)
    emotion, fps = settings.emotion, frame_rate(scene)
    clock = Clock(settings.start_frame, fps)
    if emotion.source == "LIST" and len(emotion.changes):
        try:
            changes = tuple(tracks.changes_of_list(emotion.changes, scene, clock))
        except WorkerError:  # a marker is gone: the button says so
            return None
        return _interpolated(_of_changes(changes), clock, frames)
    if emotion.source == "SLIDERS":
        felt = tracks.emotions_of_sliders(target, emotion, "idiolect.emotion.", clock)
        return _interpolated(felt, clock, frames)
    return None


@lru_cache(maxsize=16)
def _of_changes(changes: tuple[tracks.Change, ...]) -> tracks.Emotions:
    return tracks.emotions_of_changes(changes)


def _interpolated(felt: tracks.Emotions, clock: Clock, frames: Floats) -> Floats:
    seconds = [clock.seconds(float(frame)) for frame in frames]
    values = np.asarray(felt["intensities"])
    return np.stack([np.interp(seconds, felt["times_s"], column) for column in values.T], axis=1)


def _draw_waveform(columns: Floats, loud: Floats, bottom: float, height: float) -> None:
    """Mirrored, as waveforms are drawn."""
    middle, half = bottom + height / 2, loud * height / 2
    seen = np.flatnonzero(np.maximum(loud[:-1], loud[1:]) > 1e-3)
    positions = _quads(columns, middle - half, middle + half, seen).reshape(-1, 2)
    _draw_triangles(positions, np.tile(_WAVE, (len(positions), 1)))


def _quads(columns: Floats, low: Floats, high: Floats, seen: Floats) -> Floats:
    """Two triangles from each column in ``seen`` to the next: (S, 6, 2)."""
    after = seen + 1
    corners = (
        *((columns[seen], low[seen]), (columns[after], high[after])),
        *((columns[after], low[after]), (columns[seen], low[seen])),
        *((columns[after], high[after]), (columns[seen], high[seen])),
    )
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def _draw_bands(columns: Floats, felt: Floats, bottom: float, height: float) -> None:
    """One quad for each emotion and column, in one batch."""
    feelings = felt[:, 1:]
    tops = feelings.cumsum(axis=1)
    tops = tops / np.maximum(tops[:, -1:], 1.0)
    bottoms = np.concatenate([np.zeros((len(tops), 1)), tops[:, :-1]], axis=1)
    corners, colours = [], []
    for band, name in enumerate(transitions.EMOTIONS[1:]):
        seen = np.flatnonzero(np.maximum(feelings[:-1, band], feelings[1:, band]) > 1e-3)
        low, high = bottom + bottoms[:, band] * height, bottom + tops[:, band] * height
        corners.append(_quads(columns, low, high, seen))
        colours.append(np.tile((*COLOURS[name], _ALPHA), (len(seen) * 6, 1)))
    positions = np.concatenate([corner.reshape(-1, 2) for corner in corners])
    _draw_triangles(positions, np.concatenate(colours))


def _draw_triangles(positions: Floats, colours: Floats) -> None:
    """One batch of corners (N, 2) in pixels of the region, each with its colour (N, 4)."""
    if not len(positions):
        return
    shader = gpu.shader.from_builtin("SMOOTH_COLOR")
    types: Any = gpu.types
    layout = types.GPUVertFormat()
    layout.attr_add(id="pos", comp_type="F32", len=2, fetch_mode="FLOAT")
    layout.attr_add(id="color", comp_type="F32", len=4, fetch_mode="FLOAT")
    buffer = types.GPUVertBuf(layout, len(positions))
    buffer.attr_fill(id="pos", data=np.ascontiguousarray(positions, np.float32))
    buffer.attr_fill(id="color", data=np.ascontiguousarray(colours, np.float32))
    gpu.state.blend_set("ALPHA")
    types.GPUBatch(type="TRIS", buf=buffer).draw(shader)
    gpu.state.blend_set("NONE")


def _draw_names(columns: Floats, felt: Floats, bottom: float, scale: float) -> None:
    """What the strongest feeling is called, where it begins to be the strongest."""
    strongest = np.where(felt[:, 1:].max(axis=1) > _WORTH_A_NAME, felt[:, 1:].argmax(axis=1), -1)
    begins = np.flatnonzero(np.diff(strongest, prepend=-2))
    font = 0
    blf.size(font, 11 * scale)
    blf.color(font, 1.0, 1.0, 1.0, 0.9)
    for begin in begins:
        if strongest[begin] >= 0:
            name = transitions.EMOTIONS[1 + strongest[begin]].capitalize()
            blf.position(font, float(columns[begin]) + 4 * scale, bottom + 3 * scale, 0)
            blf.draw(font, name)


def register() -> None:
    """Draw from now on. Without a window there is nothing to draw in."""
    if bpy.app.background:
        return
    for name in _EDITORS:
        editor = getattr(bpy.types, name)
        handle = editor.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL")
        _handles.append((editor, handle))


def unregister() -> None:
    """Stop drawing."""
    while _handles:
        editor, handle = _handles.pop()
        editor.draw_handler_remove(handle, "WINDOW")
