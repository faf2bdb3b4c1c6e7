"""What Blender needs to make a keyed and boned mesh of a FLAME file, and the values that move it.

FLAME is v = skin(template + B·expression + P·(R − I)): linear but for the skinning, so shape keys
for expression and for the pose correctives, under five bones, are the whole model and not an
approximation of it. Two details make it exact:

- the correctives are 36 keys whose values are the entries of the joints' rotation matrices less the
  identity;
- expressions shift the joints a little, which a bone's rest position cannot follow. Turning by R
  about a joint that moved by δ is turning about the resting joint, then moving by (I − R)·δ; that
  is the bone's location.

Where bones are not wanted, three keys stand in for the jaw: straight lines for what is a rotation,
right at the ends and some 2 mm off half-way at the chin. They carry no neck and no eyes.

Convention: x to the subject's left, y up, z front; metres, radians. The bones rest without rotation
in this frame. Shape letters: V vertices, F faces, K keys, J joints, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from core.errors import IdiolectError
from core.face.flame_file import JOINTS, PARENTS, FlameData
from core.files import load_record, save_record
from core.motion import MotionClip

JAW_JOINT = JOINTS.index("jaw")
# Where the three jaw keys stand at value 1. Opening: of the landmark table's jawOpen.
JAW_OPEN_RAD = np.radians(25.3)
JAW_SIDE_RAD = np.radians(10.0)
JAW_KEYS = {
    "JawOpen": np.array([JAW_OPEN_RAD, 0.0, 0.0]),
    "JawLeft": np.array([0.0, JAW_SIDE_RAD, 0.0]),
    "JawRight": np.array([0.0, -JAW_SIDE_RAD, 0.0]),
}
# An eyeball's vertices follow their joint alone.
RIGID_WEIGHT = 0.5


def key_names(prefix: str, count: int) -> tuple[str, ...]:
    """Exp001, Exp002, …; also the names of flame motion's channels."""
    return tuple(f"{prefix}{number:03d}" for number in range(1, count + 1))


def joint_channels(joint: str) -> tuple[str, str, str]:
    """Flame motion's channels for a joint's axis-angle vector: jaw_x, jaw_y, jaw_z."""
    return (f"{joint}_x", f"{joint}_y", f"{joint}_z")


@dataclass(frozen=True)
class FlameRig:
    """A neutral face with keys, and bones unless the jaw is keys.

    Attributes:
        name: Name of the file it came from.
        vertices: (V, 3) float32, metres.
        faces: (F, 4) int32, -1 in the last column: triangles as `core.face.mesh` writes them.
        key_names: K names: Exp001…, Shape001…, then Pose001…Pose036 or `JAW_KEYS`.
        key_offsets: (K, V, 3) float32 metres at value 1.
        key_joint_offsets: (K, J, 3) float32 metres that a key moves the joints.
        joint_names: J names; none when the jaw is keys.
        joint_parents: (J,) int32, -1 for the root.
        joint_heads: (J, 3) float32 metres.
        skin_weights: (V, J) float32; rows add up to 1.
        left_eye: (n,) int32 vertices of the left eyeball.
        right_eye: (n,) int32 vertices of the right eyeball.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    key_names: tuple[str, ...]
    key_offsets: np.ndarray
    key_joint_offsets: np.ndarray
    joint_names: tuple[str, ...]
    joint_parents: np.ndarray
    joint_heads: np.ndarray
    skin_weights: np.ndarray
    left_eye: np.ndarray
    right_eye: np.ndarray

    def save(self, path: str | Path) -> None:
        """Writes an npz without pickles, one array an attribute.

        Raises:
            IdiolectError: "unwritable_file".
        """
        save_record(self, path)

    @classmethod
    def load(cls, path: str | Path) -> FlameRig:
        """Reads what `save` wrote."""
        return load_record(cls, path)


@dataclass(frozen=True)
class RigMotion:
    """What to key.

    Attributes:
        key_values: (T, K) values of the shape keys.
        rotations: (T, J, 3) axis-angle of the bones, radians, each in its parent's frame.
        locations: (T, J, 3) locations of the bones off their rest, metres, in the same frame.
    """

    key_values: np.ndarray
    rotations: np.ndarray
    locations: np.ndarray


def build_rig(
    data: FlameData,
    *,
    betas: np.ndarray | None = None,
    expression_keys: int | None = None,
    shape_keys: int = 0,
    jaw_bone: bool = True,
) -> FlameRig:
    """Makes the rig of a model.

    Args:
        data: The model.
        betas: Shape coefficients of the neutral face, first ones first; the mean face by default.
        expression_keys: How many expression components become keys; all by default.
        shape_keys: How many shape components become keys.
        jaw_bone: Bones and corrective keys (exact), or three jaw keys.

    Raises:
        IdiolectError: "bad_setting" when more components are wanted than there are.
    """
    betas = np.zeros(0) if betas is None else np.asarray(betas, np.float64)
    components = data.expression_dirs.shape[2]
    expression_keys = components if expression_keys is None else expression_keys
    _check_count("expression", expression_keys, components)
    _check_count("shape", max(shape_keys, len(betas)), data.shapedirs.shape[2])

    vertices = data.v_template + data.shapedirs[:, :, : len(betas)] @ betas
    heads = data.joint_regressor @ vertices
    linear = np.concatenate(
        [data.expression_dirs[:, :, :expression_keys], data.shapedirs[:, :, :shape_keys]], axis=2
    )
    linear = np.moveaxis(linear, 2, 0)
    joint_offsets = data.joint_regressor @ linear
    names = key_names("Exp", expression_keys) + key_names("Shape", shape_keys)
    if jaw_bone:
        extra = np.moveaxis(data.posedirs, 2, 0)
        names += key_names("Pose", len(extra))
    else:
        jaw = JointMotion.of(data, "jaw", vertices)
        extra = np.stack([jaw.offsets(vertices, pose) for pose in JAW_KEYS.values()])
        names += tuple(JAW_KEYS)
    joints = len(JOINTS) if jaw_bone else 0
    joint_offsets = np.concatenate([joint_offsets, np.zeros((len(extra), len(JOINTS), 3))])
    left, right = (
        np.flatnonzero(data.lbs_weights[:, JOINTS.index(eye)] > RIGID_WEIGHT).astype(np.int32)
        for eye in ("left_eye", "right_eye")
    )
    return FlameRig(
        name=data.name,
        vertices=vertices.astype(np.float32),
        faces=np.pad(data.faces, ((0, 0), (0, 1)), constant_values=-1).astype(np.int32),
        key_names=names,
        key_offsets=np.concatenate([linear, extra]).astype(np.float32),
        key_joint_offsets=joint_offsets[:, :joints].astype(np.float32),
        joint_names=JOINTS[:joints],
        joint_parents=np.array(PARENTS[:joints], np.int32),
        joint_heads=heads[:joints].astype(np.float32),
        skin_weights=data.lbs_weights[:, :joints].astype(np.float32),
        left_eye=left,
        right_eye=right,
    )


def _check_count(what: str, wanted: int, there: int) -> None:
    if not 0 <= wanted <= there:
        raise IdiolectError(
            f"{wanted} {what} components were asked for, and the FLAME file has {there}.",
            hint=f"Ask for at most {there}.",
            code="bad_setting",
            setting=f"{what}_keys",
        )


def drive(rig: FlameRig, clip: MotionClip) -> RigMotion:
    """The values that make a rig follow flame motion; channels that it lacks are zero.

    Args:
        rig: From `build_rig`.
        clip: Channels by `key_names` ("Exp…", "Shape…") and `joint_channels`, space "flame".
    """
    values = clip.select(rig.key_names).astype(np.float64)
    channels = [channel for joint in JOINTS for channel in joint_channels(joint)]
    rotations = clip.select(channels).astype(np.float64).reshape(-1, len(JOINTS), 3)
    if not rig.joint_names:
        values[:, -len(JAW_KEYS) :] = _jaw_key_values(rotations[:, JAW_JOINT])
        none = np.zeros((len(values), 0, 3))
        return RigMotion(values, none, none)
    matrices = Rotation.from_rotvec(rotations.reshape(-1, 3)).as_matrix()
    turned = matrices.reshape(-1, len(JOINTS), 3, 3) - np.eye(3)
    moved = np.einsum("tk,kjc->tjc", values, rig.key_joint_offsets)
    locations = -np.einsum("tjrc,tjc->tjr", turned, moved)
    correctives = turned[:, 1:].reshape(len(values), -1)
    values[:, -correctives.shape[1] :] = correctives
    return RigMotion(values, rotations, locations)


def _jaw_key_values(jaw_pose: np.ndarray) -> np.ndarray:
    """Values (T, 3) of `JAW_KEYS` for jaw rotations (T, 3); rolling is beyond them."""
    opening, side, _ = jaw_pose.T
    values = [opening / JAW_OPEN_RAD, side / JAW_SIDE_RAD, -side / JAW_SIDE_RAD]
    return np.maximum(np.stack(values, axis=1), 0.0)


@dataclass(frozen=True)
class JointMotion:
    """How one of FLAME's outer joints (jaw, eyes) moves a mesh while the others rest.

    Attributes:
        joint: (3,) metres.
        weights: (V,) share with which each vertex follows.
        correctives: (V, 3, 9) metres a unit of R − I, row by row; zero where there are none.
    """

    joint: np.ndarray
    weights: np.ndarray
    correctives: np.ndarray

    @classmethod
    def of(cls, data: FlameData, name: str, vertices: np.ndarray) -> JointMotion:
        """The joint of this name, where a neutral face (V, 3) puts it."""
        index = JOINTS.index(name)
        first = 9 * (index - 1)  # the root has no correctives
        return cls(
            data.joint_regressor[index] @ vertices,
            data.lbs_weights[:, index],
            data.posedirs[:, :, first : first + 9],
        )

    def offsets(self, vertices: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """Displacement (V, 3) of vertices (V, 3) under an axis-angle rotation (3,)."""
        turned = Rotation.from_rotvec(pose).as_matrix() - np.eye(3)
        corrected = self.correctives @ turned.ravel()
        swung = (vertices + corrected - self.joint) @ turned.T
        return corrected + self.weights[:, None] * swung

    def turned(self, offsets: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """What offsets (..., V, 3) of the neutral face become when the joint has turned."""
        turned = Rotation.from_rotvec(pose).as_matrix() - np.eye(3)
        return offsets + self.weights[:, None] * (offsets @ turned.T)
