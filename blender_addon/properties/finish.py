"""How motion is finished and keyed: settings that take effect at once, without the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from ..jobs import live
from .options import OVERRIDABLE

PLACEMENTS = (
    (
        "ACTION",
        "Action",
        "Speech is the active Action. An Action of yours moves to an NLA track below it",
    ),
    (
        "NLA",
        "NLA Layer",
        "Speech lies on an NLA track. Your active Action stays as it is, and plays above it",
    ),
)


def _changed(self: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    live.changed(self.id_data, live.FINISH)


def _gain(name: str, what: str) -> Any:
    return FloatProperty(
        name=name,
        description=f"How far {what}: 0 not at all, 1 as it was, 2 twice as far",
        default=1.0,
        min=0.0,
        soft_max=2.0,
        max=4.0,
        subtype="FACTOR",
        override=OVERRIDABLE,
        update=_changed,
    )


def _strength(name: str, description: str, default: float) -> Any:
    return FloatProperty(
        name=name,
        description=f"{description}: 0 off, 1 as people do",
        default=default,
        min=0.0,
        max=2.0,
        subtype="FACTOR",
        override=OVERRIDABLE,
        update=_changed,
    )


def _switch(name: str, description: str) -> Any:
    return BoolProperty(
        name=name,
        description=description,
        default=True,
        override=OVERRIDABLE,
        update=_changed,
    )


class IdiolectFinish(bpy.types.PropertyGroup):
    """What is done to motion after the model. Lives on the character, as ``idiolect.finish``."""

    gain_jaw: _gain("Jaw", "the jaw moves; lips that are shut stay shut")
    gain_lips: _gain("Lips", "lips and tongue move")
    gain_cheeks: _gain("Cheeks", "cheeks and nose move")
    gain_brows: _gain("Brows", "the brows move")
    gain_lids: _gain("Lids", "the lids move; blinks have a strength of their own")
    smoothing: FloatProperty(
        name="Smoothing",
        description="Takes out trembling up to about this long. Closed lips stay closed",
        default=0.008,
        min=0.0,
        soft_max=0.1,
        max=0.5,
        precision=3,
        step=1,
        subtype="TIME_ABSOLUTE",
        override=OVERRIDABLE,
        update=_changed,
    )
    closure_guard: _switch(
        "Closure Guard", "Seal the lips on every p, b and m, and keep them apart on other sounds"
    )
    silence_gate: _switch("Silence Gate", "Bring the mouth to rest where nothing is said")
    offset: FloatProperty(
        name="Offset",
        description="The face comes so many frames after the voice; negative: before it",
        soft_min=-10.0,
        soft_max=10.0,
        min=-250.0,
        max=250.0,
        precision=1,
        step=50,
        override=OVERRIDABLE,
        update=_changed,
    )
    blinks: _strength("Blinks", "How far blinks shut the eyes", 1.0)
    gaze: _strength("Gaze", "Glances of the eyes", 1.0)
    head: _strength("Head", "Sway and nods of the head, where the rig has a bone for it", 0.0)
    brows: _strength("Brow Accents", "Raising of the brows on stressed syllables", 1.0)
    seed: IntProperty(
        name="Seed",
        description="Another number gives other blinks, glances and movements; the same number the"
        " same",
        min=0,
        override=OVERRIDABLE,
        update=_changed,
    )


class IdiolectKeys(bpy.types.PropertyGroup):
    """How keys are written. Lives on the character, as ``idiolect.keys``."""

    placement: EnumProperty(
        name="Keys In",
        description="Where the animation lies",
        items=PLACEMENTS,
        override=OVERRIDABLE,
        update=_changed,
    )
    sparse: _switch(
        "Sparse Keys",
        "Few keys that are easy to edit, instead of one at each frame. Peaks and closed lips are"
        " exact",
    )
    bound: FloatProperty(
        name="Bound",
        description="How far a curve may be off at any frame, for the sake of fewer keys",
        default=0.005,
        min=0.0005,
        soft_max=0.05,
        max=0.5,
        precision=4,
        step=0.1,
        override=OVERRIDABLE,
        update=_changed,
    )
    lower_face: _switch("Lower Face", "Animate jaw, lips, cheeks and nose. Off: left as they are")
    upper_face: _switch("Upper Face", "Animate eyes, lids and brows. Off: left as they are")
    head: _switch("Head", "Animate the head's rotation. Off: left as it is")
    fade: IntProperty(
        name="Cross-Fade",
        description="Frames at both ends of a range over which old and new animation are mixed",
        default=6,
        min=1,
        soft_max=30,
        override=OVERRIDABLE,
    )


# Not methods: Blender 4.2 never lets go of the class of a property group; its methods would hold on
# to this module, and that to bpy, and then Blender as a module crashes on exit.


def as_params(finish: Any, fps: float) -> dict[str, Any]:
    """Settings of ``IdiolectFinish`` as the worker's ``finishing`` takes them.

    Args:
        finish: the settings.
        fps: frames of the scene in a second of the speech.

    Returns:
        Fields of ``core.finishing.finish.FinishSettings``.
    """
    gains = ("gain_jaw", "gain_lips", "gain_cheeks", "gain_brows", "gain_lids")
    return {
        **{name: _told(getattr(finish, name)) for name in gains},
        "smoothing_s": _told(finish.smoothing),
        "closure_guard": finish.closure_guard,
        "parting_guard": finish.closure_guard,
        "silence_gate": finish.silence_gate,
        "offset_s": _told(finish.offset / fps),
        "blink_strength": _told(finish.blinks),
        "gaze_strength": _told(finish.gaze),
        "head_strength": _told(finish.head),
        "brow_strength": _told(finish.brows),
        "seed": finish.seed,
    }


def holds(keys: Any) -> Callable[[str], bool]:
    """From settings of ``IdiolectKeys``: whether a channel is left as it is."""
    lower, upper, head = keys.lower_face, keys.upper_face, keys.head

    def held(channel: str) -> bool:
        if channel.startswith(("eye", "brow")):
            return not upper
        return not (head if channel.startswith("head") else lower)

    return held


def error_bound(keys: Any) -> float:
    """From settings of ``IdiolectKeys``: how far curves may be off; 0: a key at each frame."""
    return keys.bound if keys.sparse else 0.0


def _told(value: float) -> float:
    """As the artist reads it: single precision has tails that a seed or a file would keep."""
    return round(value, 6)


CLASSES = (IdiolectFinish, IdiolectKeys)
