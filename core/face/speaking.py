"""What motion in FLAME's terms, or of vertices, looks like: in the other spaces' terms.

Characters understand ARKit weights, and FLAME rigs their own coefficients as well. A model that
speaks in coefficients or in vertices reaches both through one face of FLAME topology: its motion is
told as offsets of that face's vertices, and these are fitted, within bounds and with lips and lids
counting most, by the face's 52 ARKit shapes (to any character) or by its expressions and jaw (to
the FLAME rig itself). Going by the vertices makes one fit of two, and one that has an error in mm.

Convention: x to the subject's left, y up, z front; metres, radians. Shape letters: T frames,
V vertices, E expression components, N = E + 3 per joint coefficients.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from core.errors import IdiolectError, read_failed
from core.face.bounded import bounded_least_squares
from core.face.flame_drive import RigMesh, face_of
from core.face.flame_file import load_flame
from core.face.flame_topology import speech_keys
from core.face.retarget import FRAME_LIMIT, LARGEST_ROTATION_RAD, FlameFace
from core.motion import ARKIT_CHANNELS, MotionClip

SPACES = ("arkit", "flame")
"""What motion can be turned into."""

# Frames worked on at a time: 12 kB a vertex field in single precision, times some.
_BLOCK = 128
# Small weights against right vertices, relative to what each shape does: decides between shapes
# that do the same.
_SHAPE_RIDGE = 3e-4
# The same for coefficients, relative to the basis' mean square.
_COEFFICIENT_RIDGE = 1e-4
# Rotating is not linear; each round leaves a third of the error of the one before or less.
_ROUNDS = 6


@dataclass(frozen=True)
class SpeakingFace:
    """A face of FLAME topology, as the measure of motion.

    Attributes:
        face: What it can do, metres.
        faces: (F, 3) its triangles.
    """

    face: FlameFace
    faces: np.ndarray

    @classmethod
    def of_flame(cls, path: Path) -> SpeakingFace:
        """The mean face of a FLAME file.

        Raises:
            IdiolectError: See `core.face.flame_file.load_flame`.
        """
        data = load_flame(path)
        return cls(FlameFace.of(data), data.faces)

    @classmethod
    def of_rig(cls, path: Path) -> SpeakingFace:
        """A FLAME rig of a scene: an npz with the fields of `core.face.flame_drive.RigMesh`.

        Raises:
            IdiolectError: "missing_file", "bad_motion", or see `flame_drive.face_of`.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            names = ("jaw_head", "jaw_weights", "jaw_correctives")
            main = (arrays["vertices"], arrays["faces"], arrays["expressions"])
        except OSError as error:
            raise read_failed(path, error, setting="face") from error
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise _bad(f"{path.name} holds no FLAME rig ({error})", "Import the rig again.") from (
                error
            )
        face, _, _ = face_of(RigMesh(*main, *map(arrays.get, names)))
        return cls(face, main[1])

    def check(self, space: str, channels: tuple[str, ...]) -> None:
        """Refuse motion that this face cannot show.

        Raises:
            IdiolectError: "flame_mismatch", with what was expected and found.
        """
        if space == "vertices" and len(channels) != self.face.vertices.size:
            raise _bad(
                f"The model moves {len(channels) // 3} vertices, and a FLAME face has "
                f"{len(self.face.vertices)}",
                "Only models of FLAME's vertices can be shown on other faces.",
            )
        lacking = [c for c in channels if c not in self.face.coefficient_names]
        if space == "flame" and lacking:
            raise _bad(
                f"The model moves {len(channels) - 3} expressions, and the FLAME face has "
                f"{len(self.face.basis)}{'' if self.face.joints else ' and no jaw bone'}",
                "Use the FLAME file that the model was trained with.",
            )

    def turned(self, clip: MotionClip, into: str) -> MotionClip:
        """Motion in another space (one of `SPACES`).

        Raises:
            IdiolectError: See `check`.
        """
        if clip.space in (into, "arkit"):
            return clip
        self.check(clip.space, clip.channels)
        names = ARKIT_CHANNELS if into == "arkit" else self.face.coefficient_names
        weights = np.empty((len(clip.weights), len(names)), np.float32)
        fit = self._weights if into == "arkit" else self._coefficients
        for first, offsets in self._blocks(clip):
            weights[first : first + len(offsets)] = fit(offsets)
        return MotionClip(weights, names, clip.fps, into)

    def offsets(self, coefficients: np.ndarray) -> np.ndarray:
        """Displacements (T, V, 3) under coefficients (T, N): `FlameFace.offsets` of many frames."""
        face, frames = self.face, len(coefficients)
        count = len(face.basis)
        basis = face.basis.reshape(count, -1)
        shifted = (coefficients[:, :count] @ basis).reshape(frames, *face.vertices.shape)
        moved = shifted.copy()
        for name, joint in face.joints.items():
            poses = coefficients[:, face.slots(name)]
            if not poses.any():
                continue
            follow = np.flatnonzero(joint.weights > 0)
            turned = Rotation.from_rotvec(poses).as_matrix() - np.eye(3)
            correctives = np.moveaxis(joint.correctives, 2, 0).reshape(9, -1)
            corrected = (turned.reshape(frames, 9) @ correctives).reshape(moved.shape)
            moved += corrected
            arm = (face.vertices + shifted + corrected)[:, follow] - joint.joint
            moved[:, follow] += joint.weights[follow, None] * (arm @ turned.transpose(0, 2, 1))
        return moved

    def _blocks(self, clip: MotionClip) -> Iterator[tuple[int, np.ndarray]]:
        """First frame and offsets (T, V, 3), some frames at a time."""
        for first in range(0, len(clip.weights), _BLOCK):
            part = replace(clip, weights=clip.weights[first : first + _BLOCK])
            if clip.space == "vertices":
                yield first, part.weights.reshape(-1, *self.face.vertices.shape).astype(float)
            else:
                names = self.face.coefficient_names
                yield first, self.offsets(part.select(names).astype(np.float64))

    def _weights(self, offsets: np.ndarray) -> np.ndarray:
        """The ARKit weights (T, 52) within 0..1 whose shapes come closest to offsets."""
        names, rows, gram = self._shapes
        found = np.zeros((len(offsets), len(ARKIT_CHANNELS)), np.float32)
        columns = [ARKIT_CHANNELS.index(name) for name in names]
        targets = self.face.weighed(offsets) @ rows.T
        found[:, columns] = bounded_least_squares(gram, targets, 0.0, 1.0)
        return found

    def _coefficients(self, offsets: np.ndarray) -> np.ndarray:
        """The coefficients (T, N), within their limits, whose offsets come closest to others.

        Gauss–Newton's method with the slopes at rest, where each round is a bounded fit.
        """
        rows, gram, scale = self._slopes
        ridge = _COEFFICIENT_RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        x = np.zeros((len(offsets), len(gram)))
        for _ in range(_ROUNDS):
            missing = self.face.weighed(offsets - self.offsets(x * scale))
            targets = missing @ rows.T + x @ gram
            x = bounded_least_squares(gram + ridge, targets, -FRAME_LIMIT, FRAME_LIMIT)
        return x * scale

    @cached_property
    def _shapes(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names of the shapes that move anything, their weighed offsets, and the Gram matrix."""
        keys = speech_keys(self.face.vertices, self.faces)
        names = [name for name in ARKIT_CHANNELS if name in keys and keys[name].any()]
        rows = self.face.weighed(np.stack([keys[name] for name in names]).astype(np.float64))
        gram = rows @ rows.T
        return names, rows, gram + _SHAPE_RIDGE * np.diag(np.diag(gram))

    @cached_property
    def _slopes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weighed offsets of each coefficient at rest, their Gram matrix, and the coefficients'
        scale: with it all have the same limit.
        """
        count = len(self.face.coefficient_names)
        scale = np.ones(count)
        scale[len(self.face.basis) :] = LARGEST_ROTATION_RAD / FRAME_LIMIT
        little = 1e-3
        steps = np.diag(little * scale)
        rows = self.face.weighed((self.offsets(steps) - self.offsets(-steps)) / (2 * little))
        return rows, rows @ rows.T, scale


class SpeakingFaces:
    """The faces that requests name, kept by content: finding their shapes takes seconds."""

    def __init__(self, kept: int = 2) -> None:
        self._faces: dict[str, SpeakingFace] = {}
        self._kept = kept

    def find(self, value: Mapping[str, object]) -> tuple[SpeakingFace, str]:
        """The face of {"flame": file} or {"rig": file}, and what "into" asks for.

        Raises:
            IdiolectError: "bad_request", or the file cannot be used.
        """
        into = value.get("into", "arkit")
        kind = "rig" if "rig" in value else "flame"
        given = value.get(kind)
        absolute = isinstance(given, str) and Path(given).is_absolute()
        if into not in SPACES or not set(value) <= {kind, "into"} or not absolute:
            raise IdiolectError(f"The request has face = {value!r}.", code="bad_request")
        path = Path(str(given))
        try:
            content = kind + hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise read_failed(path, error, setting="face") from error
        made = self._faces.pop(content, None)
        if made is None:
            made = SpeakingFace.of_rig(path) if kind == "rig" else SpeakingFace.of_flame(path)
        self._faces[content] = made
        while len(self._faces) > self._kept:
            del self._faces[next(iter(self._faces))]
        return made, str(into)


def _bad(problem: str, hint: str) -> IdiolectError:
    return IdiolectError(f"{problem}.", hint=hint, code="flame_mismatch", setting="flame_file")
