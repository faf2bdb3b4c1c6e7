"""Speech to facial animation on the command line: ``python -m core.animate --help``."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.animate_options import add_manner, manner_of
from core.errors import Cancelled, IdiolectError
from core.failures import INTERNAL, explain

if TYPE_CHECKING:
    from core.animator import Animator

_EXAMPLES = """\
examples:
  python -m core.animate line.wav -o line.csv
  python -m core.animate line.mp3 --reference take_12.csv --fps 24 -o line.npz
  python -m core.animate line.wav --transcript "Who saw the moon?" --save-alignment line.TextGrid
  python -m core.animate line.wav --alignment line.TextGrid -o line.csv
  python -m core.animate line.wav --style stern --style-b smiling --mix 0.3 --emotion anger:0.5 \\
      --finish gain_jaw=1.2 -o line.npz
  python -m core.animate --list-styles

What is said (English): a .txt of the same name beside SPEECH is read by itself; --transcript ""
says that there is none. A text that does not fit is told and left aside.

The suffix of OUT chooses the format:
  .npz    weights (frames × channels, 0..1), channels, fps; for numpy and for the Blender add-on
  .csv    as recorded by Apple's Live Link Face: read by Unreal and many other tools
  .json   names and frames, as in the BEAT data set

Every frame stands at number / fps seconds. Nothing is sent anywhere, and a file that stood at OUT
is replaced only when the new one is complete. Exit code: 0, or 2 after an error.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core.animate",
        description="Turns a speech file into the 52 ARKit face weights, in a speaker's manner.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "speech", nargs="?", type=Path, metavar="SPEECH", help="speech: wav, flac, mp3, ogg, …"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="motion file to write (.npz, .csv, .json)"
    )
    add_manner(parser)
    parser.add_argument(
        "--transcript", metavar="TEXT", help="what is said, or a .txt file with it (English)"
    )
    parser.add_argument(
        "--alignment",
        type=Path,
        metavar="FILE",
        help="when each phone is said (.TextGrid or .csv), e.g. saved and corrected",
    )
    parser.add_argument(
        "--save-alignment", type=Path, metavar="FILE", help="write that (.TextGrid or .csv)"
    )
    parser.add_argument(
        "--accurate",
        action="store_true",
        help="find out the words first: slower, better closures (English)",
    )
    parser.add_argument(
        "--recogniser",
        default="",
        metavar="NAME",
        help="folder or hub name of a Whisper model for --accurate (default: none needed)",
    )
    parser.add_argument(
        "--list-styles", action="store_true", help="print the ready-made styles and end"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a model of your own (default: bundled)"
    )
    parser.add_argument(
        "--flame",
        type=Path,
        metavar="FILE",
        help="FLAME file (.pkl, .npz) by which motion of a model that speaks in FLAME's terms, or"
        " in vertices, is turned into ARKit weights",
    )
    parser.add_argument("--fps", type=float, default=30.0, help="frames per second (default: 30)")
    parser.add_argument(
        "--start", type=float, default=0.0, metavar="S", help="begin S seconds into the speech"
    )
    parser.add_argument("--duration", type=float, metavar="S", help="use S seconds of it")
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu, cuda, cuda+half (half precision) or mps (default: auto)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no closing line")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of errors")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.list_styles:
            _list_styles(options)
        else:
            _check(options)
            _animate(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise  # someone closed our output: Python's own way of ending is right
    # The last stop of the program: a user sees one line and a remedy, never a traceback.
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        _print_error(explain(error), options.debug)
        return 2
    return 0


def _check(options: argparse.Namespace) -> None:
    """What can be known to be wrong before the model is loaded."""
    from core.motion_files import check_output
    from core.words.alignment_files import check_alignment_path

    if options.speech is None:
        raise _usage("There is no speech file.", "Give one: python -m core.animate line.wav …")
    if options.output is None:
        raise _usage("There is no output file.", "Give one with -o, e.g. -o line.csv.", "output")
    check_output(options.output)
    for path, setting in (
        (options.alignment, "alignment"),
        (options.save_alignment, "save_alignment"),
    ):
        if path is not None:
            check_alignment_path(path, setting)
    if not 0 < options.fps <= 1000:
        raise _usage(f"--fps {options.fps:g} is no frame rate.", "Use e.g. 24, 29.97, 60.", "fps")
    if options.start < 0 or (options.duration is not None and not options.duration > 0):
        raise _usage("--start and --duration must not be negative.", "They are in seconds.")


def _usage(message: str, hint: str, setting: str = "") -> IdiolectError:
    return IdiolectError(message, hint=hint, code="usage", setting=setting)


def _load(options: argparse.Namespace) -> Animator:
    from core.animator import Animator

    return Animator(options.checkpoint, device=options.device)


def _list_styles(options: argparse.Namespace) -> None:
    for name in _load(options).styles:
        print(name)


def _animate(options: argparse.Namespace) -> None:
    from core.animator import never
    from core.requests import Speaker

    with _Bar(options.quiet) as bar:
        bar.show("Loading the model", 0, 1)
        answer = Speaker(_load(options)).animate(_request(options), bar.show, never)
    for warning in answer["warnings"]:
        print(f"warning: {' '.join(warning.split())}", file=sys.stderr)
    if not options.quiet:
        print(
            f"{options.output}: {answer['frames']} frames, {answer['duration_s']:.2f} s"
            f" at {answer['fps']:g} fps"
        )


def _request(options: argparse.Namespace) -> dict[str, Any]:
    """The options as a request (see `core.requests`)."""
    from core.words.text_files import text_given

    values: dict[str, Any] = {
        "speech": str(options.speech.absolute()),
        "start_s": options.start,
        "duration_s": options.duration,
        "fps": options.fps,
        "output": str(options.output.absolute()),
        "accurate": options.accurate,
        "recogniser": options.recogniser,
        **manner_of(options),
    }
    if options.flame is not None:
        values["face"] = {"flame": str(options.flame.absolute()), "into": "arkit"}
    if options.transcript is not None:
        values["transcript"] = text_given(options.transcript)
    for name in ("alignment", "save_alignment"):
        path = getattr(options, name)
        values[name] = None if path is None else str(path.absolute())
    return values


class _Bar:
    """Progress on stderr, so that output can be piped: a bar in a terminal, lines in a log."""

    def __init__(self, quiet: bool) -> None:
        from tqdm import tqdm

        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._stage = ""
        self._bar = tqdm(
            disable=quiet or not self._terminal,
            file=sys.stderr,
            leave=False,
            desc="Starting",
            bar_format="{desc}: {percentage:3.0f}%|{bar:30}| {n_fmt}/{total_fmt}",
            total=1,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, stage: str, done: int, total: int) -> None:
        """Progress as the animator reports it."""
        if stage != self._stage and not (self._quiet or self._terminal):
            print(f"{stage} …", file=sys.stderr)
        self._stage = stage
        self._bar.set_description_str(stage, refresh=False)
        self._bar.total = max(total, 1)
        self._bar.n = done
        self._bar.refresh()


def _print_error(error: IdiolectError, debug: bool) -> None:
    if isinstance(error, Cancelled):
        print("stopped", file=sys.stderr)
        return
    # A message may quote a file's content, and must stay one line whatever that holds.
    print(f"error: {' '.join(error.message.split())}", file=sys.stderr)
    hint = error.hint
    if error.code in INTERNAL and not debug:
        hint += " Run again with --debug for the details."
    if hint:
        print(f"hint: {' '.join(hint.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
