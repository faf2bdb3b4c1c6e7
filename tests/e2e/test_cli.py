"""``python -m core.animate`` as a user runs it: files out, or one line of error and a remedy."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
import wave
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.animate import main
from core.motion import ARKIT_CHANNELS, MotionClip
from core.motion_files import load_motion, save_motion

ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    stdout: str
    stderr: str


@pytest.fixture
def run(small_model, capsys):
    """Runs the command line with the small model, in this process: starting PyTorch takes long."""

    def run_it(*arguments, code=0):
        words = list(map(str, arguments))
        if "--checkpoint" not in words:
            words += ["--checkpoint", str(small_model)]
        capsys.readouterr()
        assert main(words) == code
        done = Done(*capsys.readouterr())
        assert "Traceback" not in done.stderr
        return done

    return run_it


def run_process(*arguments):
    """Runs the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "core.animate", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def error_of(done):
    """The message and the hint, which are one line each and the last of the output."""
    lines = done.stderr.replace("\r", "\n").strip().splitlines()
    assert lines[-2].startswith("error: ") and lines[-1].startswith("hint: "), lines
    assert sum(line.startswith("error: ") for line in lines) == 1
    return lines[-2]


@pytest.fixture
def speech(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "line.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((rng.normal(0, 3000, 32_000)).astype("<i2").tobytes())
    return path


def test_as_a_user_runs_it(speech, small_model, tmp_path):
    output = tmp_path / "out.csv"
    done = run_process(speech, "-o", output, "--checkpoint", small_model)
    assert done.returncode == 0, done.stderr
    assert "61 frames" in done.stdout and output.is_file()
    done = run_process(tmp_path / "no.wav", "-o", output, "--checkpoint", small_model)
    assert done.returncode == 2 and done.stdout == ""
    assert "no.wav" in error_of(done)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_each_format_reads_back(run, speech, tmp_path, suffix):
    output = tmp_path / f"out{suffix}"
    done = run(speech, "-o", output, "--fps", 25)
    clip = load_motion(output)
    assert len(clip.weights) == 51 and clip.fps == pytest.approx(25)
    assert np.abs(clip.select(ARKIT_CHANNELS)).max() > 0
    assert "51 frames" in done.stdout and "2.00 s" in done.stdout


def test_the_formats_hold_the_same_motion(run, speech, tmp_path):
    clips = []
    for suffix in (".npz", ".csv", ".json"):
        run(speech, "-o", tmp_path / f"out{suffix}", "--quiet")
        clips.append(load_motion(tmp_path / f"out{suffix}").select(ARKIT_CHANNELS))
    np.testing.assert_allclose(clips[0], clips[1], atol=1e-4)
    np.testing.assert_allclose(clips[0], clips[2], atol=1e-4)


def test_the_csv_is_as_live_link_face_writes_it(run, speech, tmp_path):
    run(speech, "-o", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as file:
        header = next(csv.reader(file))
    assert header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"] and len(header) == 63
    assert {name.lower() for name in ARKIT_CHANNELS} <= {name.lower() for name in header}


def test_a_reference_and_a_style_change_the_motion(run, speech, tmp_path):
    rng = np.random.default_rng(1)
    weights = rng.uniform(0, 1, (90, 52)).astype(np.float32)
    reference = tmp_path / "reference.csv"
    save_motion(MotionClip(weights, ARKIT_CHANNELS, 30.0), reference)
    clips = []
    for manner in ([], ["--reference", reference], ["--style", "lively"]):
        run(speech, *manner, "-o", tmp_path / "out.npz")
        clips.append(load_motion(tmp_path / "out.npz").weights)
    assert np.abs(clips[0] - clips[1]).max() > 1e-3
    assert np.abs(clips[1] - clips[2]).max() > 1e-3


def test_manners_are_mixed_emotions_given_and_finishing_set(run, speech, tmp_path):
    out, raw = tmp_path / "out.npz", tmp_path / "raw.npz"

    def weights(*options):
        done = run(speech, *options, "-o", out)
        return load_motion(out).weights, done.stderr

    lively, _ = weights("--style", "lively", "--no-finish")
    mixed, _ = weights("--style", "neutral", "--style-b", "lively", "--mix", 1, "--no-finish")
    np.testing.assert_array_equal(mixed, lively)
    mean, _ = weights("--style", "lively", "--strength", 0, "--no-finish")
    assert np.abs(mean - lively).max() > 1e-4
    angry, told = weights("--emotion", "anger:0.5", "--no-finish")
    assert "warning:" in told and "not learnt emotions" in told
    assert np.abs(angry - weights("--no-finish")[0]).max() > 1e-4
    still, _ = weights("--finish", "gain_jaw=0", "--finish", "parting_guard=false", "--raw", raw)
    assert still[:, ARKIT_CHANNELS.index("jawOpen")].max() == 0.0 and raw.exists()


def test_the_command_line_and_the_worker_agree(run, speech, small_model, tmp_path):
    from idiolect_addon.worker.client import WorkerClient, WorkerSettings
    from idiolect_addon.worker.motion_file import read_motion

    run(speech, "-o", tmp_path / "cli.npz", "--fps", 29.97)
    client = WorkerClient(WorkerSettings(Path(sys.executable)))
    params = {"speech": str(speech), "fps": 29.97, "checkpoint": str(small_model),
              "output": str(tmp_path / "worker.npz")}  # fmt: skip
    client.request("animate", params).wait(120)
    client.close()
    mine, its = load_motion(tmp_path / "cli.npz"), read_motion(tmp_path / "worker.npz")
    assert mine.channels == its.channels and mine.fps == its.fps and mine.space == its.space
    np.testing.assert_allclose(mine.weights, its.weights, atol=1e-4)


def test_a_part_of_the_speech(run, speech, tmp_path):
    run(speech, "--start", 0.5, "--duration", 1, "-o", tmp_path / "out.json")
    assert load_motion(tmp_path / "out.json").duration_s == pytest.approx(1.0, abs=1e-3)


def test_list_styles(run):
    assert run("--list-styles").stdout.split() == ["lively", "neutral"]


def test_help_names_formats_and_examples(run):
    text = run_process("--help").stdout
    for word in (".npz", ".csv", ".json", "--reference", "--list-styles", "examples:"):
        assert word in text


def test_progress_goes_to_stderr_and_quiet_is_quiet(run, speech, tmp_path):
    done = run(speech, "-o", tmp_path / "out.npz")
    assert "Animating" in done.stderr and "%" not in done.stdout
    done = run(speech, "-o", tmp_path / "out.npz", "--quiet")
    assert done.stdout == "" and done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["{missing}", "-o", "{out}.npz"], "missing.wav"),
        (["{empty}", "-o", "{out}.npz"], "empty.wav"),
        (["{text}", "-o", "{out}.npz"], "text.wav"),
        (["{silent}", "-o", "{out}.npz"], "silent.wav"),
        (["{speech}", "-o", "{out}.mp4"], ".mp4"),
        (["{speech}", "-o", "{out}"], "suffix"),
        (["{speech}"], "output"),
        (["-o", "{out}.npz"], "speech"),
        (["{speech}", "-o", "{out}.npz", "--fps", "0"], "frame rate"),
        (["{speech}", "-o", "{out}.npz", "--fps", "nan"], "frame rate"),
        (["{speech}", "-o", "{out}.npz", "--start", "-1"], "--start"),
        (["{speech}", "-o", "{out}.npz", "--start", "100"], "100"),
        (["{speech}", "-o", "{out}.npz", "--style", "nobody"], "nobody"),
        (["{speech}", "-o", "{out}.npz", "--reference", "{text}"], "text.wav"),
        (["{speech}", "-o", "{out}.npz", "--reference", "{missing}.csv"], "missing.wav.csv"),
        (["{speech}", "-o", "{out}.npz", "--checkpoint", "{missing}"], "missing.wav"),
        (["{speech}", "-o", "{out}.npz", "--checkpoint", "{text}"], "text.wav"),
        (["{speech}", "-o", "{out}.npz", "--device", "cdua"], "cdua"),
        (["{speech}", "-o", "{text}/out.npz"], "out.npz"),
        (["{speech}", "-o", "{out}.npz", "--emotion", "joyful"], "joyful"),
        (["{speech}", "-o", "{out}.npz", "--strength", "half"], "half"),
        (["{speech}", "-o", "{out}.npz", "--strength", "3"], "strength"),
        (["{speech}", "-o", "{out}.npz", "--finish", "gain_jav=1"], "gain_jav"),
        (["{speech}", "-o", "{out}.npz", "--style", "{missing}.style.npz"], "missing.wav.style"),
    ],
)
def test_a_mistake_is_one_line_with_a_remedy(run, speech, tmp_path, arguments, word):
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "empty.wav").touch()
    (inputs / "text.wav").write_text("words")
    with wave.open(str(inputs / "silent.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    names = {name: inputs / f"{name}.wav" for name in ("missing", "empty", "text", "silent")}
    outputs = tmp_path / "made"
    outputs.mkdir()
    filled = [a.format(speech=speech, out=outputs / "out", **names) for a in arguments]
    assert word in error_of(run(*filled, code=2))
    assert list(outputs.iterdir()) == [], "no half-written file"


def test_what_stood_there_stays_after_a_failure(run, tmp_path):
    output = tmp_path / "out.json"
    output.write_text("mine")
    error_of(run(tmp_path / "no.wav", "-o", output, code=2))
    assert output.read_text() == "mine"


@pytest.mark.parametrize("options", ["ro", "size=16k"])
@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_a_read_only_folder_and_a_full_disk(run, speech, mount, tmp_path, options, suffix):
    folder = mount(tmp_path / "disk", options)
    done = run(speech, "-o", folder / f"out{suffix}", "--fps", 240, code=2)
    assert f"out{suffix}" in error_of(done)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_is_no_error_and_leaves_nothing(small_model, tmp_path):
    long = tmp_path / "long.wav"
    rng = np.random.default_rng(0)
    with wave.open(str(long), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        for _ in range(90):
            file.writeframes(rng.normal(0, 3000, 160_000).astype("<i2").tobytes())
    command = [sys.executable, "-m", "core.animate", long, "-o", tmp_path / "out.npz",
               "--checkpoint", small_model]  # fmt: skip
    # A shell's background job ignores Ctrl-C, and so would all that it starts.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, preexec_fn=heed) as child:
        seen = b""
        end = time.monotonic() + 60
        while b"Listening" not in seen and time.monotonic() < end:
            seen += os.read(child.stderr.fileno(), 4096)
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
        assert child.wait(30) == 130
    assert b"Traceback" not in rest and b"stopped" in rest
    assert [p.name for p in tmp_path.iterdir()] == ["long.wav"]


def test_json_is_beat_s_form(run, speech, tmp_path):
    run(speech, "-o", tmp_path / "out.json")
    data = json.loads((tmp_path / "out.json").read_text())
    assert len(data["names"]) == 52 and len(data["frames"][0]["weights"]) == 52
