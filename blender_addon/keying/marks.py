"""What we note on an Action of ours: the speeches in it, and how we left its curves."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import bpy

from . import actions, curves, nla
from .curves import MARK, Keys, Place


@dataclass(frozen=True)
class Line:
    """One speech within an Action of ours: its file, its first and its last frame."""

    speech: str
    first: int
    last: int

    def gives_way_to(self, other: Line) -> bool:
        """Whether it goes when ``other`` is keyed: it wants the same frames, or is the same
        speech at an older place.
        """
        return self.speech == other.speech or (
            self.first <= other.last and other.first <= self.last
        )


def lines_of(action: bpy.types.Action | None) -> list[Line]:
    """The speeches in an Action of ours, in the order in which they were keyed."""
    if action is None or MARK not in action:
        return []
    return [Line(str(s), int(a), int(b)) for s, a, b in _read(action)["lines"]]


def edited(
    owner: bpy.types.ID | None, read: Mapping[Place, Keys] | None = None
) -> dict[Place, bpy.types.FCurve]:
    """The curves that were edited since we wrote them.

    Args:
        owner: what uses our Action: animation data, or an NLA strip.
        read: its curves' keys, if they have been read already: that is what takes the time.
    """
    if owner is None:
        return {}
    noted = _read(owner.action).get("digests", {})
    found = {}
    for curve in actions.active_curves(owner):
        place = curve.data_path, curve.array_index
        keys = curves.read(curve) if read is None else read[place]
        if noted.get(_name(curve)) != curves.digest(keys):
            found[place] = curve
    return found


def edits_of(block: bpy.types.ID) -> dict[Place, bpy.types.FCurve]:
    """The curves of a data-block's speech that were edited since we wrote them."""
    return edited(nla.speech_owner(block.animation_data))


def note(
    action: bpy.types.Action,
    where: Collection[bpy.types.FCurve],
    lines: list[Line],
    title: str,
    still_edited: Collection[Place] = (),
) -> None:
    """Note all that; and name the Action, unless the artist has named it.

    Args:
        action: an Action of ours.
        where: its curves.
        lines: the speeches in it.
        title: the name for it.
        still_edited: curves that were edited, and not written anew as a whole.
    """
    mark = _read(action)
    if mark.get("name") == action.name and mark["title"] != title:
        action.name = title
    before, digests = mark.get("digests", {}), {}
    for curve in where:
        if (curve.data_path, curve.array_index) in still_edited:
            digests[_name(curve)] = before.get(_name(curve), "")
        else:
            digests[_name(curve)] = curves.digest(curves.read(curve))
    action[MARK] = json.dumps(
        {
            "lines": [[line.speech, line.first, line.last] for line in lines],
            "digests": digests,
            "title": title,
            "name": action.name if mark.get("name", action.name) == action.name else "",
        }
    )


def _name(curve: bpy.types.FCurve) -> str:
    return f"{curve.array_index} {curve.data_path}"


def _read(action: bpy.types.Action) -> dict[str, Any]:
    return json.loads(action.get(MARK, "{}"))
