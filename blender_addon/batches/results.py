"""What a batch has done: one line of results.jsonl for each line of speech; what may be skipped.

The file only ever grows by whole lines while a batch runs, and each is on the disk before the next
job begins, so after a crash it says what was finished. A result counts as done when nothing that
went into it has changed (by content) and all its files are there in the size they were written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .lines import Line

Record = dict[str, Any]


class Fingerprints:
    """Fingerprints of lines: equal if, and only if, the same work would be done again."""

    def __init__(self, settings: dict[str, Any], checkpoint: Path) -> None:
        """Remember what holds for all lines.

        Args:
            settings: options that change the results.
            checkpoint: the model.
        """
        self._files: dict[tuple[Path, int, int], str] = {}
        self._common = {**settings, "checkpoint": self._content(checkpoint)}

    def of(self, line: Line) -> str:
        """The line's fingerprint. A file that is missing has one too, another than any content."""
        values = {}
        for field in dataclasses.fields(line):
            value = getattr(line, field.name)
            is_file = isinstance(value, Path) or (
                field.name in ("emotion", "transcript") and Path(str(value)).is_absolute()
            )
            values[field.name] = self._content(Path(value)) if is_file else value
        text = json.dumps({**self._common, **values}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _content(self, path: Path) -> str:
        try:
            stat = path.stat()
            key = (path, stat.st_mtime_ns, stat.st_size)
            if key not in self._files:
                with open(path, "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                self._files[key] = path.suffix.lower() + digest
            return self._files[key]
        except OSError:
            return f"missing {path}"


class Results:
    """The results file of one batch, or of one shard of it."""

    def __init__(self, out: Path, shard: str = "") -> None:
        """Read what earlier runs have left, of other shards as well.

        Args:
            out: the output folder.
            shard: "I/N"; empty for a batch in one piece.
        """
        name = f"results-{shard.replace('/', '-of-')}.jsonl" if shard else "results.jsonl"
        self.path = out / name
        self._out = out
        self._known: dict[str, Record] = {}
        for path in sorted(out.glob("results*.jsonl"), key=lambda p: p == self.path):
            for record in _read(path):
                self._known[record["output"]] = record

    def done(self, line: Line, fingerprint: str) -> Record | None:
        """The record of a line that needs no work; None if it does."""
        record = self._known.get(line.output)
        if not record or record["status"] != "done" or record["fingerprint"] != fingerprint:
            return None
        for name, size in record["files"].items():
            try:
                stat = (self._out / name).stat()
            except OSError:
                return None
            if size is not None and stat.st_size != size:
                return None
        return record

    def begin(self, kept: Sequence[Record]) -> None:
        """Start the file anew with the records that still hold: no line appears twice.

        Raises:
            OSError: it cannot be written.
        """
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with open(beside, "w", encoding="utf-8") as file:
                file.writelines(_dump(record) for record in kept)
                _to_disk(file)
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)

    def add(self, record: Record) -> None:
        """Add a line.

        Raises:
            OSError: it cannot be written.
        """
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_dump(record))
            _to_disk(file)


def files_in(out: Path, paths: Sequence[Path]) -> dict[str, int | None]:
    """Names below the output folder with their sizes; a folder of frames has none."""
    return {
        path.relative_to(out).as_posix(): path.stat().st_size if path.is_file() else None
        for path in paths
    }


def _read(path: Path) -> list[Record]:
    """Whole records only: a crash may have torn the last one."""
    records = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(text)
        except ValueError:
            continue
        if isinstance(record, dict) and {"output", "status", "fingerprint", "files"} <= set(record):
            records.append(record)
    return records


def _dump(record: Record) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
