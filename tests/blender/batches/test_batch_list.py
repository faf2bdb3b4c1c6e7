"""batch.py with lists: many lines, resume, shards, dry run, every format read back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from commands import BATCH, batch, errors_of
from scenes import bad_speech, speaking_mesh

from blender_addon.worker.motion_file import read_motion

pytestmark = pytest.mark.usefixtures("scene", "worker")


def records(out: Path, name: str = "results.jsonl") -> dict[str, dict]:
    """Records by output; a record that appears twice fails here."""
    found = [json.loads(text) for text in (out / name).read_text().splitlines()]
    assert len({record["output"] for record in found}) == len(found)
    return {record["output"]: record for record in found}


def write_list(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_csv_list_with_its_columns(speech_file, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "one.flac").write_bytes(speech_file.read_bytes())
    jobs = tmp_path / "in" / "jobs.csv"
    jobs.write_text(
        "speech,output,formats,style,fps,start\n"
        "one.flac,a/first.npz,json,broad,25,1\n"
        'one.flac,,"npz csv",,24,11\n'
        "missing.wav,,npz,,,\n"
    )
    out = tmp_path / "out"
    run = batch("--jobs", jobs, "--out", out)
    assert run.returncode == 4
    (error, count) = errors_of(run)
    assert error.startswith("[3/3] missing: error: There is no file") and "1 of 3 failed" in count
    assert "2 done, 0 skipped, 1 failed" in run.stdout
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == ["a/first.json", "a/first.npz", "one.csv", "one.npz", "results.jsonl"]
    assert read_motion(out / "a" / "first.npz").fps == 25
    assert read_motion(out / "one.npz").fps == 24
    found = records(out)
    assert [found[name]["status"] for name in ("a/first", "one", "missing")] == [
        "done",
        "done",
        "failed",
    ]
    assert found["missing"]["error"]["code"] == "bad_input"


def test_what_is_done_and_unchanged_is_skipped(speech_file, tmp_path) -> None:
    speech = tmp_path / "line.flac"
    speech.write_bytes(speech_file.read_bytes())
    rows = [{"speech": "line.flac", "formats": "npz"}, {"speech": str(speech_file)}]
    jobs = write_list(tmp_path / "jobs.jsonl", *rows)
    out = tmp_path / "out"
    command = ("--jobs", jobs, "--out", out, "--formats", "npz")
    assert batch(*command).returncode == 0
    first = (out / "line.npz").stat().st_mtime_ns
    again = batch(*command)
    assert again.returncode == 0 and "2 of 2 are done and unchanged" in again.stdout
    assert (out / "line.npz").stat().st_mtime_ns == first
    # A result that is gone, an input that has changed, another setting: each is done again.
    (out / "speech.npz").unlink()
    assert "1 done, 1 skipped" in batch(*command).stdout
    write_list(jobs, rows[0] | {"style": "restrained"}, rows[1])
    assert "1 done, 1 skipped" in batch(*command).stdout
    speech.write_bytes(bad_speech("silent", tmp_path, speech_file).read_bytes())
    run = batch(*command)
    assert run.returncode == 4 and "0 done, 1 skipped, 1 failed" in run.stdout
    assert records(out)["line"]["status"] == "failed"
    speech.write_bytes(speech_file.read_bytes())
    assert "1 done, 1 skipped" in batch(*command).stdout
    assert [record["status"] for record in records(out).values()] == ["done", "done"]
    assert "2 done, 0 skipped" in batch(*command, "--force").stdout


def test_bad_lists(speech_file, tmp_path) -> None:
    def refused(text: str, name: str = "jobs.csv") -> str:
        path = tmp_path / name
        path.write_text(text)
        run = batch("--jobs", path, "--out", tmp_path / "out")
        assert run.returncode == 2, run.stderr
        (error,) = errors_of(run)
        return error

    assert "Did you mean “speech”" in refused("speach\nx.wav\n")
    assert "line 3: mix = '2' is not between" in refused("speech,mix\na.wav,1\na.wav,2\n")
    assert "leaves the output folder" in refused("speech,output\na.wav,../../b\n")
    assert "both reference and style" in refused("speech,reference,style\na.wav,b.npz,broad\n")
    assert "has no rows" in refused("speech\n")
    assert "line 1 is no JSON" in refused("{speech}\n", "jobs.jsonl")
    assert batch("--jobs", tmp_path / "none.csv", "--out", tmp_path / "out").returncode == 2
    assert batch(speech_file, "--shard", "3/2", "--out", tmp_path / "out").returncode == 2


def test_a_dry_run_checks_every_input(speech_file, tmp_path) -> None:
    speaking_mesh("Hero")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    silent = bad_speech("silent", tmp_path, speech_file)
    good = {"speech": str(speech_file), "blend": "shot.blend", "character": "Hero"}
    bad = [
        {"speech": str(silent)},
        {**good, "character": "Nobody"},
        {**good, "camera": "Nowhere"},
        {**good, "emotion": "boredom"},
        {**good, "style": "none"},
        {**good, "blend": "none.blend"},
    ]
    out = tmp_path / "out"
    run = batch(
        *("--jobs", write_list(tmp_path / "jobs.jsonl", good, *bad), "--out", out, "--dry-run")
    )
    assert run.returncode == 2 and len(errors_of(run)) == len(bad)
    assert "[1/7] speech: 4.4 s of speech" in run.stdout and "6 of 7 are bad" in run.stderr
    assert list(out.iterdir()) == []
    run = batch("--jobs", write_list(tmp_path / "jobs.jsonl", good), "--out", out, "--dry-run")
    assert run.returncode == 0 and "1 lines are ready" in run.stdout


def test_two_shards_at_the_same_time(speech_file, tmp_path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.flac").write_bytes(speech_file.read_bytes())
    out = tmp_path / "out"
    words = [str(BATCH), "--", str(tmp_path / "?.flac"), "--out", str(out), "--formats", "npz"]
    shards = [
        subprocess.Popen([sys.executable, *words, "--shard", f"{i}/2"], stdout=subprocess.PIPE)
        for i in (1, 2)
    ]
    for shard in shards:
        shard.communicate(timeout=200)
        assert shard.returncode == 0
    assert set(records(out, "results-1-of-2.jsonl")) == {"a", "c", "e"}
    assert set(records(out, "results-2-of-2.jsonl")) == {"b", "d"}
    assert sorted(path.stem for path in out.glob("*.npz")) == list("abcde")
    whole = batch(tmp_path, "--out", out, "--formats", "npz")
    assert whole.returncode == 0 and "5 of 5 are done and unchanged" in whole.stdout


def test_killed_and_resumed(speech_file, tmp_path) -> None:
    """SIGKILL leaves whole files only, and the next run does the rest, none twice."""
    rows = [{"speech": str(speech_file), "output": f"line{i:02}"} for i in range(12)]
    jobs, out = write_list(tmp_path / "jobs.jsonl", *rows), tmp_path / "out"
    words = ["--jobs", str(jobs), "--out", str(out), "--formats", "blend npz"]
    with subprocess.Popen([sys.executable, str(BATCH), "--", *words]) as blender:
        while not (out / "line03.npz").exists() and blender.poll() is None:
            time.sleep(0.01)
        blender.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in out.glob("line*.*")}
    done = records(out)
    assert 3 <= len(done) < 12
    run = batch(*words)
    assert run.returncode == 0 and f"{len(done)} of 12 are done" in run.stdout
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    found = records(out)
    assert set(found) == {row["output"] for row in rows}
    for name, record in found.items():
        for file, size in record["files"].items():
            assert (out / file).stat().st_size == size
            if name in done:
                assert (out / file).stat().st_mtime_ns == before[out / file]
        assert len(read_motion(out / f"{name}.npz").weights) == record["frames"]


def test_a_worker_that_is_killed_is_replaced(speech_file, tmp_path) -> None:
    rows = [{"speech": str(speech_file), "output": f"line{i}"} for i in range(6)]
    jobs, out = write_list(tmp_path / "jobs.jsonl", *rows), tmp_path / "out"
    cache = tmp_path / "cache"
    program = [
        *(sys.executable, str(BATCH), "--", "--jobs", str(jobs), "--out", str(out)),
        *("--formats", "npz"),
    ]
    environment = {**os.environ, "IDIOLECT_CACHE": str(cache)}
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) as blender:
        for line in blender.stdout:
            if "line1: done" in line:
                (log,) = (cache / "logs").glob("*.log")
                os.kill(int(log.stem.rpartition("-")[2]), signal.SIGKILL)
        assert blender.wait(timeout=120) == 0
    assert len(list(out.glob("*.npz"))) == 6 and len(records(out)) == 6


def shapes_over_time(actor: bpy.types.Object, frames: list[int]) -> np.ndarray:
    """World-space vertices (F, V, 3) as Blender shows them, sorted so that files may reorder."""
    shown = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        evaluated = actor.evaluated_get(bpy.context.evaluated_depsgraph_get())
        mesh = evaluated.to_mesh()
        flat = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get("co", flat)
        matrix = np.array(evaluated.matrix_world)
        shown.append(flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])
        evaluated.to_mesh_clear()
    return np.stack(shown)


def extent(points: np.ndarray) -> np.ndarray:
    """What does not depend on the order or number of vertices: bounds and mean of each frame."""
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


@pytest.mark.parametrize("suffix", ["glb", "fbx", "abc", "usdc"])
def test_exports_show_the_same_motion(suffix, speech_file, tmp_path) -> None:
    out = tmp_path / "out"
    run = batch(speech_file, "--out", out, "--formats", f"blend {suffix}", "--fps", 30)
    assert run.returncode == 0, run.stderr
    bpy.ops.wm.open_mainfile(filepath=str(out / "speech.blend"))
    frames = list(range(5, 130, 5))
    original = shapes_over_time(bpy.data.objects["Head"], frames)

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.render.fps = 30
    path = str(out / f"speech.{suffix}")
    if suffix == "glb":
        bpy.ops.import_scene.gltf(filepath=path)
    elif suffix == "fbx":
        bpy.ops.import_scene.fbx(filepath=path, anim_offset=0.0)
    elif suffix == "abc":
        bpy.ops.wm.alembic_import(filepath=path, as_background_job=False)
    else:
        bpy.ops.wm.usd_import(filepath=path)
    actor = next(one for one in bpy.context.scene.objects if one.type == "MESH")
    again = shapes_over_time(actor, frames)
    assert np.ptp(original, axis=0).max() > 0.005, "the face must move for this to mean anything"
    if again.shape == original.shape:
        np.testing.assert_allclose(again, original, atol=1e-3)
    else:  # glTF splits vertices at seams
        np.testing.assert_allclose(extent(again), extent(original), atol=1e-3)
