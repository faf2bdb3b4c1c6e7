"""ARKit motion on a FLAME face and back, through one matrix.

Each ARKit shape is written once in FLAME's own terms: a rotation of the joint that makes it (jaw,
eyes), found first, and expression coefficients for the rest. Motion is then a product with that
matrix; the way back finds the weights whose FLAME coefficients come closest, measured by how far
the face's vertices are apart, within 0..1.

What FLAME cannot do (puffed cheeks, a real blink, the tongue) stays as a residual, which is told
per shape in mm and can be added as a key of its own (`residual_offsets`).

Convention: x to the subject's left, y up, z front; metres, radians. Shape letters: V vertices,
C ARKit channels, E expression components, N = E + 3 per joint coefficients, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from core.errors import IdiolectError
from core.face.bounded import bounded_least_squares
from core.face.flame_file import FlameData
from core.face.flame_rig import JointMotion, joint_channels, key_names
from core.face.flame_topology import landmark_ids
from core.face.landmarks import place_landmarks
from core.files import load_record, save_record
from core.motion import ARKIT_CHANNELS, MotionClip

# The shapes that a joint makes, wholly or for the most part.
JOINT_SHAPES = {
    "jaw": ("jawOpen", "jawLeft", "jawRight"),
    "left_eye": tuple(f"eyeLook{way}Left" for way in ("Down", "In", "Out", "Up")),
    "right_eye": tuple(f"eyeLook{way}Right" for way in ("Down", "In", "Out", "Up")),
}
# mouthClose only ever acts while the jaw is down by as much, so it is fitted there.
ON_TOP_OF = {"mouthClose": "jawOpen"}
# No shape turns a joint further than this.
LARGEST_ROTATION_RAD = np.radians(45.0)
# Weight of "small coefficients" against "right vertices", relative to the basis' mean square:
# at 1e-6 coefficients of 120 standard deviations cancel each other out.
RIDGE = 1e-3
# Standard deviations that one shape, and a whole frame, may reach; beyond them FLAME's faces break.
SHAPE_LIMIT, FRAME_LIMIT = 4.0, 5.0
# A landmark counts as much as this many vertices: all landmarks then as much as the whole head.
LANDMARK_IMPORTANCE = 25.0
# The way back needs only enough to decide between weights that do the same.
INVERSE_RIDGE = 1e-6


@dataclass(frozen=True)
class FlameFace:
    """A neutral face and what FLAME can do with it.

    Attributes:
        vertices: (V, 3) metres.
        basis: (E, V, 3) metres a unit of each expression coefficient.
        joints: The outer joints that may turn, by their names in `JOINT_SHAPES`.
        importance: (V,) how much an error at each vertex counts; see `lip_and_lid_importance`.
    """

    vertices: np.ndarray
    basis: np.ndarray
    joints: dict[str, JointMotion]
    importance: np.ndarray

    @classmethod
    def of(cls, data: FlameData, betas: np.ndarray | None = None) -> FlameFace:
        """The face of a model with these shape coefficients; the mean face by default.

        Raises:
            IdiolectError: "reordered_flame" when the vertices are FLAME's in another order.
        """
        betas = np.zeros(0) if betas is None else np.asarray(betas, np.float64)
        vertices = data.v_template + data.shapedirs[:, :, : len(betas)] @ betas
        joints = {name: JointMotion.of(data, name, vertices) for name in JOINT_SHAPES}
        basis = np.ascontiguousarray(np.moveaxis(data.expression_dirs, 2, 0))
        importance = lip_and_lid_importance(vertices, data.faces)
        return cls(vertices, basis, joints, importance)

    def offsets(self, coefficients: np.ndarray) -> np.ndarray:
        """Displacement (V, 3) under coefficients (N,), rotations as rotations."""
        expression, rotations = self._split(coefficients)
        shifted = np.tensordot(expression, self.basis, 1)
        moved = shifted.copy()
        for joint, rotation in rotations.items():
            moved += self.joints[joint].offsets(self.vertices + shifted, rotation)
        return moved

    def turned_basis(self, coefficients: np.ndarray) -> np.ndarray:
        """The basis (E, V, 3) as it acts while the joints stand as in coefficients (N,)."""
        basis = self.basis
        for joint, rotation in self._split(coefficients)[1].items():
            if rotation.any():
                basis = self.joints[joint].turned(basis, rotation)
        return basis

    def weighed(self, offsets: np.ndarray) -> np.ndarray:
        """Offsets (..., V, 3) as rows (..., 3V) whose squares add up by importance."""
        scaled = offsets * np.sqrt(self.importance)[:, None]
        return scaled.reshape(*offsets.shape[:-2], -1)

    def _split(self, coefficients: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        count = len(self.basis)
        turns = {joint: coefficients[self.slots(joint)] for joint in self.joints}
        return coefficients[:count], turns

    def slots(self, joint: str) -> slice:
        """Where a joint's rotation stands among the coefficients."""
        start = len(self.basis) + 3 * list(self.joints).index(joint)
        return slice(start, start + 3)

    @property
    def coefficient_names(self) -> tuple[str, ...]:
        """N names: the channels of flame motion."""
        names = [name for joint in self.joints for name in joint_channels(joint)]
        return key_names("Exp", len(self.basis)) + tuple(names)


@dataclass(frozen=True)
class Retarget:
    """The matrix between ARKit weights and FLAME coefficients of one face; cache it with the mesh.

    Attributes:
        channels: C ARKit names.
        coefficients: N names of FLAME coefficients.
        matrix: (C, N) coefficients at weight 1.
        metric: (N, N) squared displacement of the face a squared unit, summed over vertices by
            importance, m².
        size_mm: (C,) largest displacement that each shape wants.
        residual_mm: (C,) largest displacement by which FLAME misses it.
    """

    channels: tuple[str, ...]
    coefficients: tuple[str, ...]
    matrix: np.ndarray
    metric: np.ndarray
    size_mm: np.ndarray
    residual_mm: np.ndarray

    def to_flame(self, clip: MotionClip) -> MotionClip:
        """FLAME motion of ARKit motion; channels that a clip lacks are zero.

        Expression coefficients are cut at `FRAME_LIMIT`.
        """
        values = clip.select(self.channels) @ self.matrix
        expressions = sum(name.startswith("Exp") for name in self.coefficients)
        np.clip(values[:, :expressions], -FRAME_LIMIT, FRAME_LIMIT, out=values[:, :expressions])
        return MotionClip(values.astype(np.float32), self.coefficients, clip.fps, "flame")

    def to_arkit(self, clip: MotionClip) -> MotionClip:
        """The ARKit motion, within 0..1, whose FLAME motion is closest to this one.

        Shapes that this FLAME face cannot make stay at zero.
        """
        effect = self.metric @ self.matrix.T  # (N, C)
        gram = self.matrix @ effect
        able = np.diag(gram) > INVERSE_RIDGE * np.diag(gram).mean()
        gram = gram[np.ix_(able, able)]
        gram += INVERSE_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        weights = np.zeros((len(clip.weights), len(self.channels)))
        values = clip.select(self.coefficients).astype(np.float64)
        weights[:, able] = bounded_least_squares(gram, (values @ effect)[:, able], 0.0, 1.0)
        return MotionClip(weights.astype(np.float32), self.channels, clip.fps, "arkit")

    def with_gains(self, gains: dict[str, float]) -> Retarget:
        """The same with some shapes stronger (> 1) or weaker on the FLAME face.

        Raises:
            IdiolectError: "bad_setting" for an unknown shape or a gain that is not positive.
        """
        unknown = sorted(set(gains) - set(self.channels))
        if unknown or not all(gain > 0 for gain in gains.values()):
            problem = f"there is no shape {unknown[0]}" if unknown else "they must be positive"
            raise IdiolectError(
                f"These gains cannot be used: {problem}.", code="bad_setting", setting="gains"
            )
        scale = np.array([gains.get(name, 1.0) for name in self.channels])
        return replace(self, matrix=self.matrix * scale[:, None])

    def save(self, path: str | Path) -> None:
        """Writes an npz without pickles, one array an attribute.

        Raises:
            IdiolectError: "unwritable_file".
        """
        save_record(self, path)

    @classmethod
    def load(cls, path: str | Path) -> Retarget:
        """Reads what `save` wrote."""
        return load_record(cls, path)


def fit_retarget(
    face: FlameFace,
    keys: dict[str, np.ndarray],
    *,
    ridge: float = RIDGE,
    limit: float = SHAPE_LIMIT,
) -> Retarget:
    """Finds the FLAME coefficients of each ARKit shape of a face.

    Joints first: each shape of `JOINT_SHAPES` by the rotation θ that brings the vertices that
    follow the joint closest (weighted by how much they follow). Then the expression ψ of every
    shape h: min ‖B ψ − (h − joints(θ))‖² + λ‖ψ‖², |ψ| ≤ limit, with B as it acts under θ.

    Args:
        face: The face.
        keys: ARKit name -> (V, 3) offsets, metres, e.g. of `core.face.flame_topology.speech_keys`.
        ridge: λ in units of the basis' mean square.
        limit: Largest coefficient of one shape, standard deviations.

    Raises:
        IdiolectError: "bad_setting" when no key is an ARKit one.
    """
    channels = tuple(name for name in ARKIT_CHANNELS if name in keys)
    if not channels:
        raise IdiolectError(
            "The mesh has no keys with ARKit names to translate.",
            hint="Press Add Speech Keys first.",
            code="bad_setting",
            setting="character",
        )
    rows: dict[str, np.ndarray] = {}
    for on_top in (False, True):
        batch = [name for name in channels if (name in ON_TOP_OF) == on_top]
        bases = {name: _base(face, rows, name) for name in batch}
        goals = {name: _goal(keys, name, bases[name]) for name in batch}
        posed = {name: bases[name] + _joint_rotation(face, name, goals[name]) for name in batch}
        found = _expressions(face, posed, goals, ridge, limit)
        rows |= {name: posed[name] + found[name] - bases[name] for name in batch}
    matrix = np.stack([rows[name] for name in channels])
    missed = residual_offsets(face, keys, rows)
    return Retarget(
        channels=channels,
        coefficients=face.coefficient_names,
        matrix=matrix,
        metric=_metric(face),
        size_mm=np.array([_largest_mm(keys[name]) for name in channels]),
        residual_mm=np.array([_largest_mm(missed[name]) for name in channels]),
    )


def residual_offsets(
    face: FlameFace, keys: dict[str, np.ndarray], rows: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What FLAME misses of each ARKit shape, (V, 3) metres, at weight 1.

    Args:
        face: The face.
        keys: ARKit name -> (V, 3) offsets.
        rows: ARKit name -> (N,) coefficients, rows of `Retarget.matrix`.
    """
    missed = {}
    for name, row in rows.items():
        base = _base(face, rows, name)
        missed[name] = _goal(keys, name, base) - face.offsets(base + row)
    return missed


def _base(face: FlameFace, rows: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Coefficients (N,) of the shape that another sits on; zero when it sits on none."""
    none = np.zeros(len(face.coefficient_names))
    return rows.get(ON_TOP_OF[name], none) if name in ON_TOP_OF else none


def _goal(keys: dict[str, np.ndarray], name: str, base: np.ndarray) -> np.ndarray:
    """The displacement (V, 3) that a shape is to reach, together with the one it sits on."""
    goal = np.asarray(keys[name], np.float64)
    return goal + keys[ON_TOP_OF[name]] if base.any() else goal


def _joint_rotation(face: FlameFace, name: str, goal: np.ndarray) -> np.ndarray:
    """Coefficients (N,) that turn the joint that makes this shape; zero when none does."""
    row = np.zeros(len(face.coefficient_names))
    for joint, motion in face.joints.items():
        if name in JOINT_SHAPES[joint]:
            follow = motion.weights > 1e-3
            part = JointMotion(motion.joint, motion.weights[follow], motion.correctives[follow])
            neutral, target, share = face.vertices[follow], goal[follow], part.weights[:, None]
            fit = least_squares(
                lambda pose, part, neutral, target, share: (
                    share * (part.offsets(neutral, pose) - target)
                ).ravel(),
                np.zeros(3),
                bounds=(-LARGEST_ROTATION_RAD, LARGEST_ROTATION_RAD),
                args=(part, neutral, target, share),
                x_scale=0.1,
                xtol=1e-10,
            )
            row[face.slots(joint)] = fit.x
    return row


def _expressions(
    face: FlameFace,
    posed: dict[str, np.ndarray],
    goals: dict[str, np.ndarray],
    ridge: float,
    limit: float,
) -> dict[str, np.ndarray]:
    """Coefficients (N,) by shape of the expressions that take poses (N,) to goals (V, 3)."""
    alike: dict[bytes, list[str]] = {}  # shapes under the same rotations share a basis
    for name, row in posed.items():
        alike.setdefault(row[len(face.basis) :].tobytes(), []).append(name)
    found: dict[str, np.ndarray] = {}
    for names in alike.values():
        basis = face.weighed(face.turned_basis(posed[names[0]]))
        gram = basis @ basis.T
        gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
        missing = [face.weighed(goals[name] - face.offsets(posed[name])) for name in names]
        values = bounded_least_squares(gram, np.array(missing) @ basis.T, -limit, limit)
        found |= {
            name: np.pad(value, (0, len(posed[name]) - len(value)))
            for name, value in zip(names, values, strict=True)
        }
    return found


def _metric(face: FlameFace) -> np.ndarray:
    """How far coefficients move the face: the Gram matrix (N, N) of their offsets at rest, m²."""
    turn = 0.1  # radians; central differences, so the slope at rest
    slopes = [
        (motion.offsets(face.vertices, turn * axis) - motion.offsets(face.vertices, -turn * axis))
        / (2 * turn)
        for motion in face.joints.values()
        for axis in np.eye(3)
    ]
    effects = np.concatenate([face.basis, np.reshape(slopes, (-1, *face.vertices.shape))])
    effects = face.weighed(effects)
    return effects @ effects.T


def lip_and_lid_importance(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Importance (V,): one, and on a mesh of FLAME topology more where the landmarks lie.

    Half of the 202 landmarks are on lips and lids, where a millimetre is the difference between
    shut and open; evenly weighed vertices would leave them to the cheeks.
    """
    ids = landmark_ids(vertices, faces)
    if ids is None:
        return np.ones(len(vertices))
    rows = place_landmarks(vertices, np.asarray(faces)[:, :3], ids)
    share = np.asarray(rows.matrix(len(vertices)).sum(axis=0)).ravel()
    return 1 + LANDMARK_IMPORTANCE * share


def _largest_mm(offsets: np.ndarray) -> float:
    return 1000 * float(np.linalg.norm(offsets, axis=1).max())
