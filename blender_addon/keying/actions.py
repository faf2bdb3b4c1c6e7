"""Where an Action keeps its F-curves, in every version of Blender."""

from __future__ import annotations

from collections.abc import Iterator

import bpy

HAS_SLOTS = bpy.app.version >= (4, 4, 0)


def new(name: str, datablock: bpy.types.ID) -> bpy.types.Action:
    """An empty Action for one data-block."""
    action = bpy.data.actions.new(name)
    if HAS_SLOTS:
        slot = action.slots.new(id_type=datablock.id_type, name=datablock.name)
        action.layers.new("Speech").strips.new(type="KEYFRAME").channelbag(slot, ensure=True)
    return action


def assign(animation: bpy.types.AnimData, action: bpy.types.Action) -> None:
    """Make an Action of ours, which has one slot, the active one."""
    animation.action = action
    if HAS_SLOTS:
        animation.action_slot = action.slots[0]


def active_curves(animation: bpy.types.AnimData) -> list[bpy.types.FCurve]:
    """The curves by which the active Action moves the data-block that this belongs to."""
    action = animation.action
    if action is None:
        return []
    if not HAS_SLOTS:
        return list(action.fcurves)
    slot = animation.action_slot
    return [curve for bag in _bags(action) if bag.slot == slot for curve in bag.fcurves]


def all_curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """Every curve of an Action, whatever data-blocks use it."""
    if not HAS_SLOTS:
        return list(action.fcurves)
    return [curve for bag in _bags(action) for curve in bag.fcurves]


def collection(action: bpy.types.Action) -> bpy.types.ID:
    """Where an Action of ours, which has one slot, takes new curves."""
    if not HAS_SLOTS:
        return action.fcurves
    return next(_bags(action)).fcurves


def _bags(action: bpy.types.Action) -> Iterator[bpy.types.ID]:
    return (
        bag
        for layer in action.layers
        for strip in layer.strips
        if strip.type == "KEYFRAME"
        for bag in strip.channelbags
    )
