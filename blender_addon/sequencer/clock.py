"""Time: frames of the scene, and seconds of the speech."""

from __future__ import annotations

from dataclasses import dataclass

import bpy


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames per second; 29.97 is 30 with a base of 1.001."""
    return scene.render.fps / scene.render.fps_base


@dataclass(frozen=True)
class Clock:
    """From frames of the scene to seconds of the speech.

    Attributes:
        start_frame: frame at which the speech starts.
        fps: the scene's frame rate.
        speed: seconds of speech that go by in one second of the scene.
    """

    start_frame: float
    fps: float
    speed: float = 1.0

    def seconds(self, frame: float) -> float:
        """Seconds since the speech began, at a frame of the scene."""
        return (frame - self.start_frame) / self.fps * self.speed
