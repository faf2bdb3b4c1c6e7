"""FLAME files in every published form, and the layer against a slow double-precision reference."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from core.errors import IdiolectError
from core.face.flame import FlameModel, rotation_matrices
from core.face.flame_file import FlameData, load_flame
from tests.core.face.flame_files import random_flame, small_mesh, write_flame

FORMS = {"python2": ".pkl", "chumpy": ".pkl", "plain": ".pkl", "npz": ".npz", "npz-object": ".npz"}
POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


@pytest.fixture(scope="module")
def model() -> dict[str, np.ndarray]:
    return random_flame(*small_mesh(), shape=300, expression=100)


@pytest.fixture(scope="module")
def data(model, tmp_path_factory) -> FlameData:
    return load_flame(write_flame(tmp_path_factory.mktemp("flame") / "m.pkl", model, "python2"))


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_gives_the_same_model(model, tmp_path, form):
    data = load_flame(write_flame(tmp_path / f"flame{FORMS[form]}", model, form))
    assert np.array_equal(data.v_template, model["v_template"])
    assert np.array_equal(data.faces, model["f"])
    assert np.array_equal(data.shapedirs, model["shapedirs"][:, :, :300])
    assert np.array_equal(data.expression_dirs, model["shapedirs"][:, :, 300:])
    assert np.array_equal(data.posedirs, model["posedirs"])
    assert np.array_equal(data.joint_regressor, model["J_regressor"])
    assert np.array_equal(data.lbs_weights, model["weights"])


def test_small_models_have_ten_components_of_each_kind(tmp_path):
    path = write_flame(
        tmp_path / "small.npz", random_flame(*small_mesh(), shape=10, expression=10), "npz"
    )
    assert load_flame(path).expression_dirs.shape[2] == 10


def test_a_cut_down_model_is_split_where_the_user_says(tmp_path):
    path = write_flame(
        tmp_path / "cut.npz", random_flame(*small_mesh(), shape=100, expression=50), "npz"
    )
    with pytest.raises(IdiolectError, match="found 150"):
        load_flame(path)
    assert load_flame(path, shape_components=100).expression_dirs.shape[2] == 50


def _spoilt(model: dict, what: str) -> dict:
    spoilt = dict(model)
    if what == "missing":
        del spoilt["posedirs"]
    elif what == "body":
        spoilt["kintree_table"] = np.zeros((2, 24), np.uint32)
    elif what == "tree":
        spoilt["kintree_table"] = np.array([[-1, 0, 1, 2, 3], range(5)])
    elif what == "nan":
        spoilt["v_template"] = np.where(np.arange(3) == 1, np.nan, model["v_template"])
    elif what == "faces":
        spoilt["f"] = model["f"] + 7
    elif what == "weights":
        spoilt["weights"] = model["weights"] * 0.5
    elif what == "shape":
        spoilt["weights"] = model["weights"][:-1]
    elif what == "text":
        spoilt["v_template"] = np.full(model["v_template"].shape, "x")
    return spoilt


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", "expected the array posedirs; found J, J_regressor"),
        ("body", "kintree_table of 2 × 5 joints .*found 2 × 24"),
        ("tree", "found .*0, 1, 2, 3"),
        ("nan", "v_template holds values that are not finite"),
        ("faces", "between vertices 0 and 191, found 7 to 198"),
        ("weights", "add up to 1"),
        ("shape", "expected weights of 192 × 5, found 191 × 5"),
        ("text", "expected numbers in v_template"),
    ],
)
def test_a_wrong_file_is_named_with_what_was_expected_and_found(model, tmp_path, what, message):
    path = write_flame(tmp_path / "flame2020.npz", _spoilt(model, what), "npz")
    with pytest.raises(IdiolectError, match=message) as caught:
        load_flame(path)
    assert caught.value.code == "bad_flame"
    assert caught.value.setting == "flame_file"
    assert "flame2020.npz" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip at all"])
def test_a_broken_npz_is_named(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(IdiolectError, match=r"broken\.npz"):
        load_flame(path)


def test_a_header_cannot_claim_more_than_the_file_holds(model, tmp_path):
    path = write_flame(tmp_path / "m.npz", model, "npz")
    data = path.read_bytes()
    shape = f"({len(model['v_template'])}, 3)".encode()
    assert data.count(b"'shape': " + shape)
    path.write_bytes(data.replace(b"'shape': " + shape, b"'shape': (9" + shape[2:]))
    with pytest.raises(IdiolectError):  # the checksum or the shape
        load_flame(path)


# ---------------------------------------------------------------------------------- layer


def reference(data: FlameData, betas, expression, *poses) -> tuple[np.ndarray, np.ndarray]:
    """FLAME for one face with 4 × 4 matrices, one vertex at a time, in double precision."""
    shaped = data.v_template + data.shapedirs @ betas + data.expression_dirs @ expression
    joints = data.joint_regressor @ shaped
    rotations = [Rotation.from_rotvec(pose).as_matrix() for pose in poses]
    feature = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    posed = shaped + data.posedirs @ feature
    world: list[np.ndarray] = []
    for joint, parent in enumerate([-1, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    out = np.empty_like(posed)
    for vertex, point in enumerate(posed):
        total = np.zeros(4)
        for joint in range(5):
            back = np.append(point - joints[joint], 1.0)
            total += data.lbs_weights[vertex, joint] * (world[joint] @ back)
        out[vertex] = total[:3]
    return out, np.array([matrix[:3, 3] for matrix in world])


def random_motion(rng, data: FlameData, frames: int) -> dict[str, np.ndarray]:
    motion = {pose: rng.normal(0, 0.3, (frames, 3)) for pose in POSES}
    motion["betas"] = rng.standard_normal((frames, data.shapedirs.shape[2]))
    motion["expression"] = rng.standard_normal((frames, data.expression_dirs.shape[2]))
    return motion


def check_against_reference(data: FlameData, frames: int) -> float:
    """Largest error of the single-precision layer, metres."""
    motion = random_motion(np.random.default_rng(1), data, frames)
    layer = FlameModel(data)
    output = layer(**{name: torch.tensor(v, dtype=torch.float32) for name, v in motion.items()})
    worst = 0.0
    for i in range(frames):
        arguments = [motion[name][i] for name in ("betas", "expression", *POSES)]
        vertices, joints = reference(data, *arguments)
        worst = max(worst, np.abs(output.vertices[i].numpy() - vertices).max())
        worst = max(worst, np.abs(output.joints[i].numpy() - joints).max())
    return worst


def test_the_layer_equals_the_reference(data):
    assert check_against_reference(data, frames=20) < 1e-6


@pytest.mark.shared
def test_the_layer_equals_the_reference_at_full_size(shared, tmp_path):
    """5023 vertices, 9976 faces, 400 components, in the form of FLAME 2020."""
    with np.load(shared / "faces" / "flame_topology.npz") as file:
        model = random_flame(file["M003"], file["faces"])
    data = load_flame(write_flame(tmp_path / "generic_model.pkl", model, "python2"))
    assert data.v_template.shape == (5023, 3)
    assert data.faces.shape == (9976, 3)
    assert check_against_reference(data, frames=3) < 1e-6


def test_nothing_given_is_the_template(data):
    assert np.abs(FlameModel(data)().vertices[0].numpy() - data.v_template).max() < 1e-7


def test_fewer_coefficients_are_the_first_ones(data):
    layer = FlameModel(data)
    few = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(few, (0, 50))
    assert torch.allclose(
        layer(expression=few).vertices, layer(expression=padded).vertices, atol=1e-7
    )


def test_more_coefficients_than_components_are_refused(data):
    with pytest.raises(IdiolectError, match="100 components for expression, and 101"):
        FlameModel(data)(expression=torch.zeros(1, 101))


def test_a_batch_of_one_is_repeated(data):
    output = FlameModel(data)(jaw_pose=torch.full((4, 3), 0.1), betas=torch.ones(1, 10))
    assert output.vertices.shape == (4, len(data.v_template), 3)
    assert output.joints.shape == (4, 5, 3)


def test_gradients_are_right_at_rest_and_away_from_it(data):
    layer = FlameModel(data, dtype=torch.float64)

    def lips(expression, jaw_pose):
        return layer(expression=expression, jaw_pose=jaw_pose).vertices[:, ::40]

    for size in (0.0, 0.3):
        expression = torch.full((2, 4), size, dtype=torch.float64, requires_grad=True)
        jaw_pose = torch.full((2, 3), size, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lips, (expression, jaw_pose))


@pytest.mark.parametrize("angle", [0.0, 1e-9, 9e-4, 1.1e-3, 0.5, 3.1])
def test_rotations_equal_scipy(angle):
    axis = np.array([0.48, -0.6, 0.64])
    ours = rotation_matrices(torch.tensor(axis * angle, dtype=torch.float32)).numpy()
    assert np.abs(ours - Rotation.from_rotvec(axis * angle).as_matrix()).max() < 3e-7
