"""The FLAME face: coefficients and joint rotations in, vertices out; differentiable and batched.

FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", SIGGRAPH Asia
2017, equations 1-2) is linear blend skinning of a template with linear offsets for shape,
expression and pose, as in SMPL. Names follow smplx. This is our own code, and ships no FLAME data.

Convention: metres; rotations are axis-angle vectors in radians; x to the subject's left, y up,
z front. Shape letters: B batch, V vertices, J = 5 joints, S and E shape and expression components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import IdiolectError
from core.face.flame_file import PARENTS, FlameData

# Under this angle (radians) sine and cosine are replaced by their series, whose gradients exist.
SMALL_ANGLE = 1e-3


@dataclass(frozen=True)
class FlameOutput:
    """A posed face.

    Attributes:
        vertices: (B, V, 3) metres.
        joints: (B, J, 3) metres, after posing.
    """

    vertices: Tensor
    joints: Tensor


class FlameModel(nn.Module):
    """FLAME as a layer without parameters of its own."""

    v_template: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    pose_basis: Tensor
    joint_regressor: Tensor
    lbs_weights: Tensor
    faces: Tensor

    def __init__(self, data: FlameData, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        count = len(data.v_template)

        def basis(directions: np.ndarray) -> Tensor:
            """(V, 3, K) -> (K, 3V), so that coefficients @ basis are offsets."""
            return torch.tensor(directions, dtype=dtype).reshape(3 * count, -1).T.contiguous()

        buffers = {
            "v_template": torch.tensor(data.v_template, dtype=dtype),
            "shape_basis": basis(data.shapedirs),
            "expression_basis": basis(data.expression_dirs),
            "pose_basis": basis(data.posedirs),
            "joint_regressor": torch.tensor(data.joint_regressor, dtype=dtype),
            "lbs_weights": torch.tensor(data.lbs_weights, dtype=dtype),
            "faces": torch.tensor(data.faces),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self,
        *,
        betas: Tensor | None = None,
        expression: Tensor | None = None,
        global_orient: Tensor | None = None,
        neck_pose: Tensor | None = None,
        jaw_pose: Tensor | None = None,
        leye_pose: Tensor | None = None,
        reye_pose: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> FlameOutput:
        """Poses the face; what is left out is zero, and batches of one are repeated.

        Args:
            betas: (B, ≤ S) shape coefficients, standard deviations.
            expression: (B, ≤ E) expression coefficients, standard deviations.
            global_orient: (B, 3) rotation of everything about the root joint.
            neck_pose: (B, 3) rotation of the head about the neck.
            jaw_pose: (B, 3) rotation of the jaw; positive x opens it.
            leye_pose: (B, 3) rotation of the left eye.
            reye_pose: (B, 3) rotation of the right eye.
            transl: (B, 3) shift of everything, metres.

        Raises:
            IdiolectError: "bad_flame_motion" when there are more coefficients than components.
        """
        rotations = self._rotations(global_orient, neck_pose, jaw_pose, leye_pose, reye_pose)
        shaped = (
            self.v_template
            + self._offsets("betas", betas, self.shape_basis)
            + self._offsets("expression", expression, self.expression_basis)
        )  # (B, V, 3)
        joints = self.joint_regressor @ shaped  # (B, J, 3)
        turned = rotations[:, 1:] - torch.eye(3).to(rotations)
        posed = shaped + self._offsets("pose", turned.flatten(1), self.pose_basis)
        world_rotations, world_joints = _along_tree(rotations, joints)
        # Skinning by each joint's rotation R and shift t = joint − R·rest joint, blended by weight.
        shifts = world_joints - (world_rotations @ joints[..., None])[..., 0]  # (B, J, 3)
        blended = torch.einsum("vj,bjrc->bvrc", self.lbs_weights, world_rotations)
        vertices = (blended @ posed[..., None])[..., 0] + self.lbs_weights @ shifts
        if transl is not None:
            vertices, world_joints = vertices + transl[:, None], world_joints + transl[:, None]
        return FlameOutput(vertices, world_joints)

    def _rotations(self, *poses: Tensor | None) -> Tensor:
        """(B, J, 3, 3) from axis-angle vectors of the joints in order, each (B or 1, 3)."""
        zero = self.v_template.new_zeros(1, 3)
        given = [zero if pose is None else pose for pose in poses]
        return rotation_matrices(torch.stack(torch.broadcast_tensors(*given), dim=1))

    def _offsets(self, name: str, coefficients: Tensor | None, basis: Tensor) -> Tensor:
        """(B, V, 3) offsets of the first components."""
        if coefficients is None:
            return torch.zeros_like(self.v_template)[None]
        count = coefficients.shape[-1]
        if count > len(basis):
            raise IdiolectError(
                f"The FLAME model has {len(basis)} components for {name}, and {count} were given.",
                hint="Use the FLAME file that the motion was made with.",
                code="bad_flame_motion",
            )
        return (coefficients @ basis[:count]).unflatten(-1, (-1, 3))


def rotation_matrices(axis_angle: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3), radians (Rodrigues).

    Differentiable everywhere, the zero rotation included.
    """
    x, y, z = axis_angle.unbind(-1)
    none = torch.zeros_like(x)
    cross = torch.stack([none, -z, y, z, none, -x, -y, x, none], -1).unflatten(-1, (3, 3))
    square = axis_angle.square().sum(-1)[..., None, None]
    small = square < SMALL_ANGLE**2
    angle = torch.where(small, 1.0, square).sqrt()  # 1 keeps the unused branch's gradient finite
    first = torch.where(small, 1 - square / 6, angle.sin() / angle)
    # 2 sin²(a/2) rather than 1 − cos(a), which cancels in single precision.
    second = torch.where(small, 0.5 - square / 24, 2 * (angle / 2).sin().square() / angle.square())
    return torch.eye(3).to(cross) + first * cross + second * (cross @ cross)


def _along_tree(rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (B, J, 3, 3) and positions (B, J, 3) in the world, from the root outwards."""
    world_rotations, world_joints = [rotations[:, 0]], [joints[:, 0]]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        bone = (joints[:, joint] - joints[:, parent])[..., None]
        world_joints.append(world_joints[parent] + (world_rotations[parent] @ bone)[..., 0])
        world_rotations.append(world_rotations[parent] @ rotations[:, joint])
    return (
        torch.stack(world_rotations, dim=1),
        torch.stack(torch.broadcast_tensors(*world_joints), dim=1),
    )
