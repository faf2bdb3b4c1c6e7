"""One speech onto one character: the worker is asked for a task's motion, which is then keyed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from .. import preferences, properties
from ..jobs import job
from ..worker.client import get_client
from ..worker.motion_file import read_motion
from . import applying, face, reference
from .task import Task

MADE_OF = "idiolect_made_of"
"""Custom property of an Action of ours: the task that it shows."""


def steps(task: Task, settings: preferences.Settings) -> job.Steps:
    """Ask the worker for the motion, then key it. The scene changes in the last step only."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        client = get_client(settings.worker())
        output = Path(folder) / "motion.npz"
        params = request(task, settings, Path(folder), output)
        answer = yield client.request("animate", params)
        preferences.remember_worker(client.info)
        motion, raw = read_motion(output), Path(params["raw"]).read_bytes()
    details = applying.apply(task, motion, raw)
    details += [*task.style.warnings, *answer.get("warnings", ())]
    if answer.get("heard"):
        details.append(f"Heard: {answer['heard']}")
    _mark(task)
    last = task.start_frame + len(motion.weights) - 1
    seconds = time.monotonic() - started
    name, first = Path(task.speech).name, task.start_frame
    return job.Outcome(
        f"{task.character.name}: {name}, frames {first}–{last} ({seconds:.1f} s)",
        tuple(dict.fromkeys(details)),
    )


def _mark(task: Task) -> None:
    """Note on the character, and on its keys, what they are made of; for ``live``."""
    target = task.character.find()
    made_of = task.digest if task.from_settings else ""
    properties.of(target).made_of = made_of
    if (action := applying.stored_action(target)) is not None:
        action[MADE_OF] = made_of


def request(
    task: Task, settings: preferences.Settings, folder: Path, output: Path
) -> dict[str, Any]:
    """What the worker's ``animate`` is asked for.

    Args:
        task: what to animate.
        settings: which model to ask.
        folder: where a sampled reference may be put, for the worker to read.
        output: where the worker shall write the motion, .npz; ``raw.npz`` is written beside it.
    """
    params = {
        "speech": str(Path(preferences.absolute(task.speech)).absolute()),
        "start_s": task.start_s,
        "duration_s": task.duration_s,
        # Frame i of the scene is second i / fps · speed of the file.
        "fps": task.fps / task.speed,
        "style": task.style.as_params(folder),
        "checkpoint": settings.checkpoint_path(),
        "output": str(output),
        "raw": str(output.with_name("raw.npz")),
    }
    emotion = task.emotion
    if isinstance(emotion, reference.Reference):
        emotion = emotion.as_params(folder, "emotion")
    said = {
        "emotion": emotion,
        "transcript": task.transcript,
        "alignment": task.alignment,
        "accurate": task.accurate,
        "finishing": task.finishing,
        "face": face.params(task.character.find(), settings, folder),
    }
    return params | {name: value for name, value in said.items() if value}
