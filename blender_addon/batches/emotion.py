"""Emotions in files: their intensities at times, CSV or JSON."""

from __future__ import annotations

import csv
import json
import math
from itertools import pairwise
from pathlib import Path

from ..animation.tracks import Emotions
from ..properties.transitions import EMOTIONS
from ..worker.protocol import WorkerError
from .lines import bad


def from_file(name: str) -> Emotions | None:
    """The worker's ``emotion`` from a file; None if the name is no file's, but a text.

    Args:
        name: ``.json`` in the worker's own form, or ``.csv`` with a column ``time_s`` and one for
            each emotion that is not zero throughout.

    Raises:
        WorkerError: the file cannot be read, or is no such track.
    """
    if not name.lower().endswith((".json", ".csv")):
        return None
    path = Path(name)
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


def _checked(times: list[float], intensities: list[list[float]], where: str) -> Emotions:
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
