"""All that is known when the button is pressed: one speech onto one character."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .. import properties
from ..jobs import job
from ..properties import finish
from ..rig import why_not
from ..sequencer import strips
from ..sequencer.clock import Clock, frame_rate
from ..worker.protocol import WorkerError
from . import reference, tracks

Emotion = tracks.Emotions | reference.Reference | None
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
    def clock(self) -> Clock:
        """From frames of the scene to seconds of the speech."""
        return Clock(self.start_frame, self.fps, self.speed)

    @property
    def digest(self) -> str:
        """Two words: what is said when, and all of it. Equal tasks make equal animations."""
        what = (self.speech, self.start_frame, self.fps, self.start_s, self.duration_s)
        what += (self.speed, self.transcript, self.alignment, self.accurate)
        how = (self.style, self.emotion)
        return f"{_digest(what)} {_digest((what, how))}"


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
            finishing=finish.as_params(
                properties.of(target).finish, frame_rate(scene) / spoken.speed
            ),
        )
    raise WorkerError(
        problem, hint="Choose an audio file that exists.", code="missing_speech", setting="speech"
    )


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
