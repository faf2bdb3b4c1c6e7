"""Corrections by hand, on a layer that no press of a button touches.

An Action of the artist's that is added to whatever lies below it: the active one, above all NLA
tracks. Blender itself takes the difference when a key is set there (seen alike from 4.2 to 5.2), so
an artist moves a slider to where it looks right and presses I, as always. Speech that is animated
again, or finished otherwise, changes below it.
"""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np

from . import actions, curves, marks, nla, reduction, splicing
from .curves import Floats, Place
from .nla import CORRECTIONS


def of(block: bpy.types.ID) -> bpy.types.Action | None:
    """The Action that holds a data-block's corrections, if it is the active one."""
    animation = block.animation_data
    action = animation.action if animation is not None else None
    return action if action is not None and CORRECTIONS in action else None


def add(block: bpy.types.ID, name: str) -> bpy.types.Action:
    """Lay an empty Action for corrections on top, and make it the active one.

    Our speech moves to an NLA track, where it is found again; so does an Action of the artist's.
    """
    animation = block.animation_data or block.animation_data_create()
    nla.leave_tweak_mode(animation)
    action = actions.new(name, block)
    action[CORRECTIONS] = True
    if animation.action is not None:
        if nla.speech_owner(animation) == animation:
            speech, animation.action = animation.action, None
            nla.lay(animation, speech)
        else:
            nla.push_down(animation)
    actions.assign(animation, action)
    # Adds numbers, and turns bones on from where they are.
    animation.action_blend_type = "COMBINE"
    animation.action_extrapolation = "HOLD"
    animation.action_influence = 1.0
    return action


def limit(block: bpy.types.ID, first: int, last: int) -> int:
    """Let corrections within a range of frames end at both its ends.

    Returns:
        How many curves have such corrections.
    """
    found = 0
    for curve in actions.active_curves(block.animation_data):
        if any(first < point.co[0] < last for point in curve.keyframe_points):
            found += 1
            for frame in (first, last):
                curve.keyframe_points.insert(frame, _nothing(curve))
            curve.update()
    return found


def lift(
    block: bpy.types.ID, clean: Mapping[Place, Floats], first: int, slack: float, name: str
) -> int:
    """Turn edits of our speech into corrections, so that the speech can be written anew.

    Args:
        block: whose speech.
        clean: what its curves would show without edits, one value for each frame.
        first: the first of these frames.
        slack: smaller differences are none.
        name: name for a correction layer, if there is none yet.

    Returns:
        How many curves were edited.
    """
    changes: dict[Place, Floats] = {}
    for place, curve in marks.edits_of(block).items():
        if place in clean:
            frames = np.arange(first, first + len(clean[place]), dtype=np.float32)
            change = splicing.evaluator(curve)(frames) - clean[place]
            change[np.abs(change) <= slack] = 0.0
            if change.any():
                changes[place] = np.pad(change, 1)  # nothing before, nothing after
    if not changes:
        return 0
    owner = nla.speech_owner(block.animation_data)
    shift = 0 if owner == block.animation_data else round(nla.offset(owner))
    action = of(block) or add(block, name)
    slot = actions.slot_of(block.animation_data)
    where = actions.bag(action, slot).fcurves
    there = {(curve.data_path, curve.array_index): curve for curve in where}
    for place, change in changes.items():
        begin, curve = first - 1 + shift, there.get(place)
        frames = np.arange(begin, begin + len(change), dtype=np.float32)
        if curve is not None:
            change = change + splicing.evaluator(curve)(frames)
        reduced = reduction.reduce(change[None], max(slack, 1e-4))
        keys = curves.from_reduced({place: curves.every_frame(change, begin)}, reduced)[place]
        if curve is not None:
            keys = splicing.replaced(curves.read(curve), splicing.evaluator(curve), keys)
        curves.write(curve or where.new(place[0], index=place[1]), keys)
    return len(changes)


def _nothing(curve: bpy.types.FCurve) -> float:
    """The value that corrects nothing."""
    prop = curve.data_path.rsplit(".", 1)[-1]
    return float(prop == "scale" or (prop == "rotation_quaternion" and curve.array_index == 0))
