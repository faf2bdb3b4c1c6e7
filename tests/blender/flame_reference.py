"""Run by the worker's Python: a FLAME file of the published form, and where its vertices go.

    python tests/blender/flame_reference.py FOLDER [MESH.npz FACE]

Writes FOLDER/model.pkl with random components, and FOLDER/expected.npz: 20 random frames of the
FLAME layer in double precision, with the values that should make Blender show the same. The mesh is
a small ellipsoid, or the face of that name in an archive that holds ``faces`` too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

FRAMES = 20
EXPRESSIONS = 100
POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


def main(folder: Path, mesh: tuple[np.ndarray, np.ndarray] | None) -> None:
    """Write both files."""
    import torch

    from core.face.flame import FlameModel
    from core.face.flame_file import JOINTS, load_flame
    from core.face.flame_rig import build_rig, drive, joint_channels, key_names
    from core.motion import MotionClip
    from tests.core.face.flame_files import random_flame, small_mesh, write_flame

    model = random_flame(*(mesh or small_mesh()), shape=300, expression=EXPRESSIONS)
    data = load_flame(write_flame(folder / "model.pkl", model, "python2"))
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((FRAMES, EXPRESSIONS + 3 * len(JOINTS)))
    weights[:, EXPRESSIONS:] *= 0.3
    joint_names = tuple(name for joint in JOINTS for name in joint_channels(joint))
    clip = MotionClip(weights, key_names("Exp", EXPRESSIONS) + joint_names, 30, "flame")
    rig = build_rig(data)
    moved = drive(rig, clip)
    values = torch.tensor(clip.weights, dtype=torch.float64)
    poses = {pose: values[:, EXPRESSIONS + 3 * joint :][:, :3] for joint, pose in enumerate(POSES)}
    layer = FlameModel(data, dtype=torch.float64)
    vertices = layer(expression=values[:, :EXPRESSIONS], **poses).vertices.numpy()
    np.savez(
        folder / "expected.npz",
        **vars(moved),
        key_names=rig.key_names,
        joint_names=JOINTS,
        neutral=rig.vertices,
        vertices=vertices,
    )


if __name__ == "__main__":
    given = None
    if len(sys.argv) > 2:
        with np.load(sys.argv[2]) as archive:
            given = archive[sys.argv[3]].astype(float), archive["faces"]
    main(Path(sys.argv[1]), given)
