"""Values of requests, as JSON gives them, checked and turned into what core works with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.conditioning import EmotionTrack, Track
from core.errors import IdiolectError
from core.finishing.finish import FinishSettings
from core.model.config import from_dict
from core.words.alignment_files import check_alignment_path
from core.words.text_files import text_beside
from core.words.transcript import KnownWords

Values = Mapping[str, Any]


def bad_request(name: str, value: object) -> IdiolectError:
    """A value that makes no sense: a fault in what sent the request, not a user's."""
    return IdiolectError(f"The request has {name} = {value!r}.", code="bad_request", setting=name)


def path_of(values: Values, name: str) -> Path:
    """An absolute path: relative to what? A server's current folder is nobody's choice."""
    value = values.get(name)
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise bad_request(name, value)
    return Path(value)


def number_of(
    values: Values, name: str, *, default: float | None = None, above: float | None = None
) -> float:
    """A number of at least 0, or above another."""
    value = values.get(name, default)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if 0.0 <= number < float("inf") and (above is None or number > above):
            return number
    raise bad_request(name, value)


def optional_number(values: Values, name: str, above: float | None = None) -> float | None:
    """A number, or None where there is none."""
    return None if values.get(name) is None else number_of(values, name, above=above)


def track_of(values: Values, name: str, default: float) -> Track:
    """A number, or {"times_s": […], "values": […]}."""
    value = values.get(name)
    if value is None:
        return Track.constant(default)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Track.constant(value)
    return _track(Track, value, "values", name)


def emotions_of(value: Values) -> EmotionTrack:
    """{"times_s": […], "intensities": [[…8…], …]}."""
    return _track(EmotionTrack, value, "intensities", "emotion")


def words_of(values: Values, speech: Path) -> tuple[KnownWords, Path | None]:
    """What is known of the words, and where to save when they are said.

    Without a "transcript" the text in the .txt beside the speech file is taken; an empty one says
    that there is none.

    Raises:
        IdiolectError: A value makes no sense, or that file cannot be read.
    """
    text = values.get("transcript")
    if text is None:
        text = text_beside(speech)
    accurate, recogniser = values.get("accurate") or False, values.get("recogniser") or ""
    for name, value, kind in (
        ("transcript", text, str),
        ("accurate", accurate, bool),
        ("recogniser", recogniser, str),
    ):
        if not isinstance(value, kind):
            raise bad_request(name, value)
    alignment = path_of(values, "alignment") if values.get("alignment") else None
    kept = path_of(values, "save_alignment") if values.get("save_alignment") else None
    if kept is not None:
        check_alignment_path(kept, "save_alignment")
    return KnownWords(text, alignment, accurate, recogniser), kept


def finishing_of(values: Values) -> FinishSettings | None:
    """The finishing of a request: by default the usual one; null for none.

    Raises:
        IdiolectError: A setting is unknown (the closest known one is named) or of a wrong type.
    """
    value = values.get("finishing", {})
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise bad_request("finishing", value)
    return from_dict(FinishSettings, value, source="finishing")


def _track(kind: Any, value: object, rows: str, name: str) -> Any:
    if not isinstance(value, Mapping) or set(value) != {"times_s", rows}:
        raise bad_request(name, value)
    try:
        return kind(value[rows], value["times_s"])
    except (ValueError, TypeError) as error:  # ragged rows, words among the numbers
        raise bad_request(name, f"{str(value)[:80]} …") from error
