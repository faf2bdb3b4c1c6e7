"""Bones of a face: found by their names or picked, and turned by channels of the motion.

Channels turn bones about the face's own axes, in radians and right-handed: x to the subject's
left (headPitch: down), y up (headYaw: to the left), z out of the face (headRoll: left side up).
Where those axes lie is told by the two eye bones, or else the face looks along the world's -y.

Shapes: T motion frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Euler, Matrix, Quaternion, Vector

from .names import SIDES

Array = npt.NDArray[Any]
Vector3 = tuple[float, float, float]

# Words of rigs that say nothing of what a bone is for.
_NOISE = {
    *("mixamorig", "mixamorig1", "bip", "bip01", "bip001", "cc", "base", "bone", "j", "c", "adj"),
    *("rig", "b", "x", "ctrl", "control", "master", "face", "joint", "jnt", "valvebiped"),
}
_WORDS = {
    "head": {"head"},
    "jaw": {"jaw"},
    "eye_left": {"eye", "left"},
    "eye_right": {"eye", "right"},
}

# How far joints turn at full weight: the eyes as those of the built-in head, the jaw as measured
# on the landmark table; a jaw that shifts sideways by 6 mm has turned by 5 degrees.
_UP, _DOWN, _SIDE = np.radians([25.0, 28.0, 30.0])
_JAW_OPEN, _JAW_SIDE = np.radians([25.3, 5.0])

HEAD_TURNS: dict[str, Vector3] = {
    "headPitch": (1.0, 0.0, 0.0),
    "headYaw": (0.0, 1.0, 0.0),
    "headRoll": (0.0, 0.0, 1.0),
}
JAW_TURNS: dict[str, Vector3] = {
    "jawOpen": (_JAW_OPEN, 0.0, 0.0),
    "jawLeft": (0.0, _JAW_SIDE, 0.0),
    "jawRight": (0.0, -_JAW_SIDE, 0.0),
}


def eye_turns(side: str) -> dict[str, Vector3]:
    """How the eye of a side ("Left", "Right") looks about."""
    outwards = _SIDE if side == "Left" else -_SIDE
    return {
        f"eyeLookUp{side}": (-_UP, 0.0, 0.0),
        f"eyeLookDown{side}": (_DOWN, 0.0, 0.0),
        f"eyeLookOut{side}": (0.0, outwards, 0.0),
        f"eyeLookIn{side}": (0.0, -outwards, 0.0),
    }


@dataclass(frozen=True)
class Turn:
    """A bone that channels turn.

    Attributes:
        armature: the armature object.
        bone: the bone's name.
        axes: channel to the rotation vector (3,) of weight 1, in the bone's own rest frame.
    """

    armature: bpy.types.Object
    bone: str
    axes: dict[str, Array]

    @property
    def path(self) -> str:
        """Data path of the bone's rotation, in the bone's own mode."""
        pose = self.armature.pose.bones[self.bone]
        kind = {"QUATERNION": "quaternion", "AXIS_ANGLE": "axis_angle"}.get(
            pose.rotation_mode, "euler"
        )
        return f'pose.bones["{bpy.utils.escape_identifier(self.bone)}"].rotation_{kind}'

    def values(self, weights: dict[str, Array]) -> Array:
        """The rotation (T, 3 or 4) to key, in the bone's own mode."""
        turns = np.sum([np.outer(weights[c], a) for c, a in self.axes.items() if c in weights], 0)
        mode = self.armature.pose.bones[self.bone].rotation_mode
        return rotation_values(turns, mode)

    def read(self, values: Array) -> Array:
        """Rotation vectors (T, 3) of rotations as they are keyed: `values` turned round."""
        mode = self.armature.pose.bones[self.bone].rotation_mode
        if mode == "AXIS_ANGLE":
            return values[:, 1:] * values[:, :1]
        if mode == "QUATERNION":
            found = [Quaternion(row) for row in values.tolist()]
        else:
            found = [Euler(row, mode).to_quaternion() for row in values.tolist()]
        turns = [quaternion.to_axis_angle() for quaternion in found]
        return np.array([np.array(axis) * _wrapped(angle) for axis, angle in turns])


def rotation_values(turns: Array, mode: str) -> Array:
    """Rotation vectors (T, 3) as a bone of this rotation mode keys them: (T, 3 or 4)."""
    angles = np.linalg.norm(turns, axis=1)
    axes = turns / np.maximum(angles, 1e-12)[:, None]
    if mode == "AXIS_ANGLE":
        axes[angles < 1e-12] = (0.0, 1.0, 0.0)
        return np.c_[angles, axes]
    quaternions = np.c_[np.cos(angles / 2), axes * np.sin(angles / 2)[:, None]]
    if mode == "QUATERNION":
        return quaternions
    found, last = [], Euler((0.0, 0.0, 0.0), mode)
    for row in quaternions.tolist():
        last = Quaternion(row).to_euler(mode, last)
        found.append(last[:])
    return np.array(found)


def turn_of(armature: bpy.types.Object, bone: str, about: dict[str, Vector3], axes: Matrix) -> Turn:
    """A bone turned about the face's axes, `axes` being those in the world (columns x, y, z)."""
    rest = armature.matrix_world.to_quaternion().to_matrix()
    rest = rest @ armature.data.bones[bone].matrix_local.to_3x3().normalized()
    into = np.array(rest.inverted() @ axes)
    return Turn(armature, bone, {name: into @ np.array(turn) for name, turn in about.items()})


def face_axes(armature: bpy.types.Object, eyes: tuple[str, str]) -> Matrix:
    """The face's x, y and z in the world, as columns."""
    bones = armature.data.bones
    left, up = Vector((1.0, 0.0, 0.0)), Vector((0.0, 0.0, 1.0))
    if all(eyes):
        apart = armature.matrix_world.to_3x3() @ (
            bones[eyes[0]].head_local - bones[eyes[1]].head_local
        )
        apart.z = 0.0
        if apart.length > 1e-6:
            left = apart.normalized()
    return Matrix((left, up, left.cross(up))).transposed()


def find_bones(armature: bpy.types.Object, picked: dict[str, str]) -> dict[str, str]:
    """What each bone of `_WORDS` is called on this armature; empty for none.

    Args:
        armature: the armature object.
        picked: the artist's choice, which wins where such a bone exists.
    """
    bones = armature.data.bones
    found = {}
    for what, words in _WORDS.items():
        choice = picked.get(what, "")
        found[what] = choice if choice in bones else _guess(bones.keys(), words)
    return found


def _guess(names: Iterable[str], wanted: set[str]) -> str:
    fitting = [name for name in names if _words(name) - _NOISE == wanted]
    # The master of a joint, or a bone that is nothing but its name, is what an artist would turn.
    fitting.sort(key=lambda name: ("master" not in _words(name), _words(name) != wanted))
    inner = [name for name in names if _words(name) - _NOISE - {"def"} == wanted]
    return next(iter([*fitting, *inner]), "")


def _words(name: str) -> set[str]:
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    words = {part.lower() for part in parts if not part.isdigit()}
    joined = {"lefteye": ("left", "eye"), "righteye": ("right", "eye")}
    split = {half for word in words for half in joined.get(word, (word,))}
    return {SIDES.get(word, word) for word in split}


def _wrapped(angle: float) -> float:
    return (angle + np.pi) % (2 * np.pi) - np.pi
