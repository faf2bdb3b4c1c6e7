"""Faces that the worker makes, as steps of a job: the built-in head, a FLAME file, speech keys."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
import numpy as np

from . import character, flame_character, job, marking, properties
from .worker.client import WorkerSettings, get_client
from .worker.motion_file import write_arrays
from .worker.protocol import WorkerError

FLAME_VERTICES = 5023


def head(settings: WorkerSettings, scene: job.DataRef, name: str) -> job.Steps:
    """Add the built-in head to a scene, as the panel's character."""
    client = get_client(settings)
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        output = Path(folder) / "head.npz"
        yield client.request("face", {"kind": "head", "output": str(output)})
        found = scene.find()
        made = character.build_head(output, name)
    _show(bpy.context, found, made)
    return job.Outcome(f"Added “{made.name}” with {len(character.ARKIT_KEYS)} speech keys")


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


def flame(
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
        made = flame_character.build(output, name or file.stem)
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
    flame = count == FLAME_VERTICES and len(character.triangles_of(target))
    if not flame and (missing := marking.next_mark(target)):
        told = f"is no FLAME mesh ({count} vertices)"
        return f"“{target.name}” {told}: press Mark Face first ({missing} is not marked)"
    if len(character.speech_keys_of(target)) == len(character.ARKIT_KEYS):
        return f"“{target.name}” has all speech keys already"
    return ""


def speech_keys(settings: WorkerSettings, target: bpy.types.Object | None) -> job.Steps:
    """Give a mesh its missing ARKit keys; those that it has are left alone.

    A mesh of FLAME's topology needs nothing else; another one needs marks (`marking`).

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
    wanted, at_rest = job.DataRef.to(target), character.basis_of(target)
    # In the mesh's own axes and unit: the worker finds out how it stands, and answers likewise.
    arrays = {"vertices": at_rest, "faces": character.triangles_of(target)}
    if not marking.next_mark(target):
        marks = marking.marks_of(target)
        arrays["faces"] = marking.triangles_of(target)
        arrays |= {"mark_names": np.array(list(marks)), "marks": np.array(list(marks.values()))}
    client = get_client(settings)
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        mesh, output = Path(folder) / "mesh.npz", Path(folder) / "keys.npz"
        write_arrays(mesh, arrays)
        yield client.request(
            "face", {"kind": "speech_keys", "mesh": str(mesh), "output": str(output)}
        )
        names, offsets = character.read_keys(output)
    target = wanted.find()
    if why_no_speech_keys(target) or not (character.basis_of(target) == at_rest).all():
        raise WorkerError(
            f"“{target.name}” was changed while its keys were being made.",
            hint="Nothing was added. Press again.",
            code="data_gone",
        )
    added = character.add_keys(target, names, offsets)
    return job.Outcome(f"Added {len(added)} speech keys to “{target.name}”")


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
