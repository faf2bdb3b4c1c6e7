"""The real worker, with PyTorch and a small model, over its real pipes."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import types
import wave
from pathlib import Path

import numpy as np
import pytest
from idiolect_addon.worker.client import WorkerClient, WorkerSettings
from idiolect_addon.worker.motion_file import (
    Motion,
    read_arrays,
    read_motion,
    write_arrays,
    write_motion,
)
from idiolect_addon.worker.protocol import PROTOCOL_VERSION, WorkerError

ROOT = Path(__file__).parents[3]
RATE = 16_000


def write_wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def babble(seconds, seed=0):
    """Something that is not silent: noise in syllables."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * RATE)) / RATE
    return rng.normal(0, 0.1, len(times)) * (1 + np.sin(2 * np.pi * 4 * times)) / 2


@pytest.fixture(scope="module")
def client(worker_python, tmp_path_factory):
    settings = WorkerSettings(worker_python, device="cpu", threads=1,
                              log_dir=tmp_path_factory.mktemp("logs"))  # fmt: skip
    one = WorkerClient(settings)
    yield one
    one.close()


@pytest.fixture
def animate(client, small_model, speech_file, tmp_path):
    """Sends an animate request with everything that a test does not say itself."""

    def send(**changes):
        params = {
            "speech": str(speech_file),
            "fps": 30,
            "style": None,
            "checkpoint": str(small_model),
            "output": str(tmp_path / "out.npz"),
        }
        return client.request("animate", params | changes)

    return send


@pytest.fixture
def reference(tmp_path):
    return write_reference(tmp_path / "reference.npz", 0)


def write_reference(path, seed):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 1, (90, 2)).astype(np.float32)
    write_motion(path, Motion(weights, ("jawOpen", "mouthPucker"), 30.0))
    return path


def failure(call):
    with pytest.raises(WorkerError) as caught:
        call.wait(60)
    assert caught.value.message and caught.value.code != "timeout"
    return caught.value


def test_hello_says_who_answers(client, worker_python):
    info = client.start().wait(60)
    assert info["protocol"] == PROTOCOL_VERSION and info["version"] == "0.1.0"
    assert info["device"] == "cpu" and "cpu" in info["devices"]
    assert info["pid"] == client.pid and Path(info["log_path"]).is_file()


def test_load_describes_the_model(client, small_model):
    loaded = client.request("load", {"checkpoint": str(small_model)}).wait(60)
    assert loaded["name"] == "small 0" and loaded["space"] == "arkit"
    assert sorted(loaded["styles"]) == ["lively", "neutral"]
    assert loaded["parameters"] > 1000 and loaded["fps"] > 0


@pytest.mark.parametrize("fps", [24, 29.97, 60])
def test_animate_writes_motion_of_the_speech_s_length(animate, tmp_path, fps):
    speech = write_wav(tmp_path / "speech.wav", babble(2.5))
    result = animate(speech=str(speech), fps=fps).wait(60)
    motion = read_motion(result["output"])
    assert len(motion.weights) == result["frames"] == round(2.5 * fps) + 1
    assert motion.weights.shape[1] == 52 and motion.fps == pytest.approx(fps)
    assert result["duration_s"] == pytest.approx(motion.duration_s)


def test_a_part_of_the_speech(animate):
    result = animate(start_s=1.0, duration_s=2.0, fps=25).wait(60)
    assert result["frames"] == 51


def test_a_second_press_decodes_only(animate, tmp_path):
    def stages(call):
        seen = []
        call.wait(60, lambda progress: seen.append(progress.stage))
        return set(seen)

    speech = write_wav(tmp_path / "new.wav", babble(12.0, seed=5))
    first = stages(animate(speech=str(speech), output=str(tmp_path / "1.npz")))
    second = stages(animate(speech=str(speech), output=str(tmp_path / "2.npz")))
    assert "Listening" in first and "Listening" not in second
    one, two = (read_motion(tmp_path / name).weights for name in ("1.npz", "2.npz"))
    np.testing.assert_array_equal(one, two)


def test_styles_are_found_by_name_reference_and_id(client, animate, reference, small_model):
    def weights(style):
        return read_motion(animate(style=style).wait(60)["output"]).weights

    asked = {"reference": str(reference), "checkpoint": str(small_model)}
    style_id = client.request("encode_style", asked).wait(60)["style_id"]
    assert client.request("encode_style", asked).wait(60)["style_id"] == style_id
    by_reference = weights({"reference": str(reference)})
    np.testing.assert_array_equal(by_reference, weights({"id": style_id}))
    assert np.abs(by_reference - weights({"name": "lively"})).max() > 1e-4
    np.testing.assert_array_equal(weights(None), weights({"name": "neutral"}))


def test_raw_motion_is_finished_without_a_model(client, animate, tmp_path, worker_python):
    raw, output = tmp_path / "raw.npz", tmp_path / "finished.npz"
    result = animate(raw=str(raw), fps=25).wait(60)
    params = {"raw": str(raw), "output": str(output), "fps": 25}
    fresh = WorkerClient(WorkerSettings(worker_python, log_dir=tmp_path))
    try:
        finished = fresh.request("finish", params).wait(60)
        assert fresh.request("status").wait(60)["loaded"] == ""
    finally:
        fresh.close()
    assert finished["frames"] == result["frames"] and result["warnings"] == []
    one, two = read_motion(output), read_motion(result["output"])
    np.testing.assert_array_equal(one.weights, two.weights)
    client.request("finish", {**params, "finishing": {"gain_jaw": 0.0}}).wait(60)
    still = read_motion(output)
    assert still.weights[:, still.channels.index("jawOpen")].max() == 0.0
    assert failure(client.request("finish", {**params, "raw": str(output)})).code == "bad_raw"


def test_a_style_can_be_saved_and_used(client, animate, reference, small_model, tmp_path):
    file = tmp_path / "loud.style.npz"
    params = {"style": {"reference": str(reference)}, "name": "Loud", "output": str(file)}
    answer = client.request("save_style", {**params, "checkpoint": str(small_model)}).wait(60)
    assert answer["output"] == str(file) and "3.0 s" in answer["warnings"][0]
    animate(style={"file": str(file)}).wait(60)
    loaded = client.request("styles", {"checkpoint": str(small_model)}).wait(60)
    assert sorted(loaded["styles"]) == ["lively", "neutral"]


def test_many_lines_each_with_its_own_outcome(client, small_model, speech_file, tmp_path):
    def line(name, speech=speech_file, **values):
        output = str(tmp_path / f"{name}.npz")
        return {"speech": str(speech), "fps": 30, "output": output, **values}

    other = shutil.copy(small_model, tmp_path / "other.safetensors")
    jobs = [line("a"), line("b", tmp_path / "none.wav"), line("c", checkpoint=str(other)),
            line("d", fps="thirty")]  # fmt: skip
    seen = []
    call = client.request("animate_many", {"jobs": jobs, "checkpoint": str(small_model)})
    results = call.wait(60, lambda progress: seen.append((progress.done, progress.total)))
    good, missing, also, junk = results["results"]
    assert good["ok"] and also["ok"] and read_motion(tmp_path / "c.npz").fps == 30
    assert not missing["ok"] and missing["error"]["code"] == "missing_file"
    assert missing["error"]["hint"] and junk["error"]["code"] == "bad_request"
    assert all(done <= total for done, total in seen)
    assert failure(client.request("animate_many", {"jobs": "all"})).code == "bad_request"


def test_a_reference_is_known_by_its_content_not_its_name(client, reference, small_model):
    def style_id():
        params = {"reference": str(reference), "checkpoint": str(small_model)}
        return client.request("encode_style", params).wait(60)["style_id"]

    before = style_id()
    write_reference(reference, 1)
    assert style_id() != before
    write_reference(reference, 0)
    assert style_id() == before


def test_a_style_id_dies_with_its_model(client, animate, reference, small_model, tmp_path):
    params = {"reference": str(reference), "checkpoint": str(small_model)}
    style_id = client.request("encode_style", params).wait(60)["style_id"]
    other = shutil.copy(small_model, tmp_path / "other.safetensors")
    error = failure(animate(style={"id": style_id}, checkpoint=str(other)))
    assert error.code == "unknown_style_id" and error.hint


def test_a_checkpoint_that_changed_on_disk_is_read_again(client, small_model, tmp_path):
    from tests.small_model import save_small_model

    path = Path(shutil.copy(small_model, tmp_path / "mine.safetensors"))
    assert client.request("load", {"checkpoint": str(path)}).wait(60)["name"] == "small 0"
    save_small_model(path, seed=1)
    assert client.request("load", {"checkpoint": str(path)}).wait(60)["name"] == "small 1"


def make_missing(path):
    return path


def make_empty(path):
    path.touch()
    return path


def make_zero_length(path):
    return write_wav(path, np.zeros(0))


def make_silent(path):
    return write_wav(path, np.zeros(RATE))


def make_text(path):
    path.write_text("These are words, and not sound. " * 50)
    return path


def make_truncated(path):
    content = write_wav(path, babble(3.0)).read_bytes()
    path.write_bytes(content[: len(content) // 3])
    return path


def make_folder(path):
    path.mkdir()
    return path


BAD_SPEECH = {
    "missing_file": make_missing,
    "empty_speech": make_empty,
    "empty_speech ": make_zero_length,
    "silent_speech": make_silent,
    "not_audio": make_text,
    "truncated_speech": make_truncated,
    "unreadable_file": make_folder,
}


@pytest.mark.parametrize("code", BAD_SPEECH)
def test_bad_speech_is_a_clear_error_and_leaves_no_file(animate, tmp_path, code):
    path = BAD_SPEECH[code](tmp_path / "speech.wav")
    error = failure(animate(speech=str(path)))
    assert error.code == code.strip() and error.hint and error.setting == "speech"
    assert error.log_path
    assert {p.name for p in tmp_path.iterdir()} <= {"speech.wav"}


def test_a_bad_reference_names_the_file(animate, tmp_path):
    path = tmp_path / "reference.npz"
    assert failure(animate(style={"reference": str(path)})).code == "missing_file"
    path.write_bytes(b"PK\x03\x04 not really")
    error = failure(animate(style={"reference": str(path)}))
    assert error.code == "bad_motion" and "reference.npz" in error.message
    assert error.setting == "reference"
    write_motion(path, Motion(np.zeros((60, 1), np.float32), ("jawOpen",), 30.0))
    assert failure(animate(style={"reference": str(path)})).setting == "reference"


def test_bad_checkpoints_and_styles(animate, tmp_path):
    junk = tmp_path / "x.safetensors"
    assert failure(animate(checkpoint=str(junk))).setting == "checkpoint"
    junk.write_bytes(b"\x00" * 100)
    assert failure(animate(checkpoint=str(junk))).setting == "checkpoint"
    error = failure(animate(style={"name": "no such style"}))
    assert error.code == "unknown_style" and "lively" in error.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"speech": "relative.wav"},
        {"speech": 5},
        {"output": None},
        {"fps": 0},
        {"fps": "30"},
        {"start_s": -1},
        {"duration_s": 0},
        {"style": "neutral"},
        {"style": {"nme": "neutral"}},
    ],
)
def test_requests_that_make_no_sense_are_refused(animate, changes):
    assert failure(animate(**changes)).code == "bad_request"


def test_an_unknown_method_is_an_error_not_a_death(client):
    assert failure(client.request("animat")).code == "unknown_method"
    assert client.request("status").wait(60)


def test_a_folder_that_cannot_be_written_to(animate, tmp_path):
    (tmp_path / "file").touch()
    error = failure(animate(output=str(tmp_path / "file" / "out.npz")))
    assert error.code == "unwritable_file" and error.hint


def test_a_full_disk_leaves_no_half_file(animate, mount, tmp_path):
    folder = mount(tmp_path / "mounted", "size=16k")
    error = failure(animate(fps=120, output=str(folder / "out.npz")))
    assert error.code in ("unwritable_file", "disk_full") and "space" in str(error)
    assert list(folder.iterdir()) == []


def test_a_read_only_folder(animate, mount, tmp_path):
    folder = mount(tmp_path / "mounted", "ro")
    error = failure(animate(output=str(folder / "out.npz")))
    assert error.code == "unwritable_file" and error.hint


def test_cancel_in_mid_job(client, animate, tmp_path):
    speech = write_wav(tmp_path / "long.wav", babble(900))
    call = animate(speech=str(speech))
    wait_until(lambda: call.progress is not None and call.progress.done > 0)
    pid, started = client.pid, time.monotonic()
    call.cancel()
    assert failure(call).cancelled
    assert time.monotonic() - started < 5, "ended by itself, not by force"
    assert client.pid == pid and client.request("status").wait(10)
    assert [p.name for p in tmp_path.iterdir()] == ["long.wav"]


def test_a_queued_job_can_be_cancelled_before_it_begins(animate, tmp_path):
    speech = write_wav(tmp_path / "long.wav", babble(300))
    first = animate(speech=str(speech))
    second = animate(output=str(tmp_path / "second.npz"))
    second.cancel()
    first.cancel()
    assert failure(first).cancelled and failure(second).cancelled
    assert not (tmp_path / "second.npz").exists()


def test_an_idle_worker_gives_its_memory_back(worker_python, small_model, tmp_path):
    settings = WorkerSettings(worker_python, idle_unload_s=0.3, log_dir=tmp_path)
    client = WorkerClient(settings)
    try:
        client.request("load", {"checkpoint": str(small_model)}).wait(60)
        # Asking is a job too, and a job ends the rest.
        assert client.request("status").wait(60)["loaded"] == str(small_model)
        time.sleep(1.5)
        assert client.request("status").wait(60)["loaded"] == ""
        assert client.request("load", {"checkpoint": str(small_model)}).wait(60)["styles"]
    finally:
        client.close()


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
def test_killing_the_parent_ends_a_busy_worker(worker_python, small_model, tmp_path):
    speech = write_wav(tmp_path / "long.wav", babble(900))
    params = {"speech": str(speech), "fps": 30, "checkpoint": str(small_model),
              "output": str(tmp_path / "out.npz")}  # fmt: skip
    script = f"""
        import sys, types, time
        shell = types.ModuleType("a"); shell.__path__ = [{str(ROOT / "blender_addon")!r}]
        sys.modules["a"] = shell
        from pathlib import Path
        from a.worker.client import WorkerClient, WorkerSettings
        client = WorkerClient(WorkerSettings(Path({str(worker_python)!r}), threads=1))
        call = client.request("animate", {params!r})
        while not (call.progress and call.progress.done > 0): time.sleep(0.02)
        print(client.pid, flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(pid), seconds=6)
    assert [p.name for p in tmp_path.iterdir()] == ["long.wav"]


def test_a_python_without_the_packages_is_named_as_the_fault(tmp_path):
    bare = Path(sys.base_prefix) / "bin" / "python3"
    if not bare.exists() or subprocess.run([bare, "-c", "import torch"], check=False,
                                           capture_output=True).returncode == 0:  # fmt: skip
        pytest.skip("there is no Python without PyTorch here")
    client = WorkerClient(WorkerSettings(bare, log_dir=tmp_path))
    error = failure(client.start())
    client.close()
    assert error.code == "environment" and "torch" in error.message
    assert error.setting == "worker_python"
    assert "Traceback" in Path(error.log_path).read_text()


def test_what_lies_about_cannot_be_imported_by_mistake(worker_python, small_model, tmp_path):
    for name in ("json", "numpy", "torch", "properties", "core"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONHOME": str(tmp_path)}
    client = WorkerClient(WorkerSettings(worker_python, log_dir=tmp_path), environ=environ)
    try:
        assert client.request("load", {"checkpoint": str(small_model)}).wait(60)
    finally:
        client.close()


def test_the_same_files_run_from_an_installed_zip(worker_python, animate, tmp_path):
    addon = tmp_path / "idiolect"
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
    shutil.copytree(ROOT / "blender_addon", addon, ignore=ignore)
    shutil.copytree(ROOT / "core", addon / "core", ignore=ignore)
    shell = types.ModuleType("installed")
    shell.__path__ = [str(addon)]
    sys.modules["installed"] = shell
    import installed.worker.client as copy

    assert copy.find_root() == addon
    client = copy.WorkerClient(copy.WorkerSettings(worker_python, log_dir=tmp_path / "logs"))
    try:
        info = client.start().wait(60)
        assert f", {addon}" in Path(info["log_path"]).read_text()
    finally:
        client.close()


def test_the_built_in_head_arrives_as_arrays(client, tmp_path):
    output = tmp_path / "head.npz"
    client.request("face", {"kind": "head", "output": str(output)}).wait(120)
    face = read_arrays(output)
    count = len(face["vertices"])
    assert face["vertices"].shape == (count, 3) and face["faces"].shape[1] == 4
    assert face["faces"].max() < count and face["faces"].min() >= -1
    assert face["key_offsets"].shape == (52, count, 3) and len(set(face["key_names"])) == 52
    assert len(face["material_index"]) == len(face["faces"])
    assert face["material_index"].max() < len(face["material_names"])
    assert face["material_rgba"].shape == (len(face["material_names"]), 4)


def test_a_face_of_an_unknown_kind(client, tmp_path):
    error = failure(client.request("face", {"kind": "foot", "output": str(tmp_path / "o.npz")}))
    assert error.code == "bad_request"


@pytest.mark.shared
def test_a_mesh_of_flame_topology_gets_its_keys(client, shared, tmp_path):
    with np.load(shared / "faces" / "flame_topology.npz", allow_pickle=False) as file:
        vertices, faces = file["W009"], file["faces"]
    mesh, output = tmp_path / "mesh.npz", tmp_path / "keys.npz"
    write_arrays(mesh, {"vertices": vertices, "faces": faces})
    params = {"kind": "speech_keys", "mesh": str(mesh), "output": str(output)}
    client.request("face", params).wait(120)
    keys = read_arrays(output)
    assert keys["key_offsets"].shape == (52, 5023, 3) and "jawOpen" in keys["key_names"]


def test_a_mesh_of_another_topology_is_refused(client, tmp_path):
    mesh, output = tmp_path / "mesh.npz", tmp_path / "keys.npz"
    params = {"kind": "speech_keys", "mesh": str(mesh), "output": str(output)}
    write_arrays(mesh, {"vertices": np.zeros((8, 3)), "faces": np.zeros((6, 3), np.int32)})
    error = failure(client.request("face", params))
    assert error.code not in ("internal", "bad_request") and error.hint
    write_arrays(mesh, {"points": np.zeros((8, 3))})
    assert failure(client.request("face", params)).code == "bad_request"
    mesh.write_bytes(b"not an archive")
    assert failure(client.request("face", params)).code == "bad_file"
    assert not output.exists()


def write_flame(path):
    """A model of four vertices, with one component more than those of identity."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), 4)
    np.savez(
        path,
        v_template=rng.normal(0, 0.1, (4, 3)),
        f=np.array([[0, 1, 2], [0, 2, 3]], np.uint32),
        shapedirs=rng.normal(0, 1e-3, (4, 3, 301)),
        posedirs=rng.normal(0, 1e-3, (4, 3, 36)),
        J_regressor=weights.T / weights.sum(0)[:, None],
        kintree_table=np.array([[2**32 - 1, 0, 1, 1, 1], range(5)], np.uint32),
        weights=weights,
    )
    return path


def test_a_flame_file_arrives_as_a_rig(client, tmp_path):
    output = tmp_path / "rig.npz"
    file = write_flame(tmp_path / "model.npz")
    params = {"kind": "flame", "file": str(file), "output": str(output)}
    answer = client.request("face", params).wait(120)
    rig = read_arrays(output)
    assert list(rig["key_names"][:2]) == ["Exp001", "Pose001"]
    assert rig["key_offsets"].shape == (37, 4, 3) and rig["skin_weights"].shape == (4, 5)
    assert "jaw" in rig["joint_names"] and rig["faces"].shape == (2, 4)
    assert not len(rig["speech_key_names"]) and "not of FLAME topology" in answer["no_speech_keys"]
    client.request("face", {**params, "shape_keys": True}).wait(120)
    assert len(read_arrays(output)["key_names"]) == 337


def test_what_is_no_flame_file_is_the_setting_s_fault(client, tmp_path):
    file, output = tmp_path / "model.pkl", tmp_path / "rig.npz"
    params = {"kind": "flame", "file": str(file), "output": str(output)}
    assert failure(client.request("face", params)).setting == "flame_file"
    file.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    error = failure(client.request("face", params))
    assert (error.code, error.setting) == ("unsafe_file", "flame_file") and error.hint
    assert not output.exists()


@pytest.mark.skipif(sys.platform == "darwin", reason="this machine may have that device")
def test_a_device_that_is_not_there_is_the_setting_s_fault(worker_python, tmp_path):
    client = WorkerClient(WorkerSettings(worker_python, device="mps", log_dir=tmp_path))
    try:
        error = failure(client.start())
        assert error.code == "no_device" and error.setting == "device" and "cpu" in error.hint
    finally:
        client.close()
