"""The one error type that users meet, and the one that means they pressed Esc."""

from __future__ import annotations


class IdiolectError(Exception):
    """A problem that the user can do something about.

    Attributes:
        message: What is wrong, in one sentence, naming the file or value.
        hint: What to do about it, in one sentence; may be empty.
        code: A stable snake_case word for programs, e.g. ``"silent_speech"``.
        setting: Name of the setting to change, e.g. ``"speech"``; may be empty.
    """

    def __init__(
        self, message: str, *, hint: str = "", code: str = "error", setting: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.setting = setting

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class Cancelled(IdiolectError):  # noqa: N818 (it is a choice of the user's, not an error)
    """The user stopped the job."""

    def __init__(self) -> None:
        super().__init__("Stopped.", code="cancelled")


def read_failed(path: object, error: OSError, *, setting: str = "") -> IdiolectError:
    """The message for a file that the operating system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return IdiolectError(
            f"There is no file {path}.",
            hint="Check the name and that the disk is connected.",
            code="missing_file",
            setting=setting,
        )
    return IdiolectError(
        f"{path} cannot be read: {error.strerror or error}.",
        hint="Check that it is a file and that you may read it.",
        code="unreadable_file",
        setting=setting,
    )


def write_failed(path: object, error: OSError, *, setting: str = "output") -> IdiolectError:
    """The message for a file that the operating system does not let us write."""
    return IdiolectError(
        f"{path} cannot be written: {error.strerror or error}.",
        hint="Free some space or choose a folder that you may write to.",
        code="unwritable_file",
        setting=setting,
    )
