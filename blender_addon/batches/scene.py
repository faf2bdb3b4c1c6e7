"""The scene in which a line is spoken: opened or made, its actor found, its picture prepared."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import bpy

from .. import preferences, properties, rig
from ..animation import planning
from ..animation.task import Task
from ..characters import making
from ..jobs import job
from . import emotion, stage
from .console import Progress, quiet_blender
from .lines import HEAD, Line, bad

DEFAULT_FPS = 30.0
DEFAULT_SIZE = (480, 540)


class Scenes:
    """Opens the scene of each line, fresh. Heads are made once, and kept in a folder of ours."""

    def __init__(self, settings: preferences.Settings, folder: Path) -> None:
        """Prepare.

        Args:
            settings: which worker makes heads.
            folder: for the .blend files of heads that were made.
        """
        self._settings = settings
        self._folder = folder
        self._made: dict[tuple[object, ...], tuple[Path, str]] = {}
        self._pristine: tuple[object, ...] | None = None
        self._actor_name = ""

    def open(
        self, line: Line, progress: Progress, *, pristine: bool = False
    ) -> tuple[bpy.types.Scene, bpy.types.Object]:
        """Open a line's scene, nothing spoken yet.

        Args:
            line: whose scene.
            progress: told when a head is made.
            pristine: the scene will only be looked at, so it need not be opened again for the
                next line that wants the same.

        Raises:
            WorkerError: there is no such scene, or nobody in it who could speak.
        """
        makes_head = line.flame or not (line.blend or line.character) or line.character == HEAD
        key = (line.blend, line.flame, line.character)
        if self._pristine == (*key, line.fps, line.camera):
            self._pristine = self._pristine if pristine else None
            return _scene(), _scene().objects[self._actor_name]
        self._pristine = None
        if key in self._made:
            path, name = self._made[key]
            _open(path)
            actor = _scene().objects[name]
        else:
            _open(line.blend)
            actor = self._actor(line, progress)
            if makes_head:
                path = self._folder / f"head-{len(self._made)}.blend"
                with quiet_blender():
                    bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True)
                self._made[key] = path, actor.name
        scene = _scene()
        if line.fps or not line.blend:
            _set_fps(scene, line.fps or DEFAULT_FPS)
        if line.camera:
            camera = scene.objects.get(line.camera)
            if camera is None or camera.type != "CAMERA":
                names = ", ".join(one.name for one in scene.objects if one.type == "CAMERA")
                raise bad(f"There is no camera “{line.camera}”.", f"There are: {names or 'none'}.")
            scene.camera = camera
        if pristine:
            self._pristine, self._actor_name = (*key, line.fps, line.camera), actor.name
        return scene, actor

    def _actor(self, line: Line, progress: Progress) -> bpy.types.Object:
        """Who speaks: the named object, an imported or built-in head, or the only one who can."""
        scene = _scene()
        into, worker = job.DataRef.to(scene, "scenes"), self._settings.worker()
        if line.flame:
            steps = making.import_flame(worker, into, str(line.flame), "", shape_keys=False)
            job.Job("importing FLAME", steps).run(lambda running: progress(running.describe()))
            return properties.of_scene(scene).character
        wanted = line.character or ("" if line.blend else HEAD)
        if wanted and wanted in scene.objects:
            return scene.objects[wanted]
        if wanted.lower() == HEAD:
            steps = making.add_head(worker, into, "Head")
            job.Job("making the head", steps).run(lambda running: progress(running.describe()))
            return properties.of_scene(scene).character
        able = rig.characters_in(scene)
        names = ", ".join(one.name for one in able)
        if wanted:
            known = names or "none in this file can speak"
            raise bad(f"There is no object “{wanted}”.", f"Name one that can speak: {known}.")
        if len(able) != 1:
            raise bad(
                f"{len(able)} objects of the file can speak{f' ({names})' if names else ''}.",
                f"Name one with --character, or use --character {HEAD}.",
            )
        return able[0]


def task_of(line: Line, scene: bpy.types.Scene, actor: bpy.types.Object) -> Task:
    """What a line asks for; where it says nothing, the character's own settings do.

    Raises:
        WorkerError: something that it names is not there.
    """
    given: dict[str, Any] = {"speech": str(line.speech), "start_frame": line.start}
    for which in ("", "_b"):
        if path := getattr(line, f"reference{which}"):
            given[f"reference_file{which}"] = str(path)
        if style := getattr(line, f"style{which}"):
            given[f"style{which}"] = style
    if line.action:
        given["reference_action"] = line.action
    given |= {
        name: value
        for name, value in (("mix", line.mix), ("strength", line.strength))
        if value is not None
    }
    if line.transcript:
        kind = "transcript_file" if Path(line.transcript).is_absolute() else "transcript"
        given[kind] = line.transcript
    if line.accurate:
        given["accurate"] = True
    track = None
    if line.emotion:
        track = emotion.from_file(line.emotion)
        given["emotion"] = "" if track else line.emotion
    task = planning.of_character(scene, actor, given)
    return dataclasses.replace(task, emotion=track) if track else task


def prepare_picture(
    scene: bpy.types.Scene, actor: bpy.types.Object, line: Line, options: argparse.Namespace
) -> None:
    """Camera and light where the file has none; renderer and size as asked."""
    staged = scene.camera is None and bool(line.render or line.stills or not line.blend)
    if staged:
        stage.build(scene, actor)
    if options.engine or options.samples or staged:
        stage.set_engine(scene, options.engine or "cycles", options.samples)
    if options.width or options.height or staged:
        width, height = DEFAULT_SIZE if staged else (0, 0)
        scene.render.resolution_x = options.width or width or scene.render.resolution_x
        scene.render.resolution_y = options.height or height or scene.render.resolution_y
        scene.render.resolution_percentage = 100


def _scene() -> bpy.types.Scene:
    """The scene of the file that is open; outside a window there always is one."""
    scene = bpy.context.scene
    assert scene is not None
    return scene


def _open(path: Path | None) -> None:
    with quiet_blender():
        if path is None:
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        elif path.is_file():
            bpy.ops.wm.open_mainfile(filepath=str(path))
        else:
            raise bad(f"There is no file {path}.", "Check the path.")


def _set_fps(scene: bpy.types.Scene, fps: float) -> None:
    """29.97 becomes 30 with a base of 1.001."""
    whole = max(1, round(fps))
    scene.render.fps = whole
    scene.render.fps_base = whole / fps
