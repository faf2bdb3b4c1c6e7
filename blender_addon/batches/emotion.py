"""Emotions as a batch names them: "happiness", "anger 0.6 + fear 0.3", or a file with a track."""

from __future__ import annotations

import csv
import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..worker.protocol import WorkerError
from .lines import bad

EMOTIONS = (
    *("neutral", "happiness", "anger", "sadness"),
    *("contempt", "surprise", "fear", "disgust"),
)
"""The names and their order are those of ``core.emotions``."""

_PART = re.compile(r"\s*([a-z]+)\s*[: ]?\s*(\d*\.?\d*)\s*")


def track(text: str) -> dict[str, Any] | None:
    """The worker's ``emotion``: times in seconds and eight intensities at each.

    Args:
        text: names with intensities (1 where none is given) joined by "+"; or a file, ``.json``
            (the worker's own form) or ``.csv`` (a column ``time_s`` and one for each emotion).

    Raises:
        WorkerError: it is neither, or an emotion is not known.
    """
    if not text:
        return None
    if text.lower().endswith((".json", ".csv")):
        return _from_file(Path(text))
    intensities = [0.0] * len(EMOTIONS)
    for part in text.lower().split("+"):
        match = _PART.fullmatch(part)
        if not match or match[1] not in EMOTIONS:
            raise bad(
                f"“{text}” is no emotion.", f"For example “anger 0.6”: {', '.join(EMOTIONS)}."
            )
        value = float(match[2]) if match[2] else 1.0
        intensities[EMOTIONS.index(match[1])] = value
    return _checked([0.0], [intensities], text)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            content = json.loads(text)
            return _checked(content["times_s"], content["intensities"], path.name)
        rows = list(csv.DictReader(text.splitlines()))
        unknown = [name for name in rows[0] if name not in ("time_s", *EMOTIONS)]
        if unknown:
            raise ValueError(f"unknown column “{unknown[0]}”")
        times = [float(row["time_s"]) for row in rows]
        intensities = [[float(row.get(name) or 0.0) for name in EMOTIONS] for row in rows]
        return _checked(times, intensities, path.name)
    except WorkerError:
        raise
    except (OSError, UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise bad(
            f"{path} is no emotion track: {error!r}.",
            f"CSV needs a column time_s and any of {', '.join(EMOTIONS)}; "
            'JSON {"times_s": […], "intensities": [[eight numbers], …]}.',
        ) from error


def _checked(times: list[float], intensities: list[list[float]], where: str) -> dict[str, Any]:
    times = [float(time) for time in times]
    rows = [[float(value) for value in row] for row in intensities]
    rising = all(before < after for before, after in pairwise(times))
    fine = all(len(row) == len(EMOTIONS) and all(0 <= v <= 1 for v in row) for row in rows)
    if not (times and len(times) == len(rows) and rising and fine and math.isfinite(sum(times))):
        raise bad(
            f"{where}: an emotion needs rising times and eight intensities from 0 to 1 at each.",
            "Correct the track.",
        )
    return {"times_s": times, "intensities": rows}
