"""How our Actions and the artist's lie above each other.

From below: the artist's NLA tracks; our speech, as the active Action or on a track of its own; the
artist's active Action, if that was left in its place; corrections.
"""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np

from . import actions
from .curves import MARK

CORRECTIONS = "idiolect_corrections"
"""Custom property of an Action that holds corrections made by hand, on top of all."""

TRACK = "Idiolect"
"""Name that our NLA tracks are given."""


def owners(animation: bpy.types.AnimData | None) -> list[bpy.types.ID]:
    """All that uses an Action: the animation data itself, then NLA strips, the uppermost first."""
    if animation is None:
        return []
    found = [animation, *(strip for _, strip in _strips(animation))]
    return [owner for owner in found if owner.action is not None]


def speech_owner(animation: bpy.types.AnimData | None) -> bpy.types.ID | None:
    """What uses our speech Action: the animation data itself, or an NLA strip; None without one."""
    for owner in owners(animation):
        if MARK in owner.action and (not actions.HAS_SLOTS or owner.action_slot is not None):
            return owner
    return None


def speech_action(block: bpy.types.ID) -> bpy.types.Action | None:
    """Our speech Action on a data-block, wherever it lies."""
    owner = speech_owner(block.animation_data)
    return owner.action if owner is not None else None


def is_corrected(animation: bpy.types.AnimData) -> bool:
    """Whether corrections by hand lie on a layer, so that speech must stay below."""
    return any(CORRECTIONS in owner.action for owner in owners(animation))


def leave_tweak_mode(animation: bpy.types.AnimData) -> None:
    """So that the active Action is the artist's again, and not the strip's that is being edited."""
    if animation.use_tweak_mode:
        animation.use_tweak_mode = False


def push_down(animation: bpy.types.AnimData) -> bpy.types.NlaTrack:
    """Move the active Action to an NLA track, where it plays as it did."""
    action = animation.action
    track = _new_track(animation, action, action.name)
    strip = track.strips[0]
    if actions.HAS_SLOTS:
        strip.action_slot = animation.action_slot
    strip.extrapolation = animation.action_extrapolation
    strip.blend_type = animation.action_blend_type
    strip.influence = animation.action_influence
    animation.action_extrapolation = "HOLD"
    animation.action_blend_type = "REPLACE"
    animation.action_influence = 1.0
    return track


def lay(animation: bpy.types.AnimData, action: bpy.types.Action) -> bpy.types.NlaStrip:
    """Put our Action on a track of its own, above the others. Beside its frames it does nothing."""
    strip = _new_track(animation, action, TRACK).strips[0]
    if actions.HAS_SLOTS:
        strip.action_slot = action.slots[0]
    strip.extrapolation = "NOTHING"
    return strip


def take_out(animation: bpy.types.AnimData, strip: bpy.types.NlaStrip) -> None:
    """Remove a strip, and its track if that is empty then."""
    track = next(track for track, other in _strips(animation) if other == strip)
    track.strips.remove(strip)
    if not len(track.strips):
        animation.nla_tracks.remove(track)


def fit(strip: bpy.types.NlaStrip) -> None:
    """Let a strip show the whole of its Action; where the artist has moved it to, it stays."""
    start, end = strip.action.frame_range
    _set_frames(strip, start, max(end, start + 1), offset(strip))


def offset(strip: bpy.types.NlaStrip) -> float:
    """How many frames later a strip plays its Action."""
    return strip.frame_start - strip.action_frame_start


def _new_track(
    animation: bpy.types.AnimData, action: bpy.types.Action, name: str
) -> bpy.types.NlaTrack:
    """A track on top with an Action in it, which plays; the NLA is switched on if need be."""
    track = animation.nla_tracks.new()
    try:
        track.name = name
        start, end = action.frame_range
        strip = track.strips.new(name, int(np.floor(start)), action)
        strip.name = action.name  # some versions ignore the name given to new()
        _set_frames(strip, start, max(end, start + 1), 0.0)
    except BaseException:  # Esc too: nothing half-made stays
        animation.nla_tracks.remove(track)
        raise
    if not animation.use_nla:
        # The artist had switched the NLA off: what lies there stays silent, what played goes on.
        for other in animation.nla_tracks:
            other.mute = other.mute or other != track
        animation.use_nla = True
    return track


def _set_frames(strip: bpy.types.NlaStrip, start: float, end: float, offset: float) -> None:
    strip.frame_start, strip.frame_end = start + offset, end + offset
    strip.action_frame_start, strip.action_frame_end = start, end
    # Each of these moves others with it, so that the ends are set once more.
    strip.frame_start, strip.frame_end = start + offset, end + offset


def _strips(
    animation: bpy.types.AnimData,
) -> Iterator[tuple[bpy.types.NlaTrack, bpy.types.NlaStrip]]:
    """All strips, the uppermost track first."""
    for track in reversed(list(animation.nla_tracks)):
        for strip in track.strips:
            yield track, strip
