"""What comes out of a line of speech: files of many kinds, each there only when it is whole.

Everything is first written into a staging folder inside the output folder, on the same disk, and
then renamed. A crash leaves the staging folder behind; the next run removes it.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import addon_utils
import bpy

from ..worker.protocol import WorkerError
from . import stage
from .console import Progress, quiet_blender

_STAGING = ".idiolect-part"


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Name a folder for what is not whole yet; those of runs that died here are removed."""
    host = "".join(c if c.isalnum() else "_" for c in socket.gethostname())
    for old in out.glob(f"{_STAGING}-{host}-*"):
        pid = old.name.rpartition("-")[2]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    folder = out / f"{_STAGING}-{host}-{os.getpid()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(
    formats: tuple[str, ...],
    scene: bpy.types.Scene,
    actor: bpy.types.Object,
    stem: Path,
    staged: Path,
    motions: dict[str, Path],
    frames: tuple[int, int],
) -> list[Path]:
    """Write a scene's speech in several formats.

    Args:
        formats: see `batch_lines.FORMATS`.
        scene: what is written; its frame range stays.
        actor: who speaks; goes out with the objects of its family.
        stem: the results' path without a suffix.
        staged: the staging folder.
        motions: motion files that the worker has written already, by format.
        frames: first and last frame of what is exported for other programs.

    Returns:
        The files.

    Raises:
        OSError: the disk is full, or not writable.
        RuntimeError: what Blender itself reports.
    """
    for folder in (stem.parent, staged):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        part = staged / f"part.{name}"
        try:
            if name in motions:
                shutil.copyfile(motions[name], part)
            else:
                with quiet_blender(), _frame_range(scene, name, frames):
                    _WRITERS[name](scene, actor, part)
            if not part.is_file() or part.stat().st_size == 0:
                raise OSError(f"Blender wrote no {name} file")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)  # on a full disk, each byte counts
        written.append(path)
    return written


def render(
    scene: bpy.types.Scene,
    video: str,
    stills: int,
    stem: Path,
    staged: Path,
    progress: Progress,
) -> list[Path]:
    """Render the scene's frame range.

    Args:
        scene: with its renderer, size and camera set.
        video: "mp4", "png" or nothing.
        stills: how many single frames, spread over the range.
        stem: the results' path without a suffix.
        staged: the staging folder.
        progress: told of frames.
    """
    staged.mkdir(parents=True, exist_ok=True)
    written = []
    with quiet_blender():
        if stills:
            frames = _spread(scene.frame_start, scene.frame_end, stills)
            paths = [stem.with_name(f"{stem.name}_{frame:04d}.png") for frame in frames]
            parts = [staged / path.name for path in paths]
            progress(f"rendering {len(frames)} stills")
            stage.render_stills(scene, frames, parts)
            for part, path in zip(parts, paths, strict=True):
                part.replace(path)
            written += paths
        if video == "mp4":
            path = stem.with_name(f"{stem.name}.mp4")
            stage.set_video(scene, staged / path.name)
            stage.render(scene, progress.frames)
            (staged / path.name).replace(path)
            written.append(path)
        elif video == "png":
            path, frames_folder = stem.with_name(f"{stem.name}_frames"), staged / "frames"
            shutil.rmtree(frames_folder, ignore_errors=True)
            stage.set_pictures(scene, frames_folder / "####")
            stage.render(scene, progress.frames)
            if path.exists():
                shutil.rmtree(path)
            frames_folder.replace(path)
            written.append(path)
    return written


def why_not(formats: tuple[str, ...]) -> str:
    """Why this Blender cannot write one of the formats; empty if it can."""
    options: Any = bpy.app.build_options
    for name, able in (("abc", options.alembic), ("usdc", options.usd)):
        if name in formats and not able:
            return f"This Blender was built without what {name} files need"
    for name, module in (("glb", "io_scene_gltf2"), ("fbx", "io_scene_fbx")):
        if name in formats and not _enabled(module):
            return f"This Blender has no add-on {module}, which writes {name} files"
    return ""


def _enabled(module: str) -> bool:
    known: Any = addon_utils.check
    if not known(module)[1]:
        addon_utils.enable(module)
        _switched_on.append(module)
    return bool(known(module)[1])


_switched_on: list[str] = []


def release() -> None:
    """Switch off what was switched on: classes left registered make some Blenders crash at exit."""
    while _switched_on:
        addon_utils.disable(_switched_on.pop())


def not_written(error: OSError | RuntimeError, folder: Path) -> WorkerError:
    """What to tell of a result that could not be written: Blender's own words for a full disk are
    "No such file or directory".
    """
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return WorkerError(
        f"A result could not be written: {' '.join(str(error).split())}.",
        hint=f"{folder} has {free / 1e6:.0f} MB free: make room, or choose another --out.",
        code="unwritable_file",
    )


@contextmanager
def _frame_range(scene: bpy.types.Scene, name: str, frames: tuple[int, int]) -> Iterator[None]:
    kept = scene.frame_start, scene.frame_end
    if name != "blend":
        scene.frame_start, scene.frame_end = frames
    try:
        yield
    finally:
        scene.frame_start, scene.frame_end = kept


def _blend(scene: bpy.types.Scene, actor: bpy.types.Object, path: Path) -> None:
    del scene, actor
    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, check_existing=False)


def _glb(scene: bpy.types.Scene, actor: bpy.types.Object, path: Path) -> None:
    _select_family(scene, actor)
    bpy.ops.export_scene.gltf(
        filepath=str(path),
        export_format="GLB",
        use_selection=True,
        export_animations=True,
        export_frame_range=True,
        export_morph=True,
        export_morph_animation=True,
        # Its "optimisation" leaves out keys whose value is nearly the last one's.
        export_optimize_animation_size=False,
    )


def _fbx(scene: bpy.types.Scene, actor: bpy.types.Object, path: Path) -> None:
    _select_family(scene, actor)
    bpy.ops.export_scene.fbx(
        filepath=str(path),
        use_selection=True,
        use_mesh_modifiers=False,  # applying them would drop the shape keys
        bake_anim=True,
        bake_anim_use_nla_strips=False,
        bake_anim_use_all_actions=False,
        bake_anim_simplify_factor=0.0,
        add_leaf_bones=False,
    )


def _alembic(scene: bpy.types.Scene, actor: bpy.types.Object, path: Path) -> None:
    _select_family(scene, actor)
    bpy.ops.wm.alembic_export(
        filepath=str(path),
        start=scene.frame_start,
        end=scene.frame_end,
        selected=True,
        as_background_job=False,
    )


def _usd(scene: bpy.types.Scene, actor: bpy.types.Object, path: Path) -> None:
    _select_family(scene, actor)
    bpy.ops.wm.usd_export(
        filepath=str(path),
        selected_objects_only=True,
        export_animation=True,
        export_shapekeys=True,
    )


_WRITERS: dict[str, Callable[[Any, Any, Path], None]] = {
    "blend": _blend,
    "glb": _glb,
    "fbx": _fbx,
    "abc": _alembic,
    "usdc": _usd,
}


def _select_family(scene: bpy.types.Scene, actor: bpy.types.Object) -> None:
    """Select the actor with all that hangs on the same parent: rig, teeth, eyes, lashes."""
    top = actor
    while top.parent is not None:
        top = top.parent
    family = {top, *top.children_recursive}
    for one in scene.objects:
        one.select_set(one in family)
    scene.view_layers[0].objects.active = actor


def _spread(first: int, last: int, count: int) -> list[int]:
    """Frames spread evenly, the ends left out."""
    return [first + round((last - first) * (i + 0.5) / count) for i in range(count)]


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # there, signal 0 would end the process
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
