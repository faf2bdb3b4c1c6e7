"""What the worker makes for characters, as steps of a job: heads, speech keys, a rig's matrix."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
import numpy as np

from .. import properties
from ..jobs import job
from ..rig import flame
from ..rig.meshes import add_keys, basis_of, speech_keys_of, triangles_of
from ..rig.names import ARKIT_KEYS
from ..worker.client import WorkerSettings, get_client
from ..worker.motion_file import read_arrays, write_arrays
from ..worker.protocol import WorkerError
from .flame import build as build_flame
from .head import build_head, read_keys
from .marks import marks_of, next_mark, tessellated


def add_head(settings: WorkerSettings, scene: job.DataRef, name: str) -> job.Steps:
    """Add the built-in head to a scene, as the panel's character."""
    client = get_client(settings)
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        output = Path(folder) / "head.npz"
        yield client.request("face", {"kind": "head", "output": str(output)})
        found = scene.find()
        made = build_head(output, name)
    _show(bpy.context, found, made)
    return job.Outcome(f"Added “{made.name}” with {len(ARKIT_KEYS)} speech keys")


def flame_file(path: str) -> Path:
    """The absolute path of a FLAME file.

    Raises:
        WorkerError: if there is none.
    """
    file = Path(bpy.path.abspath(path)).absolute()
    if path and file.is_file():
        return file
    raise WorkerError(
        f"There is no file {file}." if path else "No FLAME file is chosen.",
        hint="Choose the model file as downloaded from flame.is.tue.mpg.de (.pkl or .npz).",
        code="missing_file",
        setting="flame_file",
    )


def import_flame(
    settings: WorkerSettings, scene: job.DataRef, path: str, name: str, *, shape_keys: bool
) -> job.Steps:
    """Add the head of a FLAME file to a scene, as the panel's character.

    Raises:
        WorkerError: if there is no such file, or no model in it.
    """
    file = flame_file(path)
    client = get_client(settings)
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        output = Path(folder) / "flame.npz"
        params = {"kind": "flame", "file": str(file), "shape_keys": shape_keys}
        answer = yield client.request("face", {**params, "output": str(output)})
        found = scene.find()
        if bpy.context.mode != "OBJECT":
            raise WorkerError(
                "Bones can only be made in Object Mode.",
                hint="Nothing was added. Go to Object Mode and import again.",
                code="bad_mode",
            )
        made = build_flame(output, name or file.stem)
    _show(bpy.context, found, made)
    keys = len(made.data.shape_keys.key_blocks) - 1
    unspeaking = answer.get("no_speech_keys", "")
    details = (f"It has no speech keys. {unspeaking}",) if unspeaking else ()
    return job.Outcome(f"Imported “{made.name}” with {keys} shape keys", details)


def why_no_speech_keys(target: bpy.types.Object | None) -> str:
    """Why speech keys cannot be added to this object; empty if they can, as far as counts tell."""
    if target is None:
        return "Choose a mesh first"
    if target.type != "MESH":
        return f"“{target.name}” is not a mesh"
    if target.data.library is not None:
        return f"“{target.name}” is linked: make it local first"
    if target.mode != "OBJECT":
        return f"“{target.name}” must be in Object Mode"
    count = len(target.data.vertices)
    of_flame = count == flame.FLAME_VERTICES and len(triangles_of(target))
    if not of_flame and (missing := next_mark(target)):
        told = f"is no FLAME mesh ({count} vertices)"
        return f"“{target.name}” {told}: press Mark Face first ({missing} is not marked)"
    if len(speech_keys_of(target)) == len(ARKIT_KEYS):
        return f"“{target.name}” has all speech keys already"
    return ""


def add_speech_keys(settings: WorkerSettings, target: bpy.types.Object | None) -> job.Steps:
    """Give a mesh its missing ARKit keys; those that it has are left alone.

    A mesh of FLAME's topology needs nothing else; another one needs marks (`marks`).

    Raises:
        WorkerError: if it is no such mesh.
    """
    reason = why_no_speech_keys(target)
    if target is None or reason:
        raise WorkerError(
            f"{reason}.",
            hint="Speech keys can be made for FLAME meshes, and for faces that are marked.",
            code="bad_topology",
            setting="character",
        )
    wanted, at_rest = job.DataRef.to(target), basis_of(target)
    # In the mesh's own axes and unit: the worker finds out how it stands, and answers likewise.
    arrays = {"vertices": at_rest, "faces": triangles_of(target)}
    if not next_mark(target):
        marks = marks_of(target)
        arrays["faces"] = tessellated(target)
        arrays |= {"mark_names": np.array(list(marks)), "marks": np.array(list(marks.values()))}
    client = get_client(settings)
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        mesh, output = Path(folder) / "mesh.npz", Path(folder) / "keys.npz"
        write_arrays(mesh, arrays)
        yield client.request(
            "face", {"kind": "speech_keys", "mesh": str(mesh), "output": str(output)}
        )
        names, offsets = read_keys(output)
    target = wanted.find()
    if why_no_speech_keys(target) or not (basis_of(target) == at_rest).all():
        raise WorkerError(
            f"“{target.name}” was changed while its keys were being made.",
            hint="Nothing was added. Press again.",
            code="data_gone",
        )
    added = add_keys(target, names, offsets)
    return job.Outcome(f"Added {len(added)} speech keys to “{target.name}”")


def fit_expressions(
    settings: WorkerSettings,
    target: bpy.types.Object | None,
    armature: bpy.types.Object | None,
    *,
    residual: bool,
) -> job.Steps:
    """Fit a FLAME rig's matrix and keep it with the character.

    Args:
        settings: which worker.
        target: the rig's mesh.
        armature: its armature; None: the jaw bone is not to be used.
        residual: whether keys are added for what expressions cannot do.

    Raises:
        WorkerError: if it is no FLAME rig.
    """
    if target is None or not flame.has_expressions(target):
        raise WorkerError(
            "This is no FLAME mesh with expression keys (Exp001, Exp002, …).",
            hint="Choose such a mesh, or import a FLAME file.",
            code="bad_topology",
            setting="character",
        )
    wanted, at_rest = job.DataRef.to(target), basis_of(target)
    arrays = flame.arrays_of(target, armature)
    client = get_client(settings)
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        mesh, output = Path(folder) / "mesh.npz", Path(folder) / "matrix.npz"
        write_arrays(mesh, arrays)
        params = {"kind": "rig_matrix", "mesh": str(mesh), "residual": residual}
        yield client.request("face", {**params, "output": str(output)})
        found = dict(read_arrays(output))
    target = wanted.find()
    if not (basis_of(target) == at_rest).all():
        raise WorkerError(
            f"“{target.name}” was changed while its rig was being fitted.",
            hint="Nothing was changed. Press again.",
            code="data_gone",
        )
    names, offsets = found.pop("key_names", None), found.pop("key_offsets", None)
    added = add_keys(target, names.tolist(), offsets) if names is not None else []
    flame.keep(target, found)
    rest = f", and added {len(added)} keys for the rest" if added else ""
    return job.Outcome(f"Fitted {len(arrays['expressions'])} expressions of “{target.name}”{rest}")


def _show(context: bpy.types.Context, scene: bpy.types.Scene, made: bpy.types.Object) -> None:
    """Link a new head, and the rig that it may hang on, at the 3D cursor.

    It becomes the active object and the panel's character.
    """
    in_view = context.scene == scene
    collection = context.collection if in_view and context.collection else scene.collection
    top = made.parent or made
    for one in dict.fromkeys((top, made)):
        collection.objects.link(one)
    top.location = scene.cursor.location
    properties.of_scene(scene).character = made
    if in_view:
        for other in context.view_layer.objects:
            other.select_set(False)
        made.select_set(True)
        context.view_layer.objects.active = made
