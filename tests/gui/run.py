"""The real Blender window under Xvfb: python tests/gui/run.py ZIP OUT [--blender PROGRAM]

Installs the zip in a fresh profile, then plays stories in the window. story.py: Add Head, press
Animate, turn the view with the mouse while it works, Esc, press again, undo. sliders.py: drag Mix
while playback runs, undo, save and open again. finish.py: gains, few keys, a range, corrections.
Each step is checked; pictures are left in OUT. Needs Linux, Blender 4.2 or newer, xvfb-run, xdotool
and ImageMagick; IDIOLECT_PYTHON names the worker's Python. About five minutes. Exit code 0 if all
is well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPEECH = HERE.parents[1] / "tests" / "data" / "speech.flac"
STORIES = {"story": "1400x900", "sliders": "1500x1350", "finish": "1400x1000"}
"""Each with its size of the screen."""
MINUTES = 40  # long enough to be looked at while it is worked on

_LENGTHEN = """
import sys, numpy as np, soundfile
samples, rate = soundfile.read(sys.argv[1])
times = int(float(sys.argv[3]) * 60 * rate / len(samples))
soundfile.write(sys.argv[2], np.tile(samples, times), rate)
"""


def main() -> int:
    """Run the story. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("zip", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--blender", default="blender")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--story", choices=STORIES, action="append", help="default: all")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for story in options.story or STORIES:
        # A profile for each: one story ends by switching the add-on off.
        with tempfile.TemporaryDirectory(prefix="idiolect-gui-") as folder:
            if code := play(story, options, Path(folder)):
                return code
    return 0


def play(story: str, options: argparse.Namespace, profile: Path) -> int:
    """Install the zip and play one story. Returns the exit code."""
    env = {**os.environ, "BLENDER_USER_RESOURCES": str(profile), "LIBGL_ALWAYS_SOFTWARE": "1"}
    install = [options.blender, "--command", "extension", "install-file"]
    install += ["-r", "user_default", "--enable", options.zip.absolute()]
    subprocess.run(install, env=env, check=True)
    long_speech = profile / "long.wav"
    lengthen = [os.environ["IDIOLECT_PYTHON"], "-c", _LENGTHEN]
    subprocess.run([*lengthen, options.speech, long_speech, str(MINUTES)], check=True)
    size = STORIES[story]
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {size}x24", options.blender]
    command += ["--window-geometry", "0", "0", *size.split("x")]
    command += ["--python", HERE / f"{story}.py"]
    command += ["--", options.out.absolute(), options.speech.absolute(), long_speech]
    return subprocess.run(command, env=env, timeout=500, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
