"""The command line's words for manner, emotion and finishing, and what they ask for."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from core.emotions import EMOTION_INDEX, EMOTIONS
from core.errors import IdiolectError, read_failed
from core.style_file import SUFFIX


def add_manner(parser: argparse.ArgumentParser) -> None:
    """The options of manner, emotion and finishing."""
    manner = parser.add_mutually_exclusive_group()
    manner.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="speak in the manner of this motion (.npz, .csv, .json)",
    )
    manner.add_argument(
        "--style", metavar="STYLE", help=f"a ready-made style, or a saved one (FILE{SUFFIX})"
    )
    parser.add_argument(
        "--style-b", metavar="STYLE", help="a second manner: a name, a saved style or a motion file"
    )
    parser.add_argument(
        "--mix", default="0.5", metavar="X", help="0 = the first, 1 = the second (default: 0.5)"
    )
    parser.add_argument(
        "--strength", default="1", metavar="X", help="0 = average manner, 1 = as it is, at most 2"
    )
    parser.add_argument(
        "--emotion",
        metavar="EMOTION",
        help=f"one of {', '.join(EMOTIONS)}, with :INTENSITY if not 1, e.g. anger:0.6; or a .json "
        'with "times_s" and "intensities"; or motion whose emotion is taken over (.npz, .csv)',
    )
    parser.add_argument(
        "--raw", type=Path, metavar="FILE", help="write the motion before finishing too (.npz)"
    )
    parser.add_argument("--no-finish", action="store_true", help="leave the motion as it is")
    parser.add_argument(
        "--finish",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of core/finishing/finish.py, e.g. gain_jaw=1.2, head_strength=1",
    )


def manner_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options as parts of a request (see `core.requests`).

    Raises:
        IdiolectError: A value makes no sense, or a file cannot be read.
    """
    values: dict[str, Any] = {"style": _style(options), "emotion": _emotion(options.emotion)}
    values["finishing"] = None if options.no_finish else dict(map(_setting, options.finish))
    if options.raw is not None:
        values["raw"] = str(options.raw.absolute())
    return values


def _style(options: argparse.Namespace) -> dict[str, Any] | None:
    first = _one_style(options.style)
    if options.reference is not None:
        first = {"reference": str(options.reference.absolute())}
    second = _one_style(options.style_b)
    mix = _track(options.mix, "mix") if second is not None else 0.0
    strength = _track(options.strength, "strength")
    if second is None and strength == 1.0:
        return first
    return {"a": first, "b": second or first, "mix": mix, "strength": strength}


def _one_style(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    path = Path(text)
    if text.endswith(SUFFIX):
        return {"file": str(path.absolute())}
    if path.suffix:
        return {"reference": str(path.absolute())}
    return {"name": text}


def _track(text: str, setting: str) -> float | dict[str, Any]:
    """A number, or a .json with "times_s" and "values"."""
    if text.endswith(".json"):
        return _json(Path(text), setting)
    try:
        return float(text)
    except ValueError as error:
        raise IdiolectError(
            f"--{setting} {text} is no number.",
            hint='Give a number, or a .json with "times_s" and "values".',
            code="usage",
            setting=setting,
        ) from error


def _emotion(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    path = Path(text)
    if path.suffix == ".json":
        return _json(path, "emotion")
    if path.suffix in (".npz", ".csv"):
        return {"reference": str(path.absolute())}
    name, _, level = text.partition(":")
    try:
        intensity = float(level or 1.0)
        row = [0.0] * len(EMOTIONS)
        row[EMOTION_INDEX[name]] = intensity
    except (KeyError, ValueError) as error:
        raise IdiolectError(
            f"--emotion {text} is no emotion.",
            hint=f"Use one of {', '.join(EMOTIONS)}, e.g. anger:0.6, or a file.",
            code="usage",
            setting="emotion",
        ) from error
    return {"times_s": [0.0], "intensities": [row]}


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise IdiolectError(
            f"--finish {text} cannot be read." if equals else f"--finish {text} has no value.",
            hint="Write it as KEY=VALUE, e.g. --finish gain_jaw=1.2 --finish closure_guard=false",
            code="usage",
            setting="finish",
        ) from error


def _json(path: Path, setting: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise read_failed(path, error, setting=setting) from error
    except ValueError as error:
        raise IdiolectError(f"{path} is no JSON: {error}", code="usage", setting=setting) from error
