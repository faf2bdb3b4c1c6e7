"""A speaking style as an artist chooses it: ready-made, or copied from somebody's motion."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .. import keying, preferences
from ..environment import models
from .options import OVERRIDABLE, PATH_OPTIONS, live_update

REFERENCE_KINDS = (
    ("STYLE", "Preset", "A ready-made style: the model's own, or one that you have saved"),
    ("ACTION", "Action", "An Action that moves ARKit shape keys: the manner it was spoken in"),
    ("MESH", "Mesh", "A mesh whose shape keys are animated"),
    (
        "FILE",
        "File",
        "A motion file (.npz, LiveLink Face .csv, BEAT .json), or a saved style (.style.npz)",
    ),
)


def _moves_shape_keys(_self: object, action: bpy.types.Action) -> bool:
    return bool(keying.shape_key_names(action))


def _animated_meshes(_self: object, candidate: bpy.types.Object) -> bool:
    keys = candidate.data.shape_keys if candidate.type == "MESH" else None
    return bool(keys and keys.animation_data)


def _style_names(_self: object, context: bpy.types.Context, _typed: str) -> list[str]:
    return models.style_names(preferences.of(context).checkpoint_path())


class IdiolectStyle(bpy.types.PropertyGroup):
    """Whose manner. A character has two, A and B, and may take its emotion from a third."""

    kind: EnumProperty(
        name="Kind",
        description="Where the manner of speaking comes from",
        items=REFERENCE_KINDS,
        override=OVERRIDABLE,
        update=live_update,
    )
    style: StringProperty(
        name="Style",
        description="A ready-made style of the model, or one that you have saved. Empty: the"
        " model's usual manner",
        search=_style_names,
        override=OVERRIDABLE,
        update=live_update,
    )
    action: PointerProperty(
        name="Action",
        description="An Action that moves ARKit shape keys. 4 to 10 seconds of speech are enough",
        type=bpy.types.Action,
        poll=_moves_shape_keys,
        override=OVERRIDABLE,
        update=live_update,
    )
    mesh: PointerProperty(
        name="Mesh",
        description="A mesh whose ARKit shape keys are animated. 4 to 10 seconds of speech are"
        " enough",
        type=bpy.types.Object,
        poll=_animated_meshes,
        override=OVERRIDABLE,
        update=live_update,
    )
    file: StringProperty(
        name="File",
        description="Motion of a face (.npz, LiveLink Face .csv, BEAT .json), or a saved style"
        " (.style.npz). 4 to 10 seconds of speech are enough",
        subtype="FILE_PATH",
        options=PATH_OPTIONS,
        override=OVERRIDABLE,
        update=live_update,
    )
    use_range: BoolProperty(
        name="Only a Part",
        description="Listen to a part of the reference, not to all of it. 4 to 10 seconds in which"
        " the person speaks are enough",
        override=OVERRIDABLE,
        update=live_update,
    )
    first: IntProperty(
        name="From",
        description="First frame of the reference to listen to",
        default=1,
        override=OVERRIDABLE,
        update=live_update,
    )
    last: IntProperty(
        name="To",
        description="Last frame of the reference to listen to",
        default=240,
        override=OVERRIDABLE,
        update=live_update,
    )
    start_s: FloatProperty(
        name="From",
        description="Second of the file from which to listen",
        min=0.0,
        unit="TIME_ABSOLUTE",
        override=OVERRIDABLE,
        update=live_update,
    )
    end_s: FloatProperty(
        name="To",
        description="Second of the file up to which to listen",
        min=0.0,
        default=10.0,
        unit="TIME_ABSOLUTE",
        override=OVERRIDABLE,
        update=live_update,
    )
