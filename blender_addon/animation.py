"""One speech onto one character: from what the scene asks for to keys, as steps of a job."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from . import applying, job, preferences, reference
from .rig import why_not
from .worker.client import get_client
from .worker.motion_file import read_motion
from .worker.protocol import WorkerError


@dataclass(frozen=True)
class Task:
    """Everything that is known when the button is pressed.

    Attributes:
        character: who speaks.
        scene: where.
        speech: the speech file, as the artist wrote it.
        start_frame: frame at which it starts.
        reference: whose manner.
        fps: the scene's frame rate; need not be whole.
    """

    character: job.DataRef
    scene: job.DataRef
    speech: str
    start_frame: int
    reference: reference.Reference
    fps: float


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames per second; 29.97 is 30 with a base of 1.001."""
    return scene.render.fps / scene.render.fps_base


def plan(
    scene: bpy.types.Scene,
    target: bpy.types.Object | None,
    speech: str,
    start_frame: int,
    style: reference.Reference,
) -> Task:
    """Check what can be checked before the worker is asked.

    Raises:
        WorkerError: if the speech is not there, or the character cannot speak.
    """
    reason = why_not(target)
    if reason:
        raise WorkerError(
            f"{reason}.",
            hint="Choose another mesh, add its speech keys, or press Add Head.",
            code="bad_character",
            setting="character",
        )
    if not speech:
        problem = "No speech is chosen."
    elif not Path(bpy.path.abspath(speech)).is_file():
        problem = f"The speech file does not exist: {bpy.path.abspath(speech)}."
    else:
        return Task(
            character=job.DataRef.to(target),
            scene=job.DataRef.to(scene, "scenes"),
            speech=speech,
            start_frame=start_frame,
            reference=style,
            fps=frame_rate(scene),
        )
    raise WorkerError(
        problem, hint="Choose an audio file that exists.", code="missing_speech", setting="speech"
    )


def steps(task: Task, settings: preferences.Settings) -> job.Steps:
    """Ask the worker for the motion, then key it. The scene changes in the last step only."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        client = get_client(settings.worker())
        output = Path(folder) / "motion.npz"
        yield client.request("animate", request(task, settings, Path(folder), output))
        preferences.remember_worker(client.info)
        motion = read_motion(output)
    details = applying.apply(task, motion)
    last = task.start_frame + len(motion.weights) - 1
    seconds = time.monotonic() - started
    name, first = Path(task.speech).name, task.start_frame
    return job.Outcome(
        f"{task.character.name}: {name}, frames {first}–{last} ({seconds:.1f} s)",
        tuple(details),
    )


def request(
    task: Task, settings: preferences.Settings, folder: Path, output: Path
) -> dict[str, Any]:
    """What the worker's ``animate`` is asked for.

    Args:
        task: what to animate.
        settings: which model to ask.
        folder: where a sampled reference may be put, for the worker to read.
        output: where the worker shall write the motion, .npz.
    """
    return {
        "speech": str(Path(preferences.absolute(task.speech)).absolute()),
        "start_s": 0.0,
        "duration_s": None,
        "fps": task.fps,
        "style": task.reference.as_params(folder),
        "checkpoint": settings.checkpoint_path(),
        "output": str(output),
    }
