"""The rig that Blender gets is the FLAME layer, evaluated the way Blender does."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import JOINTS, FlameData, load_flame
from core.face.flame_rig import FlameRig, RigMotion, build_rig, drive, joint_channels, key_names
from core.motion import MotionClip
from tests.core.face.flame_files import random_flame, small_mesh, write_flame

FRAMES = 20
EXPRESSIONS = 30
POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> FlameData:
    model = random_flame(*small_mesh(), shape=300, expression=EXPRESSIONS)
    return load_flame(write_flame(tmp_path_factory.mktemp("flame") / "m.npz", model, "npz"))


def motion(scale: float = 0.4) -> MotionClip:
    channels = key_names("Exp", EXPRESSIONS) + key_names("Shape", 5)
    channels += tuple(name for joint in JOINTS for name in joint_channels(joint))
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((FRAMES, len(channels)))
    weights[:, -15:] *= scale
    return MotionClip(weights, channels, 30, "flame")


def layer_vertices(data: FlameData, clip: MotionClip) -> np.ndarray:
    values = torch.tensor(clip.weights, dtype=torch.float64)
    poses = {pose: values[:, -15 + 3 * i :][:, :3] for i, pose in enumerate(POSES)}
    layer = FlameModel(data, dtype=torch.float64)
    expression, betas = values[:, :EXPRESSIONS], values[:, EXPRESSIONS : EXPRESSIONS + 5]
    return layer(expression=expression, betas=betas, **poses).vertices.numpy()


def as_blender_evaluates(rig: FlameRig, moved: RigMotion) -> np.ndarray:
    """Shape keys, then an armature modifier: pose matrix × inverse rest matrix, by weight."""
    out = []
    for values, rotations, locations in zip(*vars(moved).values(), strict=True):
        shaped = rig.vertices + np.tensordot(values, rig.key_offsets, 1)
        homogeneous = np.c_[shaped, np.ones(len(shaped))]
        pose, total = [], np.zeros((len(shaped), 3)) if rig.joint_names else shaped
        for joint, parent in enumerate(rig.joint_parents):
            local = np.eye(4)
            local[:3, :3] = Rotation.from_rotvec(rotations[joint]).as_matrix()
            rest = rig.joint_heads[joint] - (rig.joint_heads[parent] if parent >= 0 else 0)
            local[:3, 3] = rest + locations[joint]
            pose.append(pose[parent] @ local if parent >= 0 else local)
            back = np.eye(4)
            back[:3, 3] = -rig.joint_heads[joint]
            moved_by_joint = homogeneous @ (pose[joint] @ back).T
            total = total + rig.skin_weights[:, joint, None] * moved_by_joint[:, :3]
        out.append(total)
    return np.array(out)


def test_keys_and_bones_are_the_whole_model(data):
    rig = build_rig(data, shape_keys=5)
    assert rig.key_names[:2] == ("Exp001", "Exp002")
    assert rig.key_names[EXPRESSIONS] == "Shape001"
    assert rig.key_names[-1] == "Pose036"
    found = as_blender_evaluates(rig, drive(rig, motion()))
    assert np.abs(found - layer_vertices(data, motion())).max() < 1e-6


def test_without_the_bones_locations_it_would_not_be(data):
    """The locations are there for a reason: expressions move the joints."""
    rig = build_rig(data, shape_keys=5)
    moved = drive(rig, motion())
    still = RigMotion(moved.key_values, moved.rotations, np.zeros_like(moved.locations))
    assert np.abs(as_blender_evaluates(rig, still) - layer_vertices(data, motion())).max() > 1e-5


def test_jaw_keys_are_exact_at_their_ends(data):
    rig = build_rig(data, jaw_bone=False)
    assert rig.key_names[-3:] == ("JawOpen", "JawLeft", "JawRight")
    assert rig.joint_names == ()
    for name, degrees in (("jaw_x", 25.3), ("jaw_y", 10), ("jaw_y", -10)):
        clip = MotionClip([[np.radians(degrees)]], (name,), 30, "flame")
        moved = drive(rig, clip)
        assert sorted(moved.key_values[0])[-1] == pytest.approx(1, abs=1e-6)
        poses = torch.zeros(1, 3, dtype=torch.float64)
        poses[0, "xyz".index(name[-1])] = np.radians(degrees)
        wanted = FlameModel(data, dtype=torch.float64)(jaw_pose=poses).vertices[0].numpy()
        assert np.abs(as_blender_evaluates(rig, moved)[0] - wanted).max() < 1e-6


def test_betas_make_another_neutral_face(data):
    betas = np.random.default_rng(0).standard_normal(10)
    rig = build_rig(data, betas=betas, expression_keys=4)
    wanted = FlameModel(data)(betas=torch.tensor(betas[None], dtype=torch.float32))
    assert np.abs(rig.vertices - wanted.vertices[0].numpy()).max() < 1e-6
    assert np.abs(rig.joint_heads - wanted.joints[0].numpy()).max() < 1e-6
    assert len(rig.key_names) == 4 + 36


def test_eyes_are_the_vertices_that_follow_an_eye_joint(data):
    rig = build_rig(data)
    assert (data.lbs_weights[rig.left_eye, 3] == 1).all()
    assert rig.vertices[rig.left_eye, 0].mean() > 0 > rig.vertices[rig.right_eye, 0].mean()


def test_a_rig_survives_its_file(data, tmp_path):
    rig = build_rig(data)
    rig.save(tmp_path / "rig.npz")
    again = FlameRig.load(tmp_path / "rig.npz")
    for name, value in vars(rig).items():
        assert np.array_equal(getattr(again, name), value), name
        assert type(getattr(again, name)) is type(value)


def test_too_many_keys_are_refused(data):
    with pytest.raises(IdiolectError, match=r"31 expression .*has 30"):
        build_rig(data, expression_keys=31)
