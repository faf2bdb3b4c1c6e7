"""From any exception to what the user is told. The command line and the worker both end here."""

from __future__ import annotations

import errno

from core.errors import IdiolectError

INTERNAL = ("internal", "environment")
"""The codes whose traceback belongs into a log: the rest says all by its message."""


def explain(error: BaseException) -> IdiolectError:
    """The same failure as a message with a remedy.

    Ours stay as they are; want of memory, full disks, refused access and missing packages get
    words of their own; everything else has the code "internal".
    """
    if isinstance(error, IdiolectError):
        return error
    text = " ".join(str(error).split())
    # PyTorch reports want of memory as OutOfMemoryError on a card, as RuntimeError on a processor.
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or (isinstance(error, RuntimeError) and "allocate memory" in text):
        return IdiolectError(
            "There is not enough memory for this.",
            hint="Close other programs, or set the device to cpu.",
            code="out_of_memory",
            setting="device",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return IdiolectError(
            f"The disk is full: {error.filename or text}.",
            hint="Free some space, or choose a folder on another disk.",
            code="disk_full",
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return IdiolectError(
            f"Access was refused: {error.filename or text}.",
            hint="Choose a file or folder that you may use.",
            code="access_refused",
        )
    if isinstance(error, ImportError):
        return IdiolectError(
            f"This Python lacks something that Idiolect needs: {text}.",
            hint="Repair the environment in the add-on's preferences; in one of your own, install"
            " requirements.txt.",
            code="environment",
            setting="worker_python",
        )
    return IdiolectError(
        f"Something went wrong inside Idiolect ({type(error).__name__}: {text}).",
        hint="This is a fault in Idiolect: please report it with the details in the log.",
        code="internal",
    )
