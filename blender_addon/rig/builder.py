"""Gathers what moves with which channel, until it is a rig's controls."""

from __future__ import annotations

from collections.abc import Callable

import bpy
import numpy as np

from .. import keying
from .controls import Control
from .drivers import NotSimpleError, Property, keyed_property


class Builder:
    """Gathers, for each property to key, what should follow it."""

    def __init__(self) -> None:
        self._parts: dict[tuple[bpy.types.ID, str, int], list[tuple[Property, dict, str]]] = {}
        self._not_keyed: dict[str, list[str]] = {}

    def add_keys(self, mesh: bpy.types.Object, keys: dict[str, tuple[str, ...]]) -> None:
        """Let shape keys of a mesh, by channel, follow."""
        by_key: dict[str, list[str]] = {}
        for channel, names in keys.items():
            for name in names:
                by_key.setdefault(name, []).append(channel)
        shape_keys = mesh.data.shape_keys
        for name, channels in by_key.items():
            try:
                at = keyed_property(shape_keys, keying.value_path(name))
            except NotSimpleError as error:
                self._refuse(f"Driven, and not keyed because {error}", name)
                continue
            if at.owner.library is not None:
                self._refuse("Linked, and not keyed without a library override", name)
                continue
            share = {channel: 1.0 / len(channels) for channel in channels}
            self._parts.setdefault((at.owner, at.path, at.index), []).append((at, share, name))

    def leave_out(self, unwanted: Callable[[str], bool]) -> None:
        """Let nothing follow channels of this kind."""
        for place, parts in list(self._parts.items()):
            kept = [part for part in parts if not any(unwanted(channel) for channel in part[1])]
            self._parts[place] = kept
            if not kept:
                del self._parts[place]

    @property
    def channels(self) -> set[str]:
        """Channels that something follows."""
        return {c for parts in self._parts.values() for part in parts for c in part[1]}

    def controls(self) -> tuple[Control, ...]:
        """One control for each property."""
        return tuple(_control(parts) for parts in self._parts.values())

    def notes(self) -> list[str]:
        """What is not keyed, and why."""
        return [f"{why}: {', '.join(names)}" for why, names in self._not_keyed.items()]

    def _refuse(self, why: str, name: str) -> None:
        names = self._not_keyed.setdefault(why, [])
        if name not in names:
            names.append(name)


def _control(parts: list[tuple[Property, dict[str, float], str]]) -> Control:
    """The property that several keys follow, as it must move for all of them.

    Keys that follow it in the same direction (head and teeth) each ask for a value: their mean.
    Keys of opposite directions (jaw left, jaw right) share it, each its own side of zero.
    """
    slopes: dict[str, float] = {}
    constants = []
    for sign in (1.0, -1.0):
        same = [part for part in parts if part[0].gain * sign > 0]
        for at, share, _ in same:
            for channel, part in share.items():
                slopes[channel] = slopes.get(channel, 0.0) + part / at.gain / len(same)
        if same:
            constants.append(np.mean([-at.offset / at.gain for at, _, _ in same]))
    at, _, label = parts[0]
    return Control(at, slopes, float(np.mean(constants)), label)
