"""The worker's environment, really made: by network and from a folder of wheels.

Each ends with a worker that answers from the new environment and animates speech.
"""

import subprocess
import sys

import pytest
from idiolect_addon import environment
from idiolect_addon.environment import packages
from idiolect_addon.worker.client import WorkerClient, WorkerSettings, find_root
from idiolect_addon.worker.motion_file import read_motion
from idiolect_addon.worker.protocol import WorkerError

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("IDIOLECT_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("IDIOLECT_PYTHON", raising=False)
    return tmp_path / "data"


def use(made, small_model, speech_file, tmp_path):
    """What an artist does with an environment."""
    assert made.ready and made.build == "cpu" and environment.find_python() == made.python
    assert made.python.is_relative_to(tmp_path)
    client = WorkerClient(WorkerSettings(made.python, log_dir=tmp_path / "logs"))
    output = tmp_path / "out.npz"
    try:
        assert client.start().wait(120)["torch"].startswith("2.13.0")
        params = {"speech": str(speech_file), "fps": 24, "output": str(output),
                  "checkpoint": str(small_model)}  # fmt: skip
        client.request("animate", params).wait(120)
    finally:
        client.close()
    assert read_motion(output).weights.shape[1] == 52
    imports = "import transformers.models.wav2vec2.modeling_wav2vec2 as m; print(m.Wav2Vec2Model)"
    done = subprocess.run([made.python, "-I", "-c", imports], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_by_network(small_model, speech_file, tmp_path):
    seen = []
    made = environment.set_up(
        device="cpu", progress=lambda stage, done, total: seen.append((done, stage))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[0][0] == 0 and seen[-1][0] == 1000
    assert any("PyTorch" in stage for _, stage in seen)
    use(made, small_model, speech_file, tmp_path)
    pip = [made.python, "-I", "-m", "pip"]
    assert subprocess.run([*pip, "check"], check=False).returncode == 0
    if sys.platform == "linux":
        found = subprocess.run([*pip, "show", "torchaudio"], check=False, capture_output=True)
        assert found.returncode != 0, "no torchaudio beside a processor's PyTorch on Linux"
    # A later set-up that fails leaves this one in place.
    with pytest.raises(WorkerError):
        environment.set_up(base_python="/no/python")
    assert environment.current().ready
    assert environment.remove() == 1 and not environment.current().ready


def test_from_a_folder_of_wheels(small_model, speech_file, tmp_path):
    root = find_root()
    requirements = packages.read_requirements(root / "requirements.txt")
    wheels = tmp_path / "wheels"
    for command in packages.download_commands(requirements, "cpu", str(wheels)):
        assert command.startswith("python ")
        command = command.replace("python ", f'"{sys.executable}" ', 1)
        done = subprocess.run(command, shell=True, cwd=root, check=False, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
    made = environment.set_up(device="cpu", online=False, wheel_folder=str(wheels))
    assert "https://" not in made.log_path.read_text()
    use(made, small_model, speech_file, tmp_path)
