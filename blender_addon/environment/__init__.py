"""What belongs to the add-on on this computer, outside of Blender: the worker's Python, models.

* ``place.py``: where the environment lies, and which Python is taken.
* ``setting_up.py``, ``installer.py``, ``packages.py``: how it is made, checked, removed.
* ``models.py``: what a checkpoint has, and the styles that the artist has saved.

Standard library only: the command line and the tests use it without Blender.
"""

from .place import Environment, current, data_dir, find_python
from .setting_up import check, download_commands, remove, set_up

__all__ = [
    "Environment",
    "check",
    "current",
    "data_dir",
    "download_commands",
    "find_python",
    "remove",
    "set_up",
]
