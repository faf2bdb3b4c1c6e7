"""How eyeballs turn under the eight eyeLook keys.

Frame: x to the subject's left, y up, z front; any unit.
"""

from __future__ import annotations

import numpy as np

from core.face.geometry import rotation_x, rotation_y, turned

# How far an eye turns at full weight: what eyes reach without the head's help.
UP_DEG, DOWN_DEG, SIDE_DEG = 25.0, 28.0, 30.0


def look_keys(vertices: np.ndarray, pivot: np.ndarray, side: str) -> dict[str, np.ndarray]:
    """Displacements (V, 3) of one eyeball's vertices.

    Args:
        vertices: (V, 3) of the eyeball.
        pivot: (3,) its centre.
        side: "Left" or "Right", the subject's.

    Returns:
        eyeLookUp, -Down, -In and -Out of that side, as full ARKit names.
    """
    outwards = SIDE_DEG if side == "Left" else -SIDE_DEG
    turns = {
        "Up": rotation_x(-UP_DEG),
        "Down": rotation_x(DOWN_DEG),
        "In": rotation_y(-outwards),
        "Out": rotation_y(outwards),
    }
    return {f"eyeLook{way}{side}": turned(vertices, turn, pivot) for way, turn in turns.items()}
