"""Motion into Actions of our own, one for each data-block that it moves."""

from __future__ import annotations

import json
from dataclasses import dataclass

import bpy
import numpy as np

from . import actions, curves, nla
from .curves import Curve, Keys, Place

MARK = "idiolect"
"""Custom property of an Action that this add-on made: the lines it holds, and a digest."""

SLIDER_LIMIT = 10.0
"""Blender lets no slider of a shape key go beyond this."""


@dataclass(frozen=True)
class Line:
    """One speech within an Action of ours: its file, its first and its last frame."""

    speech: str
    first: int
    last: int

    def gives_way_to(self, other: Line) -> bool:
        """Whether it goes when ``other`` is keyed: it wants the same frames, or is the same
        speech at an older place.
        """
        return self.speech == other.speech or (
            self.first <= other.last and other.first <= self.last
        )


@dataclass(frozen=True)
class Keyed:
    """What ``key_curves`` did.

    Attributes:
        actions: names of the Actions that now hold the motion, one for each data-block.
        kept: names of earlier Actions that it kept: the artist's own, and edited ones of ours.
    """

    actions: tuple[str, ...]
    kept: tuple[str, ...] = ()


def key_curves(motion: list[Curve], line: Line, name: str) -> Keyed:
    """Put motion on the properties of any data-blocks, in an Action of its own for each block.

    An Action that the artist made moves down to an NLA track, unchanged and playing as before;
    ours lies above it and takes over only the properties that it holds. An Action that this
    function made is replaced, and other lines in it are carried over; if it was edited since, it
    is kept too.

    Either everything is done, or an exception leaves all as it was.

    Args:
        motion: what to animate, each with one value for each whole frame from ``line.first`` on.
        line: which speech this is, and where.
        name: name for the Actions.
    """
    blocks: dict[bpy.types.ID, list[Curve]] = {}
    for curve in motion:
        blocks.setdefault(curve.datablock, []).append(curve)
    made: dict[bpy.types.ID, bpy.types.Action] = {}
    pushed: list[bpy.types.AnimData] = []
    try:
        for block, moved in blocks.items():
            title = name if len(blocks) == 1 else f"{name} – {block.name}"
            made[block] = _new_action(block, moved, line, title)
        for block in blocks:
            animation = block.animation_data
            if animation.use_tweak_mode:
                animation.use_tweak_mode = False
            if animation.action is not None and MARK not in animation.action:
                nla.push_down(animation, animation.action)
                pushed.append(animation)
    except BaseException:
        for animation in pushed:
            animation.nla_tracks.remove(animation.nla_tracks[-1])
        for action in made.values():
            bpy.data.actions.remove(action)
        raise
    # From here on nothing can fail.
    kept = [_replace(block, action) for block, action in made.items()]
    _widen_sliders(motion)
    return Keyed(tuple(action.name for action in made.values()), tuple(filter(None, kept)))


def lines_of(action: bpy.types.Action | None) -> list[Line]:
    """The speeches in an Action of ours, in the order in which they were keyed."""
    if action is None or MARK not in action:
        return []
    return [Line(str(s), int(a), int(b)) for s, a, b in json.loads(action[MARK])["lines"]]


def _new_action(block: bpy.types.ID, moved: list[Curve], line: Line, name: str) -> bpy.types.Action:
    """An Action with this motion, and with the other lines of the one that it will replace."""
    animation = block.animation_data or block.animation_data_create()
    lines = lines_of(animation.action)
    leaving = [other for other in lines if other.gives_way_to(line)]
    keys = {curve.place: curves.every_frame(curve.values, line.first) for curve in moved}
    if lines:
        keys = _carried_over(_read(animation), [*leaving, line], keys)
    action = actions.new(name, block)
    try:
        where = actions.collection(action)
        for (path, index), chosen in keys.items():
            curves.write(where.new(path, index=index), chosen)
        written = {(c.data_path, c.array_index): curves.read(c) for c in where}
        staying = [other for other in lines if other not in leaving]
        action[MARK] = json.dumps(
            {
                "lines": [[o.speech, o.first, o.last] for o in [*staying, line]],
                "digest": curves.digest(written),
            }
        )
    except BaseException:
        bpy.data.actions.remove(action)
        raise
    return action


def _replace(block: bpy.types.ID, action: bpy.types.Action) -> str:
    """Make an Action the active one. Returns the name of the earlier one if that is kept."""
    animation = block.animation_data
    earlier = animation.action
    ours = earlier is not None and MARK in earlier
    edited = ours and json.loads(earlier[MARK])["digest"] != curves.digest(_read(animation))
    actions.assign(animation, action)
    if earlier is None:
        return ""
    if edited or not ours:
        earlier.use_fake_user = earlier.use_fake_user or edited
        return earlier.name
    if earlier.users == 0:
        bpy.data.actions.remove(earlier)
    return ""


def _read(animation: bpy.types.AnimData) -> dict[Place, Keys]:
    """The keys of the active Action, as far as they move this data-block."""
    found = actions.active_curves(animation)
    return {(curve.data_path, curve.array_index): curves.read(curve) for curve in found}


def _carried_over(
    earlier: dict[Place, Keys], gone: list[Line], keys: dict[Place, Keys]
) -> dict[Place, Keys]:
    """New curves, with the earlier keys that lie in none of the lines that are gone."""
    merged = dict(keys)
    for place, old in earlier.items():
        stays = np.ones(len(old), bool)
        for line in gone:
            stays &= (old.frames < line.first - 0.5) | (old.frames > line.last + 0.5)
        if stays.any():
            kept = old.only(stays)
            merged[place] = kept.and_also(merged[place]) if place in merged else kept
    return merged


def _widen_sliders(motion: list[Curve]) -> None:
    """Make room for the motion: Blender clamps a shape key's value to its slider's range."""
    for curve in motion:
        if not isinstance(curve.datablock, bpy.types.Key):
            continue
        block = curve.datablock.path_resolve(curve.data_path.removesuffix(".value"))
        lowest, highest = float(curve.values.min()), float(curve.values.max())
        block.slider_max = min(SLIDER_LIMIT, max(block.slider_max, highest))
        block.slider_min = max(-SLIDER_LIMIT, min(block.slider_min, lowest))
