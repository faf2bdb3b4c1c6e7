"""Renders one line of speech in several styles and emotions, to be looked at.

    python -m training.style_sheet SPEECH --at "Bo[b]=0.31" --at "m[oo]n=3.9" --out SHEET.jpg
        [--styles restrained neutral broad] [--emotions happiness anger sadness]
        [--checkpoint FILE] [--blender PYTHON]

A row is a style in an emotion at full strength, finished as the add-on finishes it; a column is a
moment of the speech (`core.animate --transcript … --save-alignment FILE` tells when what is said).
PYTHON is one that can `import bpy`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imread

from core.animator import BUNDLED_CHECKPOINT, Animator
from core.conditioning import EmotionTrack
from core.emotions import EMOTION_INDEX, EMOTIONS
from core.errors import IdiolectError
from core.face.face_file import save_face
from core.face.head import built_in_head
from core.files import atomic_path
from core.finishing.finish import FinishSettings
from core.motion import ARKIT_CHANNELS
from training.command import command

FPS = 50.0
TILE_PIXELS = 170
RENDERER = Path(__file__).resolve().parents[1] / "tests" / "blender" / "contact_sheet.py"


def poses(
    animator: Animator,
    speech: Path,
    styles: Sequence[str],
    emotions: Sequence[str],
    moments: Mapping[str, float],
) -> list[tuple[str, np.ndarray]]:
    """Name and weights (52,) of every picture, row by row.

    Args:
        animator: The model.
        speech: What is said.
        styles: Ready-made ones.
        emotions: See `core.emotions`.
        moments: Seconds by name.

    Raises:
        IdiolectError: A style or the speech is not there, or a moment lies beyond it.
    """
    found = []
    for style in styles:
        for emotion in emotions:
            felt = EmotionTrack.constant(np.eye(len(EMOTIONS))[EMOTION_INDEX[emotion]])
            clip = animator.animate(
                speech, style=style, emotion=felt, fps=FPS,
                finishing=FinishSettings(blinks_per_minute=0),
            )  # fmt: skip
            weights = clip.select(ARKIT_CHANNELS)
            for name, seconds in moments.items():
                frame = round(seconds * FPS)
                if not 0 <= frame < len(weights):
                    raise IdiolectError(
                        f"{name}={seconds:g} lies beyond the speech, which ends at "
                        f"{(len(weights) - 1) / FPS:.2f} s",
                        code="bad_range",
                        setting="--at",
                    )
                found.append((f"{style} {emotion} {name}", weights[frame]))
    return found


def render(pictures: Sequence[tuple[str, np.ndarray]], columns: int, blender: Path) -> np.ndarray:
    """The built-in head in every pose, in rows of `columns`: an image (H, W, 3 or 4).

    Raises:
        IdiolectError: Blender failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        head, image = Path(folder) / "head.npz", Path(folder) / "sheet.png"
        save_face(built_in_head(), head)
        arguments = []
        for name, weights in pictures:
            moved = " ".join(
                f"{channel}={weight:.3f}"
                for channel, weight in zip(ARKIT_CHANNELS, weights, strict=True)
                if weight > 0.004
            )
            arguments += ["--pose", f"{name}: {moved}"]
        done = subprocess.run(
            [blender, RENDERER, head, image, "--views", "face", "--columns", str(columns),
             "--size", str(TILE_PIXELS), *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise IdiolectError(
                f"Blender could not draw the faces: {done.stderr.strip().splitlines()[-1:]}",
                hint="--blender wants a Python that can import bpy.",
                code="render_failed",
                setting="--blender",
            )
        return imread(image)


def sheet(image: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """The rendered image with its rows and columns named."""
    height, width = image.shape[:2]
    figure = Figure(figsize=(width / 130 + 1.2, height / 130 + 0.3))
    left, top = 1.2 / figure.get_figwidth(), 0.3 / figure.get_figheight()
    axis = figure.add_axes((left, 0.0, 1.0 - left, 1.0 - top))
    axis.imshow(image, aspect="auto")
    axis.set_yticks((np.arange(len(rows)) + 0.5) * height / len(rows), rows)
    axis.set_xticks((np.arange(len(columns)) + 0.5) * width / len(columns), columns)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def _moment(text: str) -> tuple[str, float]:
    name, _, seconds = text.rpartition("=")
    return name, float(seconds)


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("--at", action="append", required=True, type=_moment,
                        metavar="NAME=SECONDS")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/sheet.jpg"))
    parser.add_argument("--styles", nargs="+", default=["restrained", "neutral", "broad"])
    parser.add_argument("--emotions", nargs="+", choices=EMOTIONS,
                        default=["happiness", "anger", "sadness"])  # fmt: skip
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--blender", type=Path, default=Path(sys.executable), metavar="PYTHON")
    options = parser.parse_args(arguments)
    animator = Animator(options.checkpoint, device="cpu")
    moments = dict(options.at)
    pictures = poses(animator, options.speech, options.styles, options.emotions, moments)
    image = render(pictures, len(moments), options.blender)
    rows = [f"{style}\n{emotion}" for style in options.styles for emotion in options.emotions]
    with atomic_path(options.out) as path:
        sheet(image, rows, list(moments)).savefig(path, dpi=100, format=options.out.suffix[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main())
