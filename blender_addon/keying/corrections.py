"""Corrections by hand, on a layer that no press of a button touches.

An Action of the artist's that is added to whatever lies below it: the active one, above all NLA
tracks. Blender itself takes the difference when a key is set there (seen alike from 4.2 to 5.2), so
an artist moves a slider to where it looks right and presses I, as always. Speech that is animated
again, or finished otherwise, changes below it.
"""

from __future__ import annotations

import bpy

from . import actions, nla
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


def _nothing(curve: bpy.types.FCurve) -> float:
    """The value that corrects nothing."""
    prop = curve.data_path.rsplit(".", 1)[-1]
    return float(prop == "scale" or (prop == "rotation_quaternion" and curve.array_index == 0))
