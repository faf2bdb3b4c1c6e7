"""The emotions that a performance can be labelled with: the eight of the BEAT data set."""

from __future__ import annotations

EMOTIONS: tuple[str, ...] = (
    "neutral",
    "happiness",
    "anger",
    "sadness",
    "contempt",
    "surprise",
    "fear",
    "disgust",
)
"""In BEAT's own order, so that its label files need no translation."""
EMOTION_INDEX: dict[str, int] = {name: index for index, name in enumerate(EMOTIONS)}
