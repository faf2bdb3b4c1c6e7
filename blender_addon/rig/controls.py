"""What there is to key of a face so that it follows motion, and how to read it back.

Motion has channels (ARKit's 52, and the head's rotation). A rig has controls: numbers that follow
channels linearly (shape keys of several meshes, properties that drive them), and bones that turn.
Characters with visemes, or with FLAME's expressions, have channels of their own in between.

Everything here reads; nothing in the scene changes. Shapes: T motion frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from .. import keying
from ..worker.motion_file import Motion
from ..worker.protocol import WorkerError
from . import flame, visemes
from .bones import HEAD_TURNS, Turn
from .drivers import Property

Array = npt.NDArray[Any]
Weights = dict[str, Array]
"""Values (T,) by channel."""

# Visemes and FLAME's coefficients are channels too, once the motion is told in their terms.
VISEME = "viseme "
# Either of these does for the other, with so much of its weight.
_ROUNDED = (("mouthFunnel", "mouthPucker", 0.6), ("mouthPucker", "mouthFunnel", 0.5))
# The way back only needs to decide between weights that do the same.
_RIDGE = 1e-4


@dataclass(frozen=True)
class Control:
    """A number to key: ``constant + Σ slope · channel``.

    Attributes:
        at: the property.
        slopes: how it follows each channel.
        constant: where it stands when all channels are zero.
        label: its name, for people.
    """

    at: Property
    slopes: dict[str, float]
    constant: float
    label: str

    def values(self, weights: Weights, frames: int) -> Array:
        """What to key (T,)."""
        total = np.full(frames, self.constant)
        for channel, slope in self.slopes.items():
            if channel in weights:
                total += slope * weights[channel]
        return total


@dataclass(frozen=True)
class Rig:
    """What can be keyed of a character.

    Attributes:
        target: the character's object.
        meshes: it and the meshes that share its keys.
        controls: numbers to key.
        turns: bones to turn.
        missing: ARKit channels that nothing follows.
        notes: what the artist should know.
        mouth: what moves the mouth: "KEYS", "VISEMES", "EXPRESSIONS", or "" for nothing.
        reason: why it cannot speak; empty if it can.
        translate: motion in the terms of visemes or expressions, added to its channels.
        gain_of: how much stronger a channel comes out.
    """

    target: bpy.types.Object
    meshes: tuple[bpy.types.Object, ...]
    controls: tuple[Control, ...] = ()
    turns: tuple[Turn, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mouth: str = ""
    reason: str = ""
    translate: Callable[[Weights], Weights] = field(default=dict)
    gain_of: Callable[[str], float] = field(default=lambda _channel: 1.0)

    @property
    def can_speak(self) -> bool:
        """Whether a mouth would move at all."""
        return not self.reason

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that something follows."""
        followed = {c for control in self.controls for c in control.slopes}
        return tuple(dict.fromkeys([*followed, *(c for turn in self.turns for c in turn.axes)]))

    def curves(self, motion: Motion) -> list[keying.Curve]:
        """What to key for this motion.

        Raises:
            WorkerError: if the character cannot speak.
        """
        if self.reason:
            raise WorkerError(f"{self.reason}.", code="bad_character", setting="character")
        frames = len(motion.weights)
        weights = {
            channel: self.gain_of(channel) * motion.weights[:, column].astype(np.float64)
            for column, channel in enumerate(motion.channels)
        }
        weights = self.translate(weights | stand_ins(weights, self.missing, frames))
        found = [
            keying.Curve(
                control.at.owner,
                control.at.path,
                control.at.index,
                control.values(weights, frames).astype(np.float32),
                control.label,
                next(iter(control.slopes)),
            )
            for control in self.controls
            if not weights.keys().isdisjoint(control.slopes)
        ]
        for turn in self.turns:
            if weights.keys().isdisjoint(turn.axes):
                continue
            for index, values in enumerate(turn.values(weights).T.astype(np.float32)):
                channel = next(iter(turn.axes))
                found.append(
                    keying.Curve(turn.armature, turn.path, index, values, turn.bone, channel)
                )
        return found

    def weights_of(self, read: Callable[[bpy.types.ID, str, int], Array | None]) -> Weights:
        """The weights that this rig's controls show: the way back, for references.

        Args:
            read: values (T,) of a property; None where nothing animates it.
        """
        seen, values = [], []
        for control in self.controls:
            value = read(control.at.owner, control.at.path, control.at.index)
            if value is not None:
                seen.append(control)
                values.append(np.asarray(value, np.float64) - control.constant)
        channels = list(dict.fromkeys(c for control in seen for c in control.slopes))
        found: Weights = {}
        if channels:
            slopes = np.array([[one.slopes.get(c, 0.0) for c in channels] for one in seen])
            gram = slopes.T @ slopes
            gram += _RIDGE * np.diag(np.diag(gram))
            targets = np.stack(values, axis=1) @ slopes
            signed = [channel.startswith(flame.PREFIX) for channel in channels]
            solved = visemes.solve_within(gram, targets)
            # Coefficients lie on both sides of zero, and each has a control of its own.
            solved[:, signed] = (targets / np.diag(gram))[:, signed]
            found = {channel: solved[:, i] for i, channel in enumerate(channels)}
        for turn in self.turns:
            parts = [read(turn.armature, turn.path, index) for index in range(4)]
            rotation = [part for part in parts if part is not None]
            if len(rotation) >= 3:
                shown = turn.read(np.stack(rotation, axis=1))
                for channel, axis in turn.axes.items():
                    value = shown @ axis / (axis @ axis)
                    both_ways = channel in HEAD_TURNS or channel.startswith(flame.PREFIX)
                    found[channel] = value if both_ways else np.clip(value, 0.0, 1.0)
        fitted = flame.fitted(self.target) if self.mouth == "EXPRESSIONS" else None
        if fitted is not None and found:
            frames = len(next(iter(found.values())))
            prefix = flame.PREFIX
            own = {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}
            rest = {name: v for name, v in found.items() if not name.startswith(prefix)}
            found = rest | fitted.to_arkit(own, frames)
        return _without_visemes(found)


def stand_ins(weights: Weights, missing: Iterable[str], frames: int) -> Weights:
    """Channels that take over from missing ones, where that is better than nothing."""
    missing, none = set(missing), np.zeros(frames)
    changed: Weights = {}
    if "mouthClose" in missing:
        jaw, close = weights.get("jawOpen", none), weights.get("mouthClose", none)
        changed["jawOpen"] = np.maximum(jaw - close, 0.0)
    if "jawOpen" in missing and "mouthClose" not in missing:
        changed["mouthClose"] = none
    for name, other, share in _ROUNDED:
        if name in missing and other not in missing:
            changed[other] = weights.get(other, none) + share * weights.get(name, none)
    return changed


def stand_in_notes(missing: tuple[str, ...]) -> list[str]:
    """What `stand_ins` does, for people."""
    told = []
    if "mouthClose" in missing:
        told.append("No mouthClose: lips meet by a jaw that opens less")
    if "jawOpen" in missing and "mouthClose" not in missing:
        told.append("No jawOpen: mouthClose stays at zero")
    if ("mouthFunnel" in missing) != ("mouthPucker" in missing):
        there, gone = sorted(("mouthFunnel", "mouthPucker"), key=lambda name: name in missing)
        told.append(f"No {gone}: {there} does its work")
    return told


def _without_visemes(weights: Weights) -> Weights:
    names = [name for name in weights if name.startswith(VISEME)]
    if not names:
        return weights
    values = np.stack([weights[name] for name in names], axis=1)
    back = visemes.from_visemes(values, [name.removeprefix(VISEME) for name in names])
    return {name: w for name, w in weights.items() if name not in names} | back
