"""Speed and memory of the whole road, inside a real Blender: python build.py bench.

Every figure is taken in one run on one machine, and judged by its ratio to another of the same run
where that makes sense, since machines differ and are noisy. Needs IDIOLECT_PYTHON.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import blender_addon  # noqa: E402 (it is found by the line above)
from blender_addon import keying, preferences  # noqa: E402
from blender_addon.environment import models  # noqa: E402
from blender_addon.jobs import live  # noqa: E402
from blender_addon.worker.client import close_client, get_client  # noqa: E402

PYTHON = os.environ["IDIOLECT_PYTHON"]
RATE_HZ = 16000
REPEATS = 5


def main() -> None:
    """Measures, and prints one table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blender_addon.register()
        try:
            rows = [*press(folder), *sliders(folder), *many(folder), *keys()]
        finally:
            blender_addon.unregister()
        rows += memory(folder)
    print(f"\nBlender {bpy.app.version_string}, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| what | measured | promised |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def press(folder: Path) -> list[tuple[str, str, str]]:
    """Cold start, and Animate from Speech on a warm worker."""
    cold = []
    for _ in range(3):
        close_client()
        cold.append(timed(worker_ready))
    bpy.ops.idiolect.add_head()
    spoken = speech(folder / "warm-up.wav", 3.0, seed=0)
    bpy.ops.idiolect.animate(speech=str(spoken))
    fresh = [
        timed(animate, speech(folder / f"fresh-{i}.wav", 10.0, seed=i)) for i in range(1, REPEATS)
    ]
    again_file = speech(folder / "again.wav", 10.0, seed=99)
    animate(again_file)
    again = [timed(animate, again_file) for _ in range(REPEATS)]
    return [
        ("worker, from nothing to ready", f"{statistics.median(cold):.1f} s", "< 8 s"),
        ("10 s of speech, press to keys, new speech", f"{statistics.median(fresh):.2f} s", "< 1 s"),
        ("10 s of speech, second press", f"{statistics.median(again):.2f} s", "< 0.2 s"),
        ("speech to keys", f"{10 / statistics.median(fresh):.0f}× real time", ""),
    ]


def sliders(folder: Path) -> list[tuple[str, str, str]]:
    """Live updates: from a setting that changes to the keys that show it, on a warm worker."""
    head = bpy.context.scene.idiolect.character
    ours = head.idiolect
    own = models.own_styles()
    ours.style_a.style, ours.style_b.style = own[0], own[-1]
    ours.emotion.source = "SLIDERS"
    rows = []
    for seconds, promised in ((10.0, "< 0.2 s"), (60.0, "")):
        ours.speech = str(speech(folder / f"slider-{seconds:.0f}.wav", seconds, seed=7))
        bpy.ops.idiolect.animate()
        for what, owner, name in (
            ("Mix", ours, "mix"),
            ("Strength", ours, "strength"),
            ("an emotion", ours.emotion, "happiness"),
            ("Finish: Jaw", ours.finish, "gain_jaw"),
        ):
            spent, held = [], []
            for value in (0.2, 0.4, 0.6, 0.8, 0.5):
                began, ticks = time.perf_counter(), []
                setattr(owner, name, value)
                while live.busy():
                    ticks.append(timed(live.tick))
                    time.sleep(0.002)
                spent.append(time.perf_counter() - began)
                held.append(max(ticks))
            if live.problem is not None:
                raise RuntimeError(live.problem.message)
            shown = f"{statistics.median(spent):.3f} s"
            shown += f", the window held up for {statistics.median(held):.3f} s"
            rows.append((f"{seconds:.0f} s of speech, {what} dragged to keys", shown, promised))
    return rows


def many(folder: Path) -> list[tuple[str, str, str]]:
    """Speech to motion on disk, 200 lines of 5 s: as one request, and 40 of them one by one."""
    client = get_client(preferences.of(bpy.context).worker())
    lines = [
        {
            "speech": str(speech(folder / f"line-{i}.wav", 4.0 + 0.01 * i, seed=1000 + i)),
            "fps": 30.0,
            "output": str(folder / f"line-{i}.npz"),
            "style": {"name": ("neutral", "stern", "smiling")[i % 3]},
        }
        for i in range(200)
    ]
    length_s = sum(4.0 + 0.01 * i for i in range(200))

    def together(jobs: list[dict[str, object]]) -> None:
        done = client.request("animate_many", {"jobs": jobs}).wait(600)
        assert all(result["ok"] for result in done["results"]), done

    def alone(jobs: list[dict[str, object]]) -> None:
        for job in jobs:
            client.request("animate", job).wait(60)

    seconds = timed(together, lines)
    # In turns, so that what else the machine does touches both alike.
    # Different lines each time: a line that was heard alone is remembered.
    pairs = [(timed(together, lines[i::5]), timed(alone, lines[i::5])) for i in range(3)]
    ratio = statistics.median(one / many for many, one in pairs)
    return [
        ("200 lines of 5 s, speech to files", f"{length_s / seconds:.0f}× real time", "≥ 50×"),
        ("the same, against one by one", f"{ratio:.2f}× as fast", "≥ 1×"),
    ]


def worker_ready() -> None:
    """Starts the worker and loads the model."""
    client = get_client(preferences.of(bpy.context).worker())
    client.request("load", {"checkpoint": ""}).wait(60)


def animate(path: Path) -> None:
    """One press of the button, as a script presses it."""
    bpy.ops.idiolect.animate(speech=str(path))


def keys() -> list[tuple[str, str, str]]:
    """1800 frames × 52 channels: ours against Blender's usual way."""
    head = bpy.context.scene.idiolect.character
    shape_keys = head.data.shape_keys
    names = [block.name for block in shape_keys.key_blocks][1:53]
    weights = np.random.default_rng(0).uniform(0, 1, (1800, len(names))).astype(np.float32)

    motion = [
        keying.Curve(shape_keys, keying.value_path(name), 0, weights[:, column], name, name)
        for column, name in enumerate(names)
    ]

    def ours() -> None:
        keying.key_curves(motion, keying.Line("bench", 1, 1800), "bench")

    def usual() -> None:
        shape_keys.animation_data_clear()
        for frame, row in enumerate(weights, start=1):
            for name, value in zip(names, row, strict=True):
                block = shape_keys.key_blocks[name]
                block.value = value
                block.keyframe_insert("value", frame=frame)

    def first() -> float:
        shape_keys.animation_data_clear()
        return timed(ours)

    fast = statistics.median(first() for _ in range(REPEATS))
    again = statistics.median(timed(ours) for _ in range(REPEATS))
    slow = timed(usual)
    return [
        ("keying 1800 × 52", f"{fast:.3f} s", "< 0.15 s"),
        ("again, looking for edits to keep", f"{again:.3f} s", "< 0.15 s"),
        ("the same by keyframe_insert", f"{slow:.1f} s ({slow / fast:.0f}×)", "≥ 100×"),
    ]


def memory(folder: Path) -> list[tuple[str, str, str]]:
    """Peak memory and time of speech to weights: an hour against a minute."""
    peaks, spent = [], []
    for length_s in (60.0, 3600.0):
        path = speech(folder / f"{length_s:.0f}.wav", length_s, seed=5)
        peak, seconds = spent_by(path, folder / "out.npz")
        peaks.append(peak)
        spent.append(seconds)
    # The same files with nothing to animate in them tell what starting takes.
    _, start = spent_by(speech(folder / "short.wav", 1.0, seed=5), folder / "out.npz")
    minute, hour = spent[0] - start, spent[1] - start
    return [
        (
            "peak memory, an hour of speech",
            f"{peaks[1] / 1e6:.0f} MB, {peaks[1] / peaks[0]:.2f}× that of a minute",
            "≤ 1.3×",
        ),
        (
            "processor time, an hour of speech",
            f"{hour:.0f} s, {hour / minute:.0f}× that of a minute",
            "60× ± 15 %",
        ),
        ("the same, against its length", f"{3600 / hour:.0f}× real time on one core", ""),
    ]


# Run in the worker's Python: what it spends is read from the operating system when it is done.
_WATCHER = """
import resource, subprocess, sys
subprocess.run([sys.executable, '-m', 'core.animate', *sys.argv[1:]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
print('spent', peak, used.ru_utime + used.ru_stime)
"""


def spent_by(path: Path, output: Path) -> tuple[float, float]:
    """Peak resident bytes and processor seconds of `python -m core.animate`."""
    command = [PYTHON, "-c", _WATCHER, str(path), "-o", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peak, seconds = done.stdout.split("spent")[1].split()
    return float(peak), float(seconds)


def speech(path: Path, length_s: float, seed: int) -> Path:
    """A WAV of the bundled clip, over and over, with noise that makes each file a new one."""
    source = ROOT / "tests" / "data" / "speech.flac"
    decode = (
        "import sys, soundfile; a, _ = soundfile.read(sys.argv[1], dtype='int16');"
        "sys.stdout.buffer.write(a.tobytes())"
    )
    raw = subprocess.run([PYTHON, "-c", decode, str(source)], capture_output=True, check=True)
    clip = np.frombuffer(raw.stdout, np.int16).astype(np.int32)
    samples = np.resize(clip, int(length_s * RATE_HZ))
    samples = samples + np.random.default_rng(seed).integers(-8, 9, len(samples))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.clip(-32768, 32767).astype("<i2").tobytes())
    return path


def timed(function: Callable[..., object], *arguments: object) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
