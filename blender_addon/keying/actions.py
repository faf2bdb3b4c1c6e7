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


def assign(owner: bpy.types.ID, action: bpy.types.Action | None) -> None:
    """Give an Action, with its first slot, to animation data or to an NLA strip."""
    owner.action = action
    if HAS_SLOTS and action is not None:
        owner.action_slot = action.slots[0]


def slot_of(owner: bpy.types.ID) -> bpy.types.ID | None:
    """The slot that animation data or an NLA strip uses, where there are slots."""
    return owner.action_slot if HAS_SLOTS else None


def active_curves(owner: bpy.types.ID) -> list[bpy.types.FCurve]:
    """The curves by which the Action of animation data, or of an NLA strip, moves a data-block."""
    if owner.action is None:
        return []
    if not HAS_SLOTS:
        return list(owner.action.fcurves)
    slot = owner.action_slot
    return [curve for bag in _bags(owner.action) if bag.slot == slot for curve in bag.fcurves]


def all_curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """Every curve of an Action, whatever data-blocks use it."""
    if not HAS_SLOTS:
        return list(action.fcurves)
    return [curve for bag in _bags(action) for curve in bag.fcurves]


def bag(action: bpy.types.Action, slot: bpy.types.ID | None) -> bpy.types.ID:
    """What takes new curves and groups: the Action itself, or its channelbag for a slot."""
    if not HAS_SLOTS:
        return action
    return next(bag for bag in _bags(action) if bag.slot == slot)


def is_foreign(owner: bpy.types.ID) -> bool:
    """Whether the curves are not to be touched: they move other data-blocks too, or are linked."""
    if owner.action.library is not None:
        return True
    if HAS_SLOTS:
        return len(owner.action_slot.users()) > 1
    return owner.action.users - owner.action.use_fake_user > 1


def _bags(action: bpy.types.Action) -> Iterator[bpy.types.ID]:
    return (
        bag
        for layer in action.layers
        for strip in layer.strips
        if strip.type == "KEYFRAME"
        for bag in strip.channelbags
    )
