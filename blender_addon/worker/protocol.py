"""Messages between the add-on and its worker: one JSON object a line, over the worker's pipes.

A request is ``{"id", "method", "params"}``. The worker answers each with any number of
``progress`` events and then exactly one ``result`` or ``error``. Between answers it sends
``alive`` events, so that a silent worker can be told from a busy one. Arrays never travel in
these lines: they go by ``.npz`` file (see ``motion_file.py``), and a message carries the path.

Text is written as ASCII with escapes, so neither the code page of a Windows console nor a file
name that is not valid UTF-8 can break a line.

Standard library only: Blender's Python and the worker's both import this file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

PROTOCOL_VERSION = 1
"""Goes up whenever an old add-on and a new worker would misunderstand one another."""

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is no message of ours: it stops a stray binary from filling the memory."""


class WorkerError(Exception):
    """A failure that the user is told about, on either side of the pipe.

    Attributes:
        code: a stable word for programs, such as ``"cancelled"`` or ``"no_environment"``.
        message: one sentence that says what happened.
        hint: one sentence that says what to do about it; may be empty.
        setting: the name of the setting that is to blame; may be empty.
        log_path: the log file that knows more; may be empty.
        log_tail: the last lines that the worker wrote before it failed; may be empty.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "error",
        setting: str = "",
        log_path: str = "",
        log_tail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code
        self.setting = setting
        self.log_path = log_path
        self.log_tail = log_tail

    def to_dict(self) -> dict[str, str]:
        """The error as it travels; ``from_dict`` gives it back unchanged."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "setting": self.setting,
            "log_path": self.log_path,
            "log_tail": self.log_tail,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> WorkerError:
        """Rebuild an error that came through the pipe. Unknown and missing fields are forgiven."""
        return cls(
            str(data.get("message") or "The worker reported an error without saying which."),
            hint=str(data.get("hint") or ""),
            code=str(data.get("code") or "error"),
            setting=str(data.get("setting") or ""),
            log_path=str(data.get("log_path") or ""),
            log_tail=str(data.get("log_tail") or ""),
        )

    @property
    def cancelled(self) -> bool:
        """True when this is the user's own wish and not a fault."""
        return self.code == "cancelled"

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class JunkError(ValueError):
    """A line that is no message of this protocol. The reader skips it, and counts."""


@dataclass(frozen=True)
class Request:
    """What the add-on asks. ``id`` is positive and never used twice in one worker's life."""

    id: int
    method: str
    params: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """The message as it travels."""
        return _to_line({"id": self.id, "method": self.method, "params": self.params})


@dataclass(frozen=True)
class Progress:
    """How far a job is: ``done`` of ``total`` units of ``stage`` (total 0: not known)."""

    id: int
    stage: str
    done: int
    total: int

    @property
    def fraction(self) -> float:
        """Between 0 and 1; 0 while the total is not known."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0

    def to_line(self) -> bytes:
        """The message as it travels."""
        return _to_line(
            {
                "id": self.id,
                "event": "progress",
                "stage": self.stage,
                "done": self.done,
                "total": self.total,
            }
        )


@dataclass(frozen=True)
class Result:
    """The good end of a request."""

    id: int
    result: dict[str, Any]

    def to_line(self) -> bytes:
        """The message as it travels."""
        return _to_line({"id": self.id, "event": "result", "result": self.result})


@dataclass(frozen=True)
class Failure:
    """The bad end of a request."""

    id: int
    error: WorkerError

    def to_line(self) -> bytes:
        """The message as it travels."""
        return _to_line({"id": self.id, "event": "error", "error": self.error.to_dict()})


@dataclass(frozen=True)
class Alive:
    """A sign of life, every ``ALIVE_EVERY_S`` seconds, job or no job."""

    def to_line(self) -> bytes:
        """The message as it travels."""
        return _to_line({"id": 0, "event": "alive"})


ALIVE_EVERY_S = 1.0

Answer = Progress | Result | Failure | Alive


def parse_request(line: bytes) -> Request:
    """Read one request.

    Raises:
        JunkError: if the line is not a request.
    """
    data = _from_line(line)
    method, params = data.get("method"), data.get("params", {})
    if not isinstance(method, str) or not isinstance(params, dict):
        raise JunkError(f"not a request: {_shown(line)}")
    return Request(_id_of(data, line, lowest=1), method, params)


def parse_answer(line: bytes) -> Answer:
    """Read one answer.

    Raises:
        JunkError: if the line is not an answer.
    """
    data = _from_line(line)
    event = data.get("event")
    if event == "alive":
        return Alive()
    request_id = _id_of(data, line, lowest=0)
    if event == "progress":
        stage, done, total = data.get("stage"), data.get("done"), data.get("total")
        if isinstance(stage, str) and isinstance(done, int) and isinstance(total, int):
            return Progress(request_id, stage, done, total)
    elif event == "result" and isinstance(data.get("result"), dict):
        return Result(request_id, data["result"])
    elif event == "error" and isinstance(data.get("error"), dict):
        return Failure(request_id, WorkerError.from_dict(data["error"]))
    raise JunkError(f"not an answer: {_shown(line)}")


def _to_line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def _from_line(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    # A deeply nested line exhausts the parser's recursion; it is junk like any other.
    except (ValueError, RecursionError) as error:
        raise JunkError(f"not JSON: {_shown(line)}") from error
    if not isinstance(data, dict):
        raise JunkError(f"not an object: {_shown(line)}")
    return data


def _id_of(data: dict[str, Any], line: bytes, *, lowest: int) -> int:
    request_id = data.get("id")
    # bool is an int to Python, and no id to us.
    if type(request_id) is not int or request_id < lowest:
        raise JunkError(f"without an id: {_shown(line)}")
    return request_id


def _shown(line: bytes) -> str:
    """The line, short and printable, for a message."""
    text = line[:120].decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "�" for c in text)
