"""From a character's settings to keys on its face.

* ``planning.py`` → ``task.py``: what the settings, or a script, ask for.
* ``reference.py``, ``tracks.py``, ``face.py``: Actions and meshes as motion; sliders and lists over
  time; what models of other motion spaces are shown by.
* ``speaking.py``, ``refinishing.py``: what the buttons do with it, as steps of a job.
* ``applying.py``, ``raw_motion.py``: what happens in the scene with motion that has arrived.
"""
