"""What batch.py does once it has found the add-on: many speech files, one worker.

Each result is written beside its place and renamed when it is whole, so a .blend or a video that is
there is complete.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import animation, job, keying, making, preferences, properties, reference, stage
from .worker.client import WorkerClient, close_client, get_client
from .worker.protocol import WorkerError

ALL_WELL, UNEXPECTED, BAD_INPUT, BAD_SETUP, SOME_FAILED = 0, 1, 2, 3, 4

HEAD = "head"
DEFAULT_FPS = 30.0
DEFAULT_SIZE = (480, 540)

_SAY_EVERY_S = 2.0


@dataclass(frozen=True)
class Target:
    """One speech file, and where its results go."""

    speech: Path
    blend: Path

    @property
    def video(self) -> Path:
        """The video, with --render."""
        return self.blend.with_suffix(".mp4")

    @property
    def frames(self) -> Path:
        """The folder of frames, with --render png."""
        return self.blend.with_name(f"{self.blend.stem}_frames")

    def still(self, frame: int) -> Path:
        """A single frame, with --stills."""
        return self.blend.with_name(f"{self.blend.stem}_{frame:04d}.png")


def main(argv: list[str]) -> int:
    """Do what the command line says. Returns the exit code; each error is one line."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or shown the help
        return int(end.code or 0)
    try:
        return _run(options)
    except WorkerError as error:
        _complain(error)
        return _exit_code(error)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr, flush=True)
        return 130
    except Exception as error:
        with tempfile.NamedTemporaryFile(
            "w", prefix="idiolect-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            traceback.print_exc(file=log)
        print(f"error: unexpected {error!r} (details: {log.name})", file=sys.stderr, flush=True)
        return UNEXPECTED
    finally:
        close_client()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batch.py",
        description="Speech files to animated Blender scenes: one .blend for each.",
    )
    add = parser.add_argument
    add("speech", nargs="+", type=Path, metavar="SPEECH", help="speech files")
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder for the results")
    add("--name", help="name of the result, for a single speech file; else the file's own name")
    who = parser.add_mutually_exclusive_group().add_argument
    who("--character", metavar="NAME", help=f"object of FILE that speaks, or '{HEAD}'")
    who("--flame", metavar="FILE", help="FLAME model (.pkl, .npz) to import as the one who speaks")
    add("--reference", metavar="FILE", help="motion file (.npz, .csv, .json) to take the style of")
    add("--action", metavar="NAME", help="Action in FILE to take the style of")
    add("--style", metavar="NAME", default="", help="a ready-made style of the model")
    add("--checkpoint", metavar="FILE", help="a model of your own")
    add("--device", choices=[name for name, *_ in preferences.DEVICES])
    add("--fps", type=_fps, metavar="N", help=f"frame rate; else FILE's, or {DEFAULT_FPS:g}")
    add("--start", type=int, default=1, metavar="FRAME", help="frame at which the speech starts")
    add(
        "--render",
        nargs="?",
        const="mp4",
        choices=("mp4", "png"),
        help="render as well: a video with sound, or a folder of frames",
    )
    add("--stills", type=int, default=0, metavar="N", help="render N single frames as well")
    add("--engine", choices=stage.ENGINES, help="renderer; else FILE's, or cycles")
    add("--samples", type=int, metavar="N", help="samples a pixel; else what suits the renderer")
    add("--width", type=int, metavar="PIXELS")
    add("--height", type=int, metavar="PIXELS")
    return parser


def _fps(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 1000")
    return value


def _run(options: argparse.Namespace) -> int:
    """All speech files of one command line.

    Raises:
        WorkerError: for input that is bad for all of them.
    """
    targets = _targets(options)
    if options.reference:
        reference.from_file(str(Path(options.reference).absolute()))
    if options.flame:
        making.flame_file(str(Path(options.flame).absolute()))
    file = bpy.data.filepath
    settings = preferences.of(bpy.context).with_changes(
        checkpoint=options.checkpoint or "", device=options.device or ""
    )
    try:
        client = get_client(settings.worker())
        client.start().wait()
    except WorkerError as error:
        _complain(error)
        return BAD_SETUP
    _check_model(client, settings, options.style)

    failures: list[WorkerError] = []
    for number, target in enumerate(targets, 1):
        line = f"[{number}/{len(targets)}] {target.speech.name}"
        started = time.monotonic()
        try:
            _one(target, file, settings, options, line)
        except WorkerError as error:
            _complain(error, line)
            failures.append(error)
        except (OSError, RuntimeError) as error:  # the disk, and what Blender itself reports
            problem = _not_written(error, target.blend)
            _complain(problem, line)
            failures.append(problem)
        else:
            print(f"{line}: done in {time.monotonic() - started:.1f} s", flush=True)
    if not failures:
        return ALL_WELL
    if len(targets) == 1:
        return _exit_code(failures[0])
    print(f"{len(failures)} of {len(targets)} failed", file=sys.stderr, flush=True)
    return SOME_FAILED


def _not_written(error: OSError | RuntimeError, path: Path) -> WorkerError:
    """What to tell of a result that could not be written: Blender's own words for a full disk are
    "No such file or directory".
    """
    free = shutil.disk_usage(path.parent).free
    return WorkerError(
        f"{path.name} could not be written: {' '.join(str(error).split())}.",
        hint=f"{path.parent} has {free / 1e6:.0f} MB free: make room, or choose another --out.",
        code="unwritable_file",
    )


def _exit_code(error: WorkerError) -> int:
    """What a single failure amounts to: an error that names a setting lies in the input."""
    if error.setting == "worker_python":
        return BAD_SETUP
    return BAD_INPUT if error.setting or error.code == "bad_input" else SOME_FAILED


def _targets(options: argparse.Namespace) -> list[Target]:
    """Names for all results, each its own; and a folder that can be written to."""
    if options.name and len(options.speech) > 1:
        raise _bad("--name is for a single speech file.", "Leave it out: each keeps its own name.")
    out = options.out.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise _bad(
            f"{out} cannot be written to: {error.strerror or error}.", "Choose another --out."
        ) from error
    targets, taken = [], set()
    for speech in options.speech:
        name = stem = options.name or speech.stem
        count = 1
        while name in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name)
        targets.append(Target(speech.absolute(), out / f"{name}.blend"))
    return targets


def _check_model(client: WorkerClient, settings: preferences.Settings, style: str) -> None:
    """Load the model, so that a wrong one is said once and not for each file."""
    model = client.request("load", {"checkpoint": settings.checkpoint_path()}).wait()
    if style and style not in model.get("styles", ()):
        known = ", ".join(model.get("styles", ())) or "it has none"
        raise _bad(f"The model has no style “{style}”.", f"Choose one of: {known}.")


def _one(
    target: Target,
    file: str,
    settings: preferences.Settings,
    options: argparse.Namespace,
    line: str,
) -> None:
    """One speech file, from a fresh copy of FILE or an empty one."""
    say = _Progress(line)
    if not target.speech.is_file():
        raise _bad(f"There is no file {target.speech}.", "Check the path.")
    if file:
        bpy.ops.wm.open_mainfile(filepath=file)
    else:
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    scene = bpy.context.scene
    if options.fps or not file:
        _set_fps(scene, options.fps or DEFAULT_FPS)
    actor = _actor(scene, settings, options, bool(file), say)
    task = animation.plan(
        scene, actor, str(target.speech), options.start, _reference(scene, actor, options)
    )
    run = job.Job("animating", animation.steps(task, settings))
    outcome = run.run(lambda running: say(running.describe()))
    for detail in outcome.details:
        print(f"{line}: {detail}", flush=True)
    spoken = keying.lines_of(actor.data.shape_keys.animation_data.action)[-1]
    if not file:
        scene.frame_start, scene.frame_end = spoken.first, spoken.last
    _prepare_picture(scene, actor, options, bool(file))
    _save(target.blend)
    if options.render or options.stills:
        scene.frame_start, scene.frame_end = spoken.first, spoken.last
        _render(scene, target, options, say)


def _actor(
    scene: bpy.types.Scene,
    settings: preferences.Settings,
    options: argparse.Namespace,
    has_file: bool,
    say: _Progress,
) -> bpy.types.Object:
    """Who speaks: the named object, an imported or built-in head, or the only one who can."""
    if options.flame:
        into = job.DataRef.to(scene, "scenes")
        path = str(Path(options.flame).absolute())
        steps = making.flame(settings.worker(), into, path, "", shape_keys=False)
        job.Job("importing FLAME", steps).run(lambda running: say(running.describe()))
        return properties.of_scene(scene).character
    wanted = options.character or ("" if has_file else HEAD)
    if wanted and wanted in scene.objects:
        return scene.objects[wanted]
    if wanted.lower() == HEAD:
        steps = making.head(settings.worker(), job.DataRef.to(scene, "scenes"), "Head")
        job.Job("making the head", steps).run(lambda running: say(running.describe()))
        return properties.of_scene(scene).character
    able = [one for one in scene.objects if not animation.why_not(one)]
    if wanted:
        names = ", ".join(one.name for one in able) or "none in this file can speak"
        raise _bad(f"There is no object “{wanted}”.", f"Name one that can speak: {names}.")
    if len(able) != 1:
        names = ", ".join(one.name for one in able)
        raise _bad(
            f"{len(able)} objects of the file can speak{f' ({names})' if names else ''}.",
            f"Name one with --character, or use --character {HEAD}.",
        )
    return able[0]


def _reference(
    scene: bpy.types.Scene, actor: bpy.types.Object, options: argparse.Namespace
) -> reference.Reference:
    if options.reference:
        return reference.from_file(str(Path(options.reference).absolute()))
    if options.action:
        action = bpy.data.actions.get(options.action)
        if action is None:
            raise _bad(f"There is no Action “{options.action}” in the file.", "Check its name.")
        return reference.from_action(action, animation.frame_rate(scene))
    if options.style:
        return reference.Reference(style=options.style)
    return reference.as_reference(properties.of(actor), scene, animation.frame_rate(scene))


def _set_fps(scene: bpy.types.Scene, fps: float) -> None:
    """29.97 becomes 30 with a base of 1.001."""
    whole = max(1, round(fps))
    scene.render.fps = whole
    scene.render.fps_base = whole / fps


def _prepare_picture(
    scene: bpy.types.Scene, actor: bpy.types.Object, options: argparse.Namespace, has_file: bool
) -> None:
    """Camera and light where the file has none; renderer and size as asked."""
    staged = scene.camera is None and (options.render or options.stills or not has_file)
    if staged:
        stage.build(scene, actor)
    if options.engine or options.samples or staged:
        stage.set_engine(scene, options.engine or "cycles", options.samples)
    if options.width or options.height or staged:
        width, height = DEFAULT_SIZE if staged else (0, 0)
        scene.render.resolution_x = options.width or width or scene.render.resolution_x
        scene.render.resolution_y = options.height or height or scene.render.resolution_y
        scene.render.resolution_percentage = 100


def _save(path: Path) -> None:
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part.blend")
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(beside), copy=True, check_existing=False)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _render(
    scene: bpy.types.Scene, target: Target, options: argparse.Namespace, say: _Progress
) -> None:
    """Render the speech's frames. The saved .blend knows nothing of it."""
    beside = Path(tempfile.mkdtemp(prefix=f".{target.blend.stem}.", dir=target.blend.parent))
    try:
        with _quiet_blender():
            if options.stills:
                frames = _spread(scene.frame_start, scene.frame_end, options.stills)
                parts = [beside / target.still(frame).name for frame in frames]
                say(f"rendering {len(frames)} stills")
                stage.render_stills(scene, frames, parts)
                for frame, part in zip(frames, parts, strict=True):
                    part.replace(target.still(frame))
            if options.render == "mp4":
                stage.set_video(scene, beside / target.video.name)
                stage.render(scene, say.frames)
                (beside / target.video.name).replace(target.video)
            elif options.render == "png":
                stage.set_pictures(scene, beside / "frames" / "####")
                stage.render(scene, say.frames)
                if target.frames.exists():
                    shutil.rmtree(target.frames)
                (beside / "frames").replace(target.frames)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _spread(first: int, last: int, count: int) -> list[int]:
    """Frames spread evenly, the ends left out."""
    return [first + round((last - first) * (i + 0.5) / count) for i in range(count)]


class _Progress:
    """Lines of progress: each new stage at once, the same one now and then."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._stage = ""
        self._said = 0.0
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        stage_name = text.rstrip("0123456789% …")
        now = time.monotonic()
        if stage_name != self._stage or now - self._said > _SAY_EVERY_S:
            self._stage, self._said = stage_name, now
            print(f"{self._line}: {text}", file=_terminal or sys.stdout, flush=True)

    def frames(self, done: int, total: int) -> None:
        """Frames rendered, and how long the rest will take."""
        if done == 1:
            self._began = time.monotonic()
        left = (time.monotonic() - self._began) / max(1, done - 1) * (total - done)
        rest = f", {left / 60:.0f} min {left % 60:.0f} s left" if done > 1 else ""
        if done in (1, total) or time.monotonic() - self._said > _SAY_EVERY_S:
            self._said = time.monotonic()
            text = f"{self._line}: rendered {done} of {total} frames{rest}"
            print(text, file=_terminal or sys.stdout, flush=True)


_terminal = None
"""Where progress goes while Blender's own stdout is switched off."""


@contextlib.contextmanager
def _quiet_blender() -> Iterator[None]:
    """Silence the several lines that Blender prints for each frame it renders."""
    global _terminal
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    _terminal = os.fdopen(os.dup(kept), "w", encoding=sys.stdout.encoding or "utf-8")
    try:
        yield
    finally:
        _terminal.close()
        _terminal = None
        os.dup2(kept, 1)
        os.close(kept)


def _bad(message: str, hint: str) -> WorkerError:
    return WorkerError(message, hint=hint, code="bad_input")


def _complain(error: WorkerError, line: str = "") -> None:
    """One line on stderr."""
    text = " ".join(f"{error.message} {error.hint}".split())
    log = f" (log: {error.log_path})" if error.log_path else ""
    print(f"{line}: error: {text}{log}".removeprefix(": "), file=sys.stderr, flush=True)
