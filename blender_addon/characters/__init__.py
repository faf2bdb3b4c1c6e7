"""Where characters come from: heads that the worker makes, files of FLAME's, folders of OBJs.

* ``making.py``: all that takes the worker, as steps of a job.
* ``head.py``, ``flame.py``: arrays to meshes, keys and bones.
* ``objs.py``: files to a mesh and keys, without the worker.
* ``marks.py``: points that an artist marks on any face, for keys to be made from.
"""
