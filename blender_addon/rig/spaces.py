"""A rig as motion of another space than ARKit's moves it: a FLAME head by its own coefficients.

Speech of either kind leaves nothing of the other behind: what it does not use is keyed at rest.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import bpy
import numpy as np

from .. import keying
from ..worker.protocol import WorkerError
from . import flame
from .builder import Builder
from .controls import Rig, Weights
from .finding import armature_of, rig_of


def speaks_flame(target: bpy.types.Object) -> bool:
    """Whether FLAME's own motion can move this character's expressions and jaw."""
    if not flame.has_expressions(target) or flame.axes_of(target) is None:
        return False
    return bool(flame.jaw_bone(target, armature_of(target)))


def rig_for(target: bpy.types.Object, space: str) -> Rig:
    """The rig as motion of this space moves it: ARKit weights, or coefficients of FLAME's.

    Raises:
        WorkerError: if it cannot be moved by such motion.
    """
    usual = rig_of(target)
    if usual.reason:
        return usual
    if space == "arkit":
        return _with_coefficients_at_rest(usual)
    armature, axes = armature_of(target), flame.axes_of(target)
    if space != "flame" or not speaks_flame(target) or armature is None or axes is None:
        raise WorkerError(
            f"“{target.name}” is no FLAME rig, and this motion is of the space “{space}”.",
            hint="Press Animate from Speech: the motion is made anew for this character.",
            code="bad_character",
            setting="character",
        )
    builder = Builder()
    builder.add_keys(target, flame.own_keys(target))
    own = builder.controls()
    taken = {(one.at.owner, one.at.path, one.at.index) for one in own}
    # What an earlier speech by ARKit keys left must not be added to it.
    rest = [o for o in usual.controls if (o.at.owner, o.at.path, o.at.index) not in taken]
    jaw = flame.jaw_turn(target, armature, flame.jaw_bone(target, armature), axes)
    return replace(
        usual,
        controls=(*own, *rest),
        turns=(jaw,),
        missing=(),
        notes=tuple(builder.notes()),
        mouth="EXPRESSIONS",
        translate=functools.partial(
            _as_coefficients, resting=tuple({c for one in rest for c in one.slopes})
        ),
        gain_of=lambda _channel: 1.0,
    )


def _with_coefficients_at_rest(usual: Rig) -> Rig:
    """The rig, and what an earlier speech in FLAME's own terms has keyed and this one would not."""
    target, armature = usual.target, armature_of(usual.target)
    axes = flame.axes_of(target)
    action = keying.speech_action(target.data.shape_keys) if speaks_flame(target) else None
    if armature is None or axes is None or action is None:
        return usual
    builder = Builder()
    builder.add_keys(target, flame.own_keys(target))
    followed = {(one.at.owner, one.at.path, one.at.index) for one in usual.controls}
    keyed = keying.places_of(action)
    rest = [
        one
        for one in builder.controls()
        if (one.at.path, one.at.index) in keyed
        and (one.at.owner, one.at.path, one.at.index) not in followed
    ]
    if not rest:
        return usual
    bone = flame.jaw_bone(target, armature)
    turns = list(usual.turns)
    resting = [channel for one in rest for channel in one.slopes]
    if all((one.armature, one.bone) != (armature, bone) for one in turns):
        turns.append(flame.jaw_turn(target, armature, bone, axes))
        resting += turns[-1].axes

    def translate(weights: Weights) -> Weights:
        frames = len(next(iter(weights.values())))
        return dict.fromkeys(resting, np.zeros(frames)) | usual.translate(weights)

    return replace(
        usual, controls=(*usual.controls, *rest), turns=tuple(turns), translate=translate
    )


def _as_coefficients(weights: Weights, resting: tuple[str, ...]) -> Weights:
    frames = len(next(iter(weights.values())))
    return dict.fromkeys(resting, np.zeros(frames)) | flame.own_channels(weights, frames)
