"""Models whose motion is not ARKit weights: the FLAME face that tells what their motion looks like.

The worker turns their motion into what the character understands: a FLAME rig's own coefficients,
or the 52 ARKit weights, which every other one has. For that it needs a face of FLAME's: the
character itself, another FLAME rig of the file, or the FLAME file of the preferences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import preferences, rig
from ..environment import models
from ..rig import flame
from ..worker.motion_file import write_arrays
from ..worker.protocol import WorkerError


def params(
    target: bpy.types.Object, settings: preferences.Settings, folder: Path
) -> dict[str, Any] | None:
    """What the worker's ``animate`` is told as "face"; None for models that need none.

    Args:
        target: who speaks.
        settings: which model, and which FLAME file.
        folder: where a rig may be put, for the worker to read.

    Raises:
        WorkerError: if the model needs a face, and there is none.
    """
    space = models.space_of(settings.checkpoint_path())
    if space == "arkit":
        return None
    into = "flame" if rig.speaks_flame(target) else "arkit"
    source = target if _is_face(target) else next(filter(_is_face, bpy.data.objects), None)
    if source is not None:
        file = folder / "face.npz"
        write_arrays(file, flame.arrays_of(source, rig.armature_of(source)))
        return {"rig": str(file.absolute()), "into": into}
    if not settings.flame_file:
        raise _missing(f"This model's motion is of the space “{space}”, and no FLAME face is here.")
    path = Path(preferences.absolute(settings.flame_file)).absolute()
    if not path.is_file():
        raise _missing(f"There is no FLAME file {path}.")
    return {"flame": str(path), "into": into}


def _is_face(one: bpy.types.Object) -> bool:
    """Whether this is a FLAME rig that shows both expressions and the jaw."""
    if not flame.has_expressions(one) or one.mode != "OBJECT":
        return False
    return bool(flame.jaw_bone(one, rig.armature_of(one)))


def _missing(problem: str) -> WorkerError:
    return WorkerError(
        problem,
        hint="Nothing was changed. Import the FLAME file that the model was trained with, or choose"
        " it in the add-on's preferences.",
        code="flame_missing",
        setting="flame_file",
    )
