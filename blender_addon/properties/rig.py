"""Settings of a character's rig: how its keys and bones follow the motion."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    StringProperty,
)

MOUTHS = (
    ("AUTO", "Automatic", "ARKit keys where there are any, else FLAME's expressions, else visemes"),
    ("KEYS", "ARKit Keys", "Keys with ARKit names, or other spellings of them"),
    ("EXPRESSIONS", "FLAME Expressions", "Exp… keys and the jaw of a FLAME head"),
    ("VISEMES", "Visemes", "Keys of mouth shapes: VRM, Oculus"),
)
JAWS = (
    ("AUTO", "Automatic", "The key where there is one, else the bone"),
    ("KEY", "Key", "The jaw's shape key; the jaw bone stays at rest"),
    ("BONE", "Bone", "The jaw bone; the jaw's shape key stays at zero"),
)
GAZES = (
    ("AUTO", "Automatic", "The eyeLook keys where there are any, else the eye bones"),
    ("KEYS", "Keys", "The eyeLook keys; the eye bones stay at rest"),
    ("BONES", "Bones", "The eye bones; the eyeLook keys stay at zero"),
    ("BOTH", "Both", "Bones turn the eyes, and the eyeLook keys move the lids only"),
)
_BONE = "The bone that turns it. Empty: found by its name"


class IdiolectGain(bpy.types.PropertyGroup):
    """How much stronger or weaker one channel comes out on this character."""

    name: StringProperty(
        name="Channel",
        description="An ARKit channel, or headPitch, headYaw, headRoll",
    )
    value: FloatProperty(
        name="Gain",
        description="1: as it is. The mouth's closing follows the jaw's gain, so that lips meet",
        default=1.0,
        min=0.0,
        soft_max=2.0,
        max=10.0,
    )


class IdiolectRig(bpy.types.PropertyGroup):
    """How a character's keys and bones follow the motion."""

    mouth: EnumProperty(name="Mouth", description="What moves the mouth", items=MOUTHS)
    jaw: EnumProperty(
        name="Jaw", description="What opens the jaw: a key or a bone, never both", items=JAWS
    )
    gaze: EnumProperty(name="Gaze", description="What moves the eyes", items=GAZES)
    other_meshes: BoolProperty(
        name="Other Meshes",
        description="Also move teeth, tongue, lashes: meshes of the same rig with such keys",
        default=True,
    )
    head_motion: BoolProperty(
        name="Head Motion",
        description="Turn the head's bone, unless something else animates it already",
        default=True,
    )
    head: StringProperty(name="Head", description=_BONE)
    jaw_bone: StringProperty(name="Jaw", description=_BONE)
    eye_left: StringProperty(name="Left Eye", description=_BONE)
    eye_right: StringProperty(name="Right Eye", description=_BONE)
    gains: CollectionProperty(type=IdiolectGain)
    gain_index: IntProperty(description="The selected gain", options={"HIDDEN"})


def gain_of(settings: IdiolectRig, channel: str) -> float:
    """How strong a channel comes out.

    jawOpen and mouthClose are one pair: a jaw that opens further needs lips that close further, or
    p, b and m would stay open. (No method of the group: Blender 4.2 would crash when it quits.)
    """
    own = next((gain.value for gain in settings.gains if gain.name == channel), 1.0)
    return own * gain_of(settings, "jawOpen") if channel == "mouthClose" else own


CLASSES = (IdiolectGain, IdiolectRig)
