"""The bridge between Blender and the process that computes.

Blender's Python holds no PyTorch. A second Python, with an environment of its own, runs
``__main__.py`` of this package; the two talk in JSON lines over that process's pipes.

* ``protocol.py``: the messages, and the one error type. Standard library.
* ``motion_file.py``: the ``.npz`` files by which arrays cross. Standard library and numpy.
* ``client.py``: Blender's end. Standard library.
* ``__main__.py``: the worker's end, and the only file here that imports ``core``.
"""
