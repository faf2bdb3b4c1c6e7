"""Readers of published corpora; see `training.readers.interface` for what they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.readers import beat, beat2, biwi, flame_tracks, hdtf, live_link, vocaset
from training.readers.interface import Recording

READERS: dict[str, Callable[[Path], list[Recording]]] = {
    "vocaset": vocaset.recordings,
    "biwi": biwi.recordings,
    "beat": beat.recordings,
    "beat2": beat2.recordings,
    "hdtf": hdtf.recordings,
    "flame-tracks": flame_tracks.recordings,
    "live-link": live_link.recordings,
}
"""Name on the command line -> lists the recordings in a folder."""
