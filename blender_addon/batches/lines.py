"""The lines of a batch: which speech, who says it, how, and what comes out.

Read from the command line (files, patterns, folders) or from a list, CSV or JSON lines; whatever a
row leaves out is taken from the command line.
"""

from __future__ import annotations

import csv
import difflib
import glob
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..worker.protocol import WorkerError

SPEECH_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma"),
    *(".mp4", ".mov", ".webm", ".mkv"),
)
"""What is taken out of a folder; a file that is named is tried whatever its suffix."""

FORMATS = ("blend", "npz", "csv", "json", "glb", "fbx", "abc", "usdc")
RENDERS = ("", "mp4", "png")
HEAD = "head"

_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Line:
    """One line of speech, and all that is wanted of it."""

    speech: Path = Path()
    """The speech file."""
    output: str = ""
    """Where the results go under the output folder, without a suffix; may name folders."""
    formats: tuple[str, ...] = ("blend",)
    """What is written: see `FORMATS`."""
    blend: Path | None = None
    """Scene to start from; none: an empty one."""
    character: str = ""
    """Object that speaks, or "head"; empty: the only one that can, or the head."""
    flame: Path | None = None
    """FLAME model to import as the one who speaks."""
    reference: Path | None = None
    """Motion or style file that shows the manner of speaking."""
    action: str = ""
    """Action of the scene that shows it."""
    style: str = ""
    """Ready-made style of the model."""
    reference_b: Path | None = None
    """The second manner, to mix with."""
    style_b: str = ""
    """The second manner, as a ready-made style."""
    mix: float | None = None
    """0 is the first manner, 1 the second."""
    strength: float | None = None
    """0 is the model's average manner, 1 as captured; up to 2."""
    emotion: str = ""
    """Transitions such as "anger 0.6, +fear 0.3, sadness @ 4s", or a .json or .csv track."""
    transcript: str = ""
    """The words, or a .txt file with them."""
    accurate: bool = False
    """Hear the words first: slower."""
    fps: float | None = None
    """Frame rate; none: the scene's own."""
    start: int = 1
    """Frame at which the speech starts."""
    render: str = ""
    """"mp4" or "png"."""
    stills: int = 0
    """Single frames to render."""
    camera: str = ""
    """Camera of the scene to render from."""


COLUMNS = tuple(field.name for field in fields(Line))
_PATHS = ("speech", "blend", "flame", "reference", "reference_b")
_RIVALS = (("reference", "action", "style"), ("reference_b", "style_b"), ("character", "flame"))


def from_files(words: Sequence[Path], defaults: Line) -> list[Line]:
    """Lines from the command line's files, patterns and folders.

    Raises:
        WorkerError: a pattern or a folder holds nothing.
    """
    lines = []
    for word in words:
        if word.is_dir():
            found = sorted(p for p in word.rglob("*") if p.suffix.lower() in SPEECH_SUFFIXES)
            inside = [str(path.relative_to(word).with_suffix("").as_posix()) for path in found]
        elif not word.exists() and glob.has_magic(str(word)):
            found = [Path(p) for p in sorted(glob.glob(str(word), recursive=True))]  # noqa: PTH207 (may be absolute)
            inside = [path.stem for path in found]
        else:  # a file that is not there fails by itself, and the others go on
            found, inside = [word], [word.stem]
        if not found:
            raise bad(
                f"There is no speech in {word}.", f"It looks for {', '.join(SPEECH_SUFFIXES)}."
            )
        lines += [
            replace(defaults, speech=path.absolute(), output=defaults.output or name)
            for path, name in zip(found, inside, strict=True)
        ]
    return _with_own_names(lines)


def from_list(path: Path, defaults: Line) -> list[Line]:
    """Lines from a list: CSV with a heading, or JSON lines; the suffix tells which.

    Paths in it are relative to the list's own folder.

    Raises:
        WorkerError: the list cannot be read, has no rows, or a row makes no sense.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise bad(f"The job list {path} cannot be read: {error}.", "Give UTF-8 text.") from error
    rows = (
        _json_rows(path, text)
        if path.suffix.lower() in (".jsonl", ".ndjson", ".json")
        else (_csv_rows(path, text))
    )
    lines = [_line(row, where, path.absolute().parent, defaults) for where, row in rows]
    if not lines:
        raise bad(f"The job list {path} has no rows.", f"Its columns may be: {', '.join(COLUMNS)}.")
    return _with_own_names(lines)


def shard(lines: Sequence[Line], text: str) -> list[Line]:
    """Every N-th line, beginning with the I-th: the same lines for the same I/N, always.

    Raises:
        WorkerError: the text is not I/N with 1 ≤ I ≤ N.
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise bad(f"--shard {text} is not I/N.", "For example --shard 1/4, up to --shard 4/4.")
    return list(lines[int(part) - 1 :: int(parts)])


def bad(message: str, hint: str) -> WorkerError:
    """An error that lies in the input."""
    return WorkerError(message, hint=hint, code="bad_input")


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), restkey="")
    _check_columns(reader.fieldnames or (), path.name)
    for row in reader:
        where = f"{path.name} line {reader.line_num}"
        if "" in row:
            raise bad(f"{where} has more columns than the heading.", "Quote texts with commas.")
        if any(value for value in row.values()):
            yield where, {key: value for key, value in row.items() if value not in (None, "")}


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path.name} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise bad(f"{where} is no JSON: {error}.", "Write one object a line.") from error
        if not isinstance(row, dict):
            raise bad(f"{where} is no JSON object.", 'For example {"speech": "line.wav"}.')
        _check_columns(row, where)
        yield where, {key: value for key, value in row.items() if value is not None}


def _check_columns(names: Iterable[str], where: str) -> None:
    for name in names:
        if name not in COLUMNS:
            close = difflib.get_close_matches(str(name), COLUMNS, 1)
            known = f"Did you mean “{close[0]}”?" if close else f"Known: {', '.join(COLUMNS)}."
            raise bad(f"{where} has an unknown column “{name}”.", known)


def _line(row: Mapping[str, Any], where: str, folder: Path, defaults: Line) -> Line:
    if "speech" not in row:
        raise bad(f"{where} names no speech.", "Each row needs a column “speech”.")
    values: dict[str, Any] = {}
    for name, value in row.items():
        try:
            values[name] = _value(name, value, folder)
        except (TypeError, ValueError) as error:
            raise bad(f"{where}: {name} = {value!r} {error}.", "Correct the row.") from error
    for rivals in _RIVALS:
        named = [name for name in rivals if values.get(name)]
        if len(named) > 1:
            raise bad(f"{where} has both {' and '.join(named)}.", "Give one of them.")
        if named:  # what the command line says of the same thing does not hold for this row
            values = {**{name: getattr(Line, name) for name in rivals}, **values}
    stem = Path(values.get("output") or values["speech"].stem)
    suffix = stem.suffix[1:].lower()
    if suffix in FORMATS:
        values["formats"] = tuple(dict.fromkeys((suffix, *values.get("formats", ()))))
        stem = stem.with_suffix("")
    if stem.is_absolute() or ".." in stem.parts:
        raise bad(f"{where}: output {stem} leaves the output folder.", "Give a name below --out.")
    return replace(defaults, **{**values, "output": stem.as_posix()})


def _value(name: str, value: Any, folder: Path) -> Any:
    """A column's text or JSON value as the line's field."""
    if name in _PATHS:
        return _absolute(str(value), folder)
    if name == "formats":
        return formats_of(value if isinstance(value, str) else " ".join(value))
    if name in ("mix", "strength", "fps"):
        number = float(value)
        lowest, highest = {"mix": (0, 1), "strength": (0, 2), "fps": (1, 1000)}[name]
        if not lowest <= number <= highest:
            raise ValueError(f"is not between {lowest} and {highest}")
        return number
    if name in ("start", "stills"):
        if float(value) != int(float(value)):
            raise ValueError("is no whole number")
        return int(float(value))
    if name == "accurate":
        text = str(value).strip().lower()
        if text not in _YES + _NO:
            raise ValueError("is neither yes nor no")
        return text in _YES
    text = str(value).strip()
    if name == "render" and text not in RENDERS:
        raise ValueError("is neither mp4 nor png")
    if name in ("emotion", "transcript") and is_file_name(text):
        return str(_absolute(text, folder))
    return text


def formats_of(text: str) -> tuple[str, ...]:
    """Formats from a text such as "blend glb".

    Raises:
        ValueError: one of them is not known.
    """
    found = tuple(dict.fromkeys(text.replace(",", " ").replace(";", " ").lower().split()))
    for name in found:
        if name not in FORMATS:
            raise ValueError(f"has “{name}”, which is none of {', '.join(FORMATS)}")
    return found


def is_file_name(text: str) -> bool:
    """Whether an emotion or a transcript is a file and no text."""
    return text.lower().endswith((".json", ".csv", ".txt", ".textgrid"))


def _absolute(text: str, folder: Path) -> Path:
    path = Path(text).expanduser()
    return path if path.is_absolute() else folder / path


def _with_own_names(lines: Sequence[Line]) -> list[Line]:
    """No two lines may write the same file: a second "hello" becomes "hello-2"."""
    taken: set[str] = set()
    named = []
    for line in lines:
        name, count = line.output, 1
        while name.lower() in taken:  # on some disks, Hello.blend is hello.blend
            count += 1
            name = f"{line.output}-{count}"
        taken.add(name.lower())
        named.append(replace(line, output=name))
    return named
