"""The command line of a batch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import bpy

from .. import preferences
from . import lines as batch_lines
from . import stage
from .lines import HEAD, Line, bad

_SHOWN = ("checkpoint_flame", "engine", "samples", "width", "height")
"""Options that change the results, beside those that are columns of a list."""


def parser() -> argparse.ArgumentParser:
    """What may be said on the command line."""
    made = argparse.ArgumentParser(
        prog="batch.py",
        description="Lines of speech to animated Blender scenes, motion files, exports, renders.",
        epilog=f"A list (--jobs) may have the columns {', '.join(batch_lines.COLUMNS)}. What a "
        "row leaves out is taken from the command line. Exit code: 0 all done, 2 bad input, "
        "3 the worker is not set up, 4 some lines failed.",
    )
    what = made.add_argument_group("what is said").add_argument
    what("speech", nargs="*", type=Path, metavar="SPEECH", help="files, patterns or folders")
    what("--jobs", type=Path, metavar="LIST", help="a list of lines: .csv or .jsonl")
    what("--shard", metavar="I/N", help="only every N-th line, beginning with the I-th")
    what("--transcript", metavar="TEXT", default="", help="the words, or a .txt file with them")
    what("--accurate", action="store_true", help="hear the words first; slower")
    add = made.add_argument_group("what comes out").add_argument
    add("--out", type=Path, default=Path(), metavar="DIR", help="folder for the results")
    add("--name", help="name of the result, for a single speech file; else the file's own name")
    add(
        "--formats",
        type=_formats,
        default=("blend",),
        metavar="LIST",
        help=f"any of {', '.join(batch_lines.FORMATS)}; blend if not given",
    )
    add("--force", action="store_true", help="do again what is done and unchanged")
    add("--dry-run", action="store_true", help="check every input, animate nothing")
    who = made.add_argument_group("who speaks, and how")
    one = who.add_mutually_exclusive_group().add_argument
    one("--character", metavar="NAME", default="", help=f"object that speaks, or '{HEAD}'")
    one("--flame", metavar="FILE", help="FLAME model (.pkl, .npz) to import as the one who speaks")
    how = who.add_argument
    how("--reference", metavar="FILE", help="motion or style file to take the manner of")
    how("--action", metavar="NAME", default="", help="Action of the scene to take it of")
    how("--style", metavar="NAME", default="", help="a ready-made style of the model")
    how("--reference-b", metavar="FILE", help="the second manner, to mix with")
    how("--style-b", metavar="NAME", default="", help="the second manner, ready-made")
    how("--mix", type=_between(0, 1), metavar="0…1", help="share of the second")
    how("--strength", type=_between(0, 2), metavar="0…2", help="1: as captured")
    how(
        "--emotion",
        default="",
        metavar="TEXT|FILE",
        help="“anger 0.6, sadness @ 4s”, or a track",
    )
    how("--checkpoint", metavar="FILE", help="a model of your own")
    how(
        "--checkpoint-flame",
        metavar="FILE",
        help="FLAME file that tells what the motion of a model of FLAME's coefficients or vertices"
        " looks like, where no FLAME head is in the scene",
    )
    how("--device", choices=[name for name, *_ in preferences.DEVICES])
    how("--fps", type=_between(1, 1000), metavar="N", help="frame rate; else the scene's, or 30")
    how("--start", type=int, default=1, metavar="FRAME", help="frame at which the speech starts")
    see = made.add_argument_group("pictures").add_argument
    see(
        "--render",
        nargs="?",
        const="mp4",
        default="",
        choices=("mp4", "png"),
        help="render as well: a video with sound, or a folder of frames",
    )
    see("--stills", type=int, default=0, metavar="N", help="render N single frames as well")
    see("--camera", default="", metavar="NAME", help="camera of the scene to render from")
    see("--engine", choices=stage.ENGINES, help="renderer; else the scene's, or cycles")
    see("--samples", type=int, metavar="N", help="samples a pixel; else what suits the renderer")
    see("--width", type=int, metavar="PIXELS")
    see("--height", type=int, metavar="PIXELS")
    return made


def lines(options: argparse.Namespace) -> list[Line]:
    """All lines of this run.

    Raises:
        WorkerError: there are none, or what was said makes no sense.
    """
    if bool(options.jobs) == bool(options.speech):
        raise bad("Give either speech files or --jobs LIST.", "See --help.")
    if options.name and (options.jobs or len(options.speech) > 1):
        raise bad("--name is for a single speech file.", "Leave it out: each keeps its own name.")
    scene = bpy.data.filepath
    defaults = Line(
        output=options.name or "",
        formats=options.formats,
        blend=Path(scene) if scene else None,
        character=options.character,
        flame=_path(options.flame),
        reference=_path(options.reference),
        action=options.action,
        style=options.style,
        reference_b=_path(options.reference_b),
        style_b=options.style_b,
        mix=options.mix,
        strength=options.strength,
        emotion=_file_or_text(options.emotion),
        transcript=_file_or_text(options.transcript),
        accurate=options.accurate,
        fps=options.fps,
        start=options.start,
        render=options.render,
        stills=options.stills,
        camera=options.camera,
    )
    if options.jobs:
        found = batch_lines.from_list(options.jobs, defaults)
    else:
        found = batch_lines.from_files(options.speech, defaults)
    return batch_lines.shard(found, options.shard) if options.shard else found


def fingerprinted(options: argparse.Namespace) -> dict[str, Any]:
    """The options that change every line's results."""
    return {name: getattr(options, name) for name in _SHOWN}


def keeps_results(options: argparse.Namespace) -> bool:
    """Whether a results file is written: not for the one file of a quick try."""
    return bool(options.jobs or options.shard or len(options.speech) > 1 or _is_many(options))


def _is_many(options: argparse.Namespace) -> bool:
    return any(not path.is_file() for path in options.speech)


def _path(text: str | None) -> Path | None:
    return Path(text).absolute() if text else None


def _file_or_text(text: str) -> str:
    return str(Path(text).absolute()) if batch_lines.is_file_name(text) else text


def _formats(text: str) -> tuple[str, ...]:
    try:
        return batch_lines.formats_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {error}") from error


def _between(lowest: float, highest: float) -> Any:
    def number(text: str) -> float:
        value = float(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not between {lowest} and {highest}")
        return value

    return number
