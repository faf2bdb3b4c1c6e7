"""Transitions from emotion to emotion as text, and a character's list of them.

Text is how scripts and presets write the list: ``happiness 0.7, +surprise 0.4, sadness @ 96``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bpy

from ..sequencer.clock import frame_rate
from ..worker.protocol import WorkerError

EMOTIONS = (
    *("neutral", "happiness", "anger", "sadness"),
    *("contempt", "surprise", "fear", "disgust"),
)
"""In the worker's order."""

EASES = (
    ("SMOOTH", "Smooth", "Begins and ends slowly"),
    ("IN", "Ease In", "Begins slowly, ends quickly"),
    ("OUT", "Ease Out", "Begins quickly, ends slowly"),
    ("LINEAR", "Even", "Changes evenly"),
)

_ITEM = re.compile(
    r"""(?P<keep>\+)?\s*(?P<emotion>[a-z]+)
    (\s+(?P<intensity>\d*\.?\d+))?
    (\s*@\s*("(?P<marker>[^"]+)"|(?P<at>-?\d*\.?\d+)(?P<at_s>\s?s)?))?
    (\s+over\s+(?P<over>\d*\.?\d+)(?P<over_s>\s?s)?)?
    (\s+(?P<ease>smooth|in|out|linear))?""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Written:
    """One transition as text has it: times in frames of the scene, or in seconds of the speech."""

    emotion: str
    intensity: float = 1.0
    at: float | None = None
    at_in_seconds: bool = False
    marker: str = ""
    over: float = 0.5
    over_in_seconds: bool = True
    ease: str = "SMOOTH"
    keep: bool = False


def parse(text: str) -> list[Written]:
    """Read a list such as ``happiness 0.7, +surprise 0.4, sadness @ 96 over 12, anger @ 4.5s``.

    An item is an emotion and, all of them optional: its intensity; ``@`` and a frame of the scene,
    or seconds of the speech with an ``s``, or a "marker"; ``over`` and how long it takes; an ease.
    ``+`` mixes it into what is there; otherwise that fades.

    Raises:
        WorkerError: if it cannot be read.
    """
    items = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _ITEM.fullmatch(part if '"' in part else part.lower())
        emotion = found["emotion"] if found else ""
        if found is None or emotion not in EMOTIONS:
            raise WorkerError(
                f"This is no emotion: “{part}”.",
                hint="Write it like “happiness 0.7 @ 24 over 12”. Emotions:"
                f" {', '.join(EMOTIONS)}.",
                code="bad_emotion",
                setting="emotion",
            )
        items.append(
            Written(
                emotion,
                min(1.0, float(found["intensity"] or 1.0)),
                float(found["at"]) if found["at"] else None,
                bool(found["at_s"]),
                found["marker"] or "",
                float(found["over"]) if found["over"] else 0.5,
                bool(found["over_s"]) or not found["over"],
                (found["ease"] or "smooth").upper(),
                bool(found["keep"]),
            )
        )
    return items


def frame_of(row: Any, scene: bpy.types.Scene) -> float:
    """Frame at which a transition of the list begins.

    Raises:
        WorkerError: if its marker is not there.
    """
    return marker_frame(scene, row.marker) if row.marker else row.frame


def marker_frame(scene: bpy.types.Scene, name: str) -> float:
    """Frame of a marker.

    Raises:
        WorkerError: if there is none of that name.
    """
    marker = scene.timeline_markers.get(name)
    if marker is None:
        raise WorkerError(
            f"There is no marker “{name}” in the scene “{scene.name}”.",
            hint="Choose another marker for the emotion, or clear it and give a frame.",
            code="bad_emotion",
            setting="emotion",
        )
    return float(marker.frame)


def changes_to_text(rows: Iterable[Any]) -> str:
    """A character's list as ``parse`` reads it."""
    items = []
    for row in rows:
        place = f'"{row.marker}"' if row.marker else f"{row.frame}"
        items.append(
            f"{'+' if row.keep else ''}{row.emotion} {row.intensity:g} @ {place}"
            f" over {row.duration} {row.ease.lower()}"
        )
    return ", ".join(items)


def fill_changes(rows: Any, text: str) -> None:
    """Replace a character's list by what a text says; seconds count from the first frame.

    Raises:
        WorkerError: if it cannot be read.
    """
    items = parse(text)
    scene = bpy.context.scene
    fps = frame_rate(scene)
    start = rows.id_data.idiolect.start_frame
    rows.clear()
    for item in items:
        row = rows.add()
        row.emotion, row.intensity, row.ease = item.emotion, item.intensity, item.ease
        row.keep, row.marker = item.keep, item.marker
        if item.at_in_seconds and item.at is not None:
            row.frame = round(start + item.at * fps)
        elif not item.marker:
            row.frame = round(start if item.at is None else item.at)
        row.duration = round(item.over * fps) if item.over_in_seconds else round(item.over)
