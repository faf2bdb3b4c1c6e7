"""At once: a setting that changes is seen a moment later, without a button.

``changed`` only notes a wish. A timer of Blender's takes it up: it starts the work as a job (see
``job.py``), looks after it now and then, and never waits for it, so the interface lives on while a
slider is dragged. The last value wins: wishes for the same character replace one another, and work
that has become old news is cancelled unless it is nearly done.

What the work is, others say: a maker for each level. A maker looks at the character and returns
the job's steps, or None where what is keyed already is what the settings ask for. So it costs
nothing to ask again after undo and redo, which bring back settings and keys of the same moment, or
nearly.

Undo: the keys belong to the step of the slider that made them, so one Ctrl-Z takes back both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import bpy

from ..worker.protocol import WorkerError
from . import job

ANIMATE, FINISH = 0, 1
"""Levels: decode again (and finish), or finish only. The lower one includes the higher one."""

Maker = Callable[[bpy.types.Scene, bpy.types.Object], "job.Steps | None"]

makers: dict[int, Maker] = {}
"""Level to what is done on it. A maker must be quick, and may raise WorkerError."""

problem: job.Outcome | None = None
"""Why the last change could not be shown, for the panel."""

_LOOK_S = 0.02
_REST = 0.5
"""Share of the time spent in writing keys that the interface gets to itself before the next run."""
_PATIENCE_S = 0.3
"""Work of this age is cancelled when something newer is wished for; younger work is shown first, so
that a face moves along with a slider that is dragged without a pause."""


@dataclass
class _Run:
    """Work under way for one character."""

    target: job.DataRef
    level: int
    work: job.Job


_wanted: dict[int, tuple[job.DataRef, int]] = {}
_running: _Run | None = None
_not_before = 0.0


def changed(target: bpy.types.ID, level: int = ANIMATE) -> None:
    """A setting of a character has changed. Cheap; may be called from a property's update."""
    if not isinstance(target, bpy.types.Object) or target.is_evaluated:
        return
    settings = target.idiolect  # type: ignore[attr-defined]
    if not settings.live or (level == ANIMATE and not settings.made_of):
        return
    uid = target.session_uid
    _, before = _wanted.get(uid, (None, level))
    _wanted[uid] = (job.DataRef.to(target), min(level, before))
    _wake()


def busy() -> bool:
    """Whether a change still has to be shown."""
    return bool(_wanted) or _running is not None


def tick() -> float | None:
    """One look: the timer's function. Returns when to look again, or None with nothing to do."""
    global problem, _running
    if job.current is not None:  # the artist has pressed a button: that comes first
        if _running is not None and not _running.work.cancelling:
            _running.work.cancel()
        if _running is None:
            return 0.1
    if _running is not None:
        _look_after(_running)
    elif _wanted and time.monotonic() >= _not_before:
        problem = None
        uid = next(iter(_wanted))
        target, level = _wanted.pop(uid)
        try:
            _running = _start(target, level)
        except WorkerError as error:
            _fail(error)
    return _LOOK_S if busy() else None


def wait(limit_s: float = 60.0) -> None:
    """Until everything is shown: for scripts, where timers do not fire.

    Raises:
        WorkerError: if it takes longer than allowed.
    """
    deadline = time.monotonic() + limit_s
    while tick() is not None:
        if time.monotonic() > deadline:
            stop()
            raise WorkerError("The change was not shown in time.", code="timeout")
        time.sleep(0.005)


def stop() -> None:
    """Forget all wishes and end what runs: for loading a file, and for unregistering."""
    global _running, problem
    _wanted.clear()
    problem = None
    if _running is not None:
        _running.work.abandon()
        _running = None


def _start(target: job.DataRef, level: int) -> _Run | None:
    """Begin the work, if there is any."""
    found = target.find()
    scene = _scene_of(found)
    for each in range(level, FINISH + 1):
        # Where there is nothing to animate anew there may still be something to finish.
        if scene and each in makers and (steps := makers[each](scene, found)) is not None:
            return _Run(target, each, job.Job("Live", steps))
    return None


def _look_after(run: _Run) -> None:
    """Go on with the work as far as possible without waiting."""
    global _running, _not_before
    newer = _wanted.get(run.target.session_uid)
    stale = newer is not None and newer[1] <= run.level
    if stale and time.monotonic() - run.work.started > _PATIENCE_S and not run.work.cancelling:
        run.work.cancel()
    began = time.monotonic()
    try:
        outcome = run.work.advance()
    except WorkerError as error:
        _running = None
        _fail(error)
    except BaseException:  # a bug: told by the timer, and not to be run into at each tick
        _running = None
        raise
    else:
        if outcome is None:
            return
        _running = None
        _not_before = time.monotonic() + _REST * (time.monotonic() - began)
    _redraw()


def _fail(error: WorkerError) -> None:
    """Say it in the panel; a pop-up for each step of a slider would be in the way."""
    global problem
    if not error.cancelled:
        problem = job.outcome_of(error)
    _redraw()


def _scene_of(target: bpy.types.Object) -> bpy.types.Scene | None:
    """The scene that the character is seen in: the open one, if it is in there."""
    scene = bpy.context.scene
    if scene is not None and target.name in scene.objects:
        return scene
    return next(iter(target.users_scene), None)


def _wake() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=0.0)


def _redraw() -> None:
    for window in bpy.context.window_manager.windows if bpy.context.window_manager else ():
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "DOPESHEET_EDITOR", "SEQUENCE_EDITOR"}:
                area.tag_redraw()


@bpy.app.handlers.persistent
def _after_undo(*_: object) -> None:
    """Undo may bring back settings whose keys came a moment after that step was recorded."""
    for target in bpy.data.objects:
        for level in makers:
            changed(target, level)


@bpy.app.handlers.persistent
def _after_update(_scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Keyframes of sliders have no update of their own: watch the Actions that hold them."""
    if not depsgraph.id_type_updated("ACTION"):
        return
    edited = {u.id.original for u in depsgraph.updates if isinstance(u.id, bpy.types.Action)}
    for target in bpy.data.objects:
        if target.animation_data is not None and target.animation_data.action in edited:
            changed(target)


def register() -> None:
    """Watch for undo, redo and edited keyframes."""
    bpy.app.handlers.undo_post.append(_after_undo)
    bpy.app.handlers.redo_post.append(_after_undo)
    bpy.app.handlers.depsgraph_update_post.append(_after_update)


def unregister() -> None:
    """Stop watching; nothing stays behind."""
    stop()
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)
    for handlers, ours in (
        (bpy.app.handlers.undo_post, _after_undo),
        (bpy.app.handlers.redo_post, _after_undo),
        (bpy.app.handlers.depsgraph_update_post, _after_update),
    ):
        if ours in handlers:
            handlers.remove(ours)
