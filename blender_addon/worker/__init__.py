"""The bridge between Blender and the process that computes.

Blender's Python holds no PyTorch. A second Python, with an environment of its own, runs
``__main__.py`` of this package; the two talk in JSON lines over that process's pipes.

* ``protocol.py``: the messages, and the one error type.
* ``motion_file.py``: the ``.npz`` files by which arrays cross.
* ``client.py``, ``life.py``: Blender's end: which worker runs, and one process from start to end.
* ``__main__.py``, ``serving.py``, ``startup.py``: the worker's end; the first alone imports
  ``core``.
* ``process.py``: child processes that are started clean and leave nothing behind.

All but ``__main__.py`` need nothing beyond the standard library (and numpy, for the files).
"""
