"""How our Actions and the artist's lie above each other."""

from __future__ import annotations

import bpy
import numpy as np

from . import actions


def push_down(animation: bpy.types.AnimData, action: bpy.types.Action) -> None:
    """Move the active Action to an NLA track, where it plays as it did."""
    track = animation.nla_tracks.new()
    try:
        track.name = action.name
        start, end = action.frame_range
        strip = track.strips.new(action.name, int(np.floor(start)), action)
        strip.name = action.name  # some versions ignore the name given to new()
        if actions.HAS_SLOTS:
            strip.action_slot = animation.action_slot
        strip.frame_start, strip.frame_end = start, max(end, start + 1)
        strip.action_frame_start, strip.action_frame_end = start, max(end, start + 1)
        strip.extrapolation = animation.action_extrapolation
        strip.blend_type = animation.action_blend_type
        strip.influence = animation.action_influence
    except BaseException:
        animation.nla_tracks.remove(track)
        raise
    if not animation.use_nla:
        # The artist had switched the NLA off: what lies there stays silent, what played goes on.
        for other in animation.nla_tracks:
            other.mute = other.mute or other != track
        animation.use_nla = True
    animation.action_extrapolation = "HOLD"
    animation.action_blend_type = "REPLACE"
    animation.action_influence = 1.0
