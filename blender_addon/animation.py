"""One speech onto one character: from what the scene asks for to keys, as steps of a job."""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import (
    applying,
    controls,
    finish_properties,
    job,
    preferences,
    properties,
    reference,
    speaking_face,
    strips,
)
from .rig import why_not
from .worker.client import get_client
from .worker.motion_file import read_motion
from .worker.protocol import WorkerError

MADE_OF = "idiolect_made_of"
"""Custom property of an Action of ours: the task that it shows."""

Emotion = controls.Emotions | reference.Reference | None
"""Intensities over time, or the clip whose emotion is copied, or nothing said about it."""


@dataclass(frozen=True)
class Task:
    """Everything that is known when the button is pressed.

    Attributes:
        character: who speaks.
        scene: where.
        speech: the speech file, as the artist wrote it.
        start_frame: frame at which it starts.
        style: whose manner.
        fps: the scene's frame rate; need not be whole.
        emotion: how it is felt.
        start_s: second of the file that is heard at the start.
        duration_s: seconds of the file that are heard; None: up to its end.
        speed: seconds of the file that go by in one second of the scene.
        strip: the strip of the sequencer that it is taken from; empty: the file is placed there.
        transcript: the words; empty: not known.
        alignment: file of the words with their times; empty: none.
        accurate: whether the words are recognised first.
        from_settings: whether the character's settings say all this, and not a script.
        finishing: how the worker finishes the motion; None: as it thinks best.
        span: the frames that may change; None: all that the speech takes.
    """

    character: job.DataRef
    scene: job.DataRef
    speech: str
    start_frame: int
    style: reference.Manner
    fps: float
    emotion: Emotion = None
    start_s: float = 0.0
    duration_s: float | None = None
    speed: float = 1.0
    strip: str = ""
    transcript: str = ""
    alignment: str = ""
    accurate: bool = False
    from_settings: bool = False
    finishing: dict[str, Any] | None = None
    span: tuple[int, int] | None = None

    @property
    def clock(self) -> controls.Clock:
        """From frames of the scene to seconds of the speech."""
        return controls.Clock(self.start_frame, self.fps, self.speed)

    @property
    def digest(self) -> str:
        """Two words: what is said when, and all of it. Equal tasks make equal animations."""
        what = (self.speech, self.start_frame, self.fps, self.start_s, self.duration_s)
        what += (self.speed, self.transcript, self.alignment, self.accurate)
        how = (self.style, self.emotion)
        return f"{_digest(what)} {_digest((what, how))}"


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames per second; 29.97 is 30 with a base of 1.001."""
    return scene.render.fps / scene.render.fps_base


def plan(
    scene: bpy.types.Scene,
    target: bpy.types.Object | None,
    speech: str,
    start_frame: int,
    style: reference.Reference | reference.Manner,
    *,
    emotion: Emotion = None,
    part: strips.Spoken | None = None,
    transcript: str = "",
    alignment: str = "",
    accurate: bool = False,
    from_settings: bool = False,
) -> Task:
    """Check what can be checked before the worker is asked.

    Args:
        scene: where.
        target: who speaks.
        speech: the speech file.
        start_frame: frame at which it starts.
        style: whose manner.
        emotion: how it is felt.
        part: the part of the file that a strip plays, in place of ``speech`` and ``start_frame``.
        transcript: the words.
        alignment: file of the words with their times.
        accurate: whether to recognise the words first.
        from_settings: see ``Task``.

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
    spoken = part or strips.Spoken(speech, start_frame)
    path = bpy.path.abspath(spoken.file)
    if not spoken.file:
        problem = "No speech is chosen."
    elif not Path(path).is_file():
        problem = f"The speech file does not exist: {path}."
    else:
        return Task(
            character=job.DataRef.to(target),
            scene=job.DataRef.to(scene, "scenes"),
            speech=spoken.file,
            start_frame=spoken.start_frame,
            style=style if isinstance(style, reference.Manner) else reference.Manner(style),
            fps=frame_rate(scene),
            emotion=emotion,
            start_s=spoken.start_s,
            duration_s=spoken.duration_s,
            speed=spoken.speed,
            strip=spoken.strip,
            transcript=transcript,
            alignment=alignment,
            accurate=accurate,
            from_settings=from_settings,
            finishing=finish_properties.as_params(
                properties.of(target).finish, frame_rate(scene) / spoken.speed
            ),
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
        "face": speaking_face.params(task.character.find(), settings, folder),
    }
    return params | {name: value for name, value in said.items() if value}


def _digest(values: Any) -> str:
    """A short word for values: numbers, texts, arrays, and whatever holds them."""
    total = hashlib.sha1(usedforsecurity=False)

    def take(value: Any) -> None:
        if isinstance(value, np.ndarray):
            total.update(np.ascontiguousarray(value).tobytes())
        elif is_dataclass(value):
            take([getattr(value, field.name) for field in fields(value)])
        elif isinstance(value, list | tuple):
            total.update(b"(")
            for part in value:
                take(part)
            total.update(b")")
        else:
            total.update(f"{value!r},".encode())

    take(values)
    return total.hexdigest()[:16]
