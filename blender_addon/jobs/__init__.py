"""Work that takes a moment, done without holding Blender up.

* ``job.py``: one piece of work as a generator of steps, and the one that runs in the window.
* ``buttons.py``: operators that run such work, and say why they cannot be pressed.
* ``live.py``: work that a setting asks for when it changes, without a button.
"""
