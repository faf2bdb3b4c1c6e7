"""A character's rig: what of it follows which channel of the motion, and how to read it back.

* ``names.py``, ``visemes.py``: what shape keys are called, and what mouths without ARKit's do.
* ``meshes.py``, ``drivers.py``, ``bones.py``, ``flame.py``: what a face is made of.
* ``controls.py``, ``builder.py``: a rig, and how it comes together.
* ``finding.py``, ``spaces.py``: the rig of a character, for motion of any space.
* ``reading.py``: motion of any rig, for references.
"""

from .controls import Rig, Weights
from .finding import armature_of, characters_in, override_meshes, rig_of, why_not
from .spaces import rig_for, speaks_flame

__all__ = [
    "Rig",
    "Weights",
    "armature_of",
    "characters_in",
    "override_meshes",
    "rig_for",
    "rig_of",
    "speaks_flame",
    "why_not",
]
