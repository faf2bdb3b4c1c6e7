"""Faces that the worker makes, as steps of a job: the built-in head, and speech keys for a mesh."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy

from . import character, job, properties
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
    if count != FLAME_VERTICES:
        return f"“{target.name}” has {count} vertices; a FLAME mesh has {FLAME_VERTICES}"
    if not len(character.triangles_of(target)):
        return f"“{target.name}” has faces that are not triangles; a FLAME mesh has none"
    if not character.speech_keys_of(target).missing:
        return f"“{target.name}” has all speech keys already"
    return ""


def speech_keys(settings: WorkerSettings, target: bpy.types.Object | None) -> job.Steps:
    """Give a mesh of FLAME topology its missing ARKit keys; those that it has are left alone.

    Raises:
        WorkerError: if it is no such mesh.
    """
    reason = why_no_speech_keys(target)
    if target is None or reason:
        raise WorkerError(
            f"{reason}.",
            hint="Speech keys can be made for meshes of FLAME's topology.",
            code="bad_topology",
            setting="character",
        )
    wanted, at_rest = job.DataRef.to(target), character.basis_of(target)
    # In the mesh's own axes and unit: the worker finds out how it stands, and answers likewise.
    arrays = {"vertices": at_rest, "faces": character.triangles_of(target)}
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
    """Link a new head at the 3D cursor; make it the active object and the panel's character."""
    in_view = context.scene == scene
    collection = context.collection if in_view and context.collection else scene.collection
    collection.objects.link(made)
    made.location = scene.cursor.location
    properties.of_scene(scene).character = made
    if in_view:
        for other in context.view_layer.objects:
            other.select_set(False)
        made.select_set(True)
        context.view_layer.objects.active = made
