"""Which rig a character has, as it stands now: its meshes, bones and settings put together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import bpy

from .. import keying, properties
from ..properties.rig import gain_of
from . import flame, visemes
from .bones import HEAD_TURNS, JAW_TURNS, Turn, eye_turns, face_axes, find_bones, turn_of
from .builder import Builder
from .controls import VISEME, Rig, Weights, stand_in_notes
from .meshes import key_names
from .names import ARKIT_KEYS, keys_by_channel

# A mouth of fewer ARKit keys than this is better shown by visemes, where there are any.
_ENOUGH_MOUTH_KEYS = 5


def why_not(target: bpy.types.Object | None) -> str:
    """Why this object cannot speak; empty if it can."""
    if target is None:
        return "Choose a character: a mesh with ARKit shape keys, or press Add Head"
    if target.type != "MESH":
        return f"“{target.name}” is not a mesh"
    if target.mode == "EDIT":
        return f"“{target.name}” is in Edit Mode: leave it first"
    return rig_of(target).reason


def characters_in(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The meshes of a scene that can speak, one for each rig: the one with the most keys."""
    able = [one for one in scene.objects if one.type == "MESH" and not why_not(one)]
    able.sort(key=lambda one: -len(key_names(one)))
    found: list[bpy.types.Object] = []
    led: set[bpy.types.Object] = set()
    for one in able:
        if one not in led:
            found.append(one)
            led.update(rig_of(one).meshes)
    return sorted(found, key=lambda one: one.name)


def rig_of(target: bpy.types.Object) -> Rig:
    """What can be keyed of a character, as it stands now."""
    settings = properties.of(target).rig
    meshes = _meshes_of(target, others=settings.other_meshes)
    builder = Builder()
    for mesh in meshes:
        builder.add_keys(mesh, keys_by_channel(key_names(mesh)))
    shown = visemes.visemes_of(key_names(target))
    mouth = _mouth(settings.mouth, builder.channels, shown, target)
    fitted = flame.fitted(target) if mouth == "EXPRESSIONS" else None
    made: set[str] = set()  # ARKit channels that are shown by something else than their own keys
    translate: Callable[[Weights], Weights] = dict
    if mouth == "VISEMES":
        builder.leave_out(_is_mouth)
        for mesh in meshes:
            found = visemes.visemes_of(key_names(mesh))
            builder.add_keys(mesh, {VISEME + name: (key,) for name, key in found.items()})
        made = {channel for channel in ARKIT_KEYS if _is_mouth(channel)}
        names = [name.removeprefix(VISEME) for name in builder.channels if name.startswith(VISEME)]
        translate = functools.partial(_with_visemes, names=names)
    elif fitted is not None:
        builder = Builder()
        for mesh in meshes[1:]:
            builder.add_keys(mesh, keys_by_channel(key_names(mesh)))
        builder.add_keys(target, flame.keys_of(target, fitted))
        made = set(fitted.channels)
        translate = functools.partial(_with_expressions, fitted=fitted)
    turns = _turns(target, meshes, settings, builder, mouth)
    followed = made | builder.channels | {channel for turn in turns for channel in turn.axes}
    missing = tuple(channel for channel in ARKIT_KEYS if channel not in followed)
    speaks = any(_is_mouth(channel) for channel in followed)
    speaks = speaks and (mouth != "EXPRESSIONS" or fitted is not None)
    rig = Rig(
        target=target,
        meshes=meshes,
        controls=builder.controls(),
        turns=turns,
        missing=missing,
        notes=(*builder.notes(), *(stand_in_notes(missing) if speaks else ())),
        mouth=mouth if speaks else "",
        translate=translate,
        gain_of=functools.partial(gain_of, settings),
    )
    return _with_reason(rig, builder)


def _is_mouth(channel: str) -> bool:
    return channel.startswith(("jaw", "mouth", "tongue"))


def _mouth(wanted: str, channels: set[str], shown: dict[str, str], target: bpy.types.Object) -> str:
    if wanted != "AUTO":
        return wanted
    keys = sum(_is_mouth(channel) for channel in channels)
    if keys < _ENOUGH_MOUTH_KEYS and flame.has_expressions(target):
        return "EXPRESSIONS"
    return "VISEMES" if shown and keys < _ENOUGH_MOUTH_KEYS else "KEYS"


def _turns(
    target: bpy.types.Object,
    meshes: tuple[bpy.types.Object, ...],
    settings: Any,
    builder: Builder,
    mouth: str,
) -> tuple[Turn, ...]:
    """Bones that turn; keys that would do the same are left out."""
    armature = armature_of(target) or next(filter(None, map(armature_of, meshes)), None)
    if armature is None or armature.library is not None:
        return ()
    picked = {what: getattr(settings, what) for what in ("head", "eye_left", "eye_right")}
    bones = find_bones(armature, {**picked, "jaw": settings.jaw_bone})
    axes = face_axes(armature, (bones["eye_left"], bones["eye_right"]))
    turns = []
    has_jaw_key = "jawOpen" in builder.channels
    by_bone = settings.jaw == "BONE" or (settings.jaw == "AUTO" and not has_jaw_key)
    if bones["jaw"] and by_bone and mouth == "KEYS":
        builder.leave_out(lambda channel: channel in JAW_TURNS)
        turns.append(turn_of(armature, bones["jaw"], JAW_TURNS, axes))
    fitted = flame.fitted(target) if mouth == "EXPRESSIONS" else None
    if fitted is not None and bones["jaw"] and "jaw_x" in fitted.coefficients:
        turns.append(flame.jaw_turn(target, armature, bones["jaw"], fitted.axes))
    looks = any(channel.startswith("eyeLook") for channel in builder.channels)
    gaze = settings.gaze if settings.gaze != "AUTO" else "KEYS" if looks else "BONES"
    if gaze != "KEYS" and bones["eye_left"] and bones["eye_right"]:
        if gaze == "BONES":
            builder.leave_out(lambda channel: channel.startswith("eyeLook"))
        for side in ("Left", "Right"):
            bone = bones[f"eye_{side.lower()}"]
            turns.append(turn_of(armature, bone, eye_turns(side), axes))
    if settings.head_motion and bones["head"]:
        turn = turn_of(armature, bones["head"], HEAD_TURNS, axes)
        if settings.head or not keying.animated_elsewhere(armature, turn.path):
            turns.append(turn)
    return tuple(turns)


def override_meshes(target: bpy.types.Object) -> int:
    """Override the linked mesh data of an overridden character, so that its keys can be keyed.

    Blender's own override of a character leaves mesh data linked.

    Returns:
        How many meshes were overridden.
    """
    others = properties.of(target).rig.other_meshes
    linked = [
        mesh
        for mesh in _meshes_of(target, others=others)
        if mesh.library is None and mesh.data.library is not None
    ]
    for mesh in linked:
        mesh.data.override_create(remap_local_usages=True)
    return len(linked)


def armature_of(mesh: bpy.types.Object) -> bpy.types.Object | None:
    """The armature that a mesh hangs on."""
    modifier: Any
    for modifier in mesh.modifiers:
        if modifier.type == "ARMATURE" and modifier.object is not None:
            return modifier.object
    above = mesh.parent
    while above is not None and above.type != "ARMATURE":
        above = above.parent
    return above


def _meshes_of(target: bpy.types.Object, *, others: bool) -> tuple[bpy.types.Object, ...]:
    """The character's mesh, and those of the same rig that are nobody else's."""
    armature = armature_of(target)
    family: Iterable[bpy.types.Object] = ()
    if others and armature is not None:
        scene = target.users_scene[0] if target.users_scene else bpy.context.scene
        meshes = [one for one in scene.objects if one.type == "MESH"]
        family = [one for one in meshes if armature_of(one) == armature]
    elif others:
        family = [*target.children_recursive, *(target.parent.children if target.parent else ())]
    found: dict[bpy.types.ID, bpy.types.Object] = {}
    for one in (target, *family):
        # A mesh that has a speech of its own is another character.
        ours = one == target or not (one.type == "MESH" and properties.of(one).speech)
        if ours and one.type == "MESH" and one.data.shape_keys is not None:
            found.setdefault(one.data.shape_keys, one)
    return tuple(found.values())


def _with_visemes(weights: Weights, names: list[str]) -> Weights:
    values = visemes.to_visemes(weights, names)
    return weights | {VISEME + name: values[:, i] for i, name in enumerate(names)}


def _with_expressions(weights: Weights, fitted: flame.Fitted) -> Weights:
    frames = len(next(iter(weights.values())))
    found = fitted.to_flame(weights, frames)
    return weights | {flame.PREFIX + name: values for name, values in found.items()}


def _with_reason(rig: Rig, builder: Builder) -> Rig:
    """The rig, with the reason why it cannot speak, if there is one."""
    name, reason = rig.target.name, ""
    if not rig.mouth and rig.target.library is not None:
        reason = f"“{name}” is linked: make a library override of it first"
    elif not rig.mouth and rig.target.data.library is not None:
        reason = f"The mesh of “{name}” is linked: press Override Mesh Data in Rig"
    elif not rig.mouth and flame.has_expressions(rig.target):
        reason = f"“{name}” is a FLAME rig: press Add Speech Keys, or Fit Expressions in Rig"
    elif not rig.mouth and builder.notes():
        reason = f"“{name}” has no shape keys for a mouth that can be keyed. {builder.notes()[0]}"
    elif not rig.mouth:
        reason = f"“{name}” has no ARKit shape keys for a mouth (jawOpen, mouthClose, …)"
    return replace(rig, reason=reason)
