"""Where the worker's environment lies, which Python is taken, and how a set-up fails.

A real set-up, from the first file to the worker's answer, is in tests/e2e.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from idiolect_addon import environment
from idiolect_addon.environment import installer
from idiolect_addon.worker.protocol import WorkerError

HOME = Path("/home/ann")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("IDIOLECT_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("IDIOLECT_PYTHON", raising=False)
    return tmp_path / "data"


@pytest.fixture
def wheels(tmp_path):
    """A folder that looks as if it had the packages; the wheels in it are empty files."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "torch-2.13.0-cp30-cp30-none.whl").touch()
    return folder


def make_ready():
    """An environment that counts as made; its interpreter is the one that runs this."""
    made = environment.current()
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    (made.folder / "idiolect.json").write_text(json.dumps({"build": "cpu"}))
    return environment.current()


def failure(function, *args, **options):
    with pytest.raises(WorkerError) as caught:
        function(*args, **options)
    assert caught.value.message and caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, HOME / ".local/share/idiolect"),
        ("linux", {"XDG_DATA_HOME": "/data"}, Path("/data/idiolect")),
        ("darwin", {}, HOME / "Library/Application Support/Idiolect"),
        ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/Idiolect")),
        ("win32", {}, HOME / "AppData/Local/Idiolect"),
        ("linux", {"IDIOLECT_DATA": "/farm"}, Path("/farm")),
    ],
)
def test_the_folder_is_the_user_s_own(platform, environ, folder):
    assert environment.data_dir(platform, environ, HOME) == folder


def test_the_folder_s_name_is_short_and_follows_the_requirements(own_folder):
    folder = environment.current().folder
    assert folder.parent == own_folder and len(folder.name) <= 12
    # The longest path inside PyTorch is 171 characters; Windows allows 260 in all.
    longest_home = len(r"C:\Users\somebody-with-a-name\AppData\Local\Idiolect")
    assert longest_home + len(rf"\{folder.name}.n\Lib\site-packages") + 171 + 1 < 260


def test_nothing_is_ready_at_first_and_the_error_says_what_to_press():
    assert not environment.current().ready
    error = failure(environment.find_python)
    assert error.code == "no_environment" and "Set Up" in error.hint


def test_the_preference_goes_before_the_variable_and_that_before_ours(tmp_path, monkeypatch):
    ours = make_ready()
    assert environment.find_python() == ours.python
    farm, mine = tmp_path / "farm-python", tmp_path / "my-python"
    farm.touch()
    mine.touch()
    monkeypatch.setenv("IDIOLECT_PYTHON", str(farm))
    assert environment.find_python() == farm
    assert environment.find_python(str(mine)) == mine


def test_the_preference_may_be_a_virtual_environment_s_folder():
    ours = make_ready()
    assert environment.find_python(str(ours.folder)) == ours.python


def test_a_preference_that_is_not_there_is_an_error_and_not_passed_over(monkeypatch):
    make_ready()
    assert failure(environment.find_python, "/no/python").setting == "worker_python"
    monkeypatch.setenv("IDIOLECT_PYTHON", "/no/python")
    assert failure(environment.find_python).setting == "IDIOLECT_PYTHON"


def test_half_an_environment_is_not_ready():
    made = make_ready()
    marker = made.folder / "idiolect.json"
    for content in ("", "{", "[]", "{}"):
        marker.write_text(content)
        assert not environment.current().ready
    marker.unlink()
    assert not environment.current().ready


def test_an_environment_whose_python_was_uninstalled_is_not_ready():
    made = make_ready()
    made.python.unlink()
    made.python.symlink_to("/usr/gone/python3.11")
    assert not environment.current().ready


def test_without_network_and_wheels_nothing_is_tried(own_folder):
    error = failure(environment.set_up, online=False)
    assert error.code == "offline" and "Online Access" in error.hint
    assert error.setting == "wheel_folder"
    assert not own_folder.exists()


@pytest.mark.parametrize("online", [True, False])
def test_a_wheel_folder_without_pytorch_is_refused(tmp_path, online):
    error = failure(environment.set_up, online=online, wheel_folder=str(tmp_path))
    assert error.code == "no_wheels" and str(tmp_path) in error.message


@pytest.mark.parametrize("python", ["/no/such/python", __file__])
def test_a_base_python_that_is_none(wheels, python):
    error = failure(environment.set_up, wheel_folder=str(wheels), base_python=python)
    assert error.code == "no_base_python" and python in error.message
    assert error.setting == "base_python"


@pytest.mark.skipif(os.name != "posix", reason="a script as an interpreter")
def test_an_old_python_is_refused_with_its_version(wheels, tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho '[\"/usr/bin/python3.8\", [3, 8], true]'\n")
    old.chmod(0o755)
    error = failure(environment.set_up, wheel_folder=str(wheels), base_python=str(old))
    assert "version 3.8" in error.message and "3.11" in error.message


def test_a_device_that_is_not_there(wheels):
    error = failure(environment.set_up, device="mps" if sys.platform == "linux" else "cdua",
                    wheel_folder=str(wheels))  # fmt: skip
    assert error.setting == "device"


def test_a_set_up_that_fails_says_why_and_leaves_what_was_there(wheels, own_folder):
    before = make_ready()
    error = failure(environment.set_up, wheel_folder=str(wheels))
    assert error.code == "no_wheels" and "torch" in error.message
    assert "--no-index" in Path(error.log_path).read_text()
    assert environment.current() == before
    assert {p.name for p in own_folder.iterdir()} == {
        before.folder.name, "setup.log", "setup.lock"}  # fmt: skip


def test_cancel_ends_it_and_leaves_nothing(wheels, own_folder):
    stages = []
    with pytest.raises(WorkerError) as caught:
        environment.set_up(
            wheel_folder=str(wheels),
            progress=lambda stage, done, total: stages.append(stage),
            cancelled=lambda: bool(stages),
        )
    assert caught.value.cancelled and stages
    assert {p.name for p in own_folder.iterdir()} == {"setup.log", "setup.lock"}


def test_two_set_ups_do_not_meet(wheels, own_folder):
    own_folder.mkdir()
    holder = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'a+b'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); time.sleep(60)"
    )
    pytest.importorskip("fcntl")
    command = [sys.executable, "-c", holder, str(own_folder / "setup.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert failure(environment.set_up, wheel_folder=str(wheels)).code == "busy"
        other.kill()
    # The lock went with its holder: the next one gets as far as being cancelled.
    with pytest.raises(WorkerError) as caught:
        environment.set_up(wheel_folder=str(wheels), cancelled=lambda: True)
    assert caught.value.cancelled


def test_a_folder_that_cannot_be_made(wheels, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IDIOLECT_DATA", str(tmp_path / "file" / "data"))
    error = failure(environment.set_up, wheel_folder=str(wheels))
    assert error.code == "cannot_write" and "IDIOLECT_DATA" in error.hint


def test_a_disk_without_room_is_noticed_before_anything_is_fetched(wheels, own_folder, mount):
    mount(own_folder, "size=10m")
    assert failure(environment.set_up, wheel_folder=str(wheels)).code == "disk_full"


def test_remove_takes_our_folders_and_nothing_else(own_folder):
    made = make_ready()
    (own_folder / "env-00000000").mkdir()
    (own_folder / "notes").mkdir()
    assert environment.remove() == 2
    assert not made.folder.exists() and (own_folder / "notes").is_dir()
    assert environment.remove() == 0


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
         "disk_full", "full"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError(...)': /simple/torch/",
         "network", "reached"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] ...'))",
         "network", "certificate"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE",
         "network", "damaged"),
        ("ERROR: [WinError 5] Access is denied: 'C:\\\\...\\\\torch\\\\lib\\\\c10.dll'",
         "access_refused", "refused"),
        ("ERROR: No matching distribution found for scipy>=1.11", "set_up_failed", "scipy>=1.11"),
        ("something never heard of", "set_up_failed", "cannot be installed"),
    ],
)  # fmt: skip
def test_what_pip_complains_about_is_put_into_words(line, code, word):
    error = installer.pip_error(["Collecting torch", line], offline=False, log="/log")
    assert error.code == code and word in error.message and error.hint
    assert error.log_path == "/log" and line in error.log_tail


def test_progress_is_read_from_pip_and_never_goes_back():
    seen = []
    output = installer._PipOutput(lambda fraction, detail: seen.append((fraction, detail)))
    for line in (
        "Collecting torch==2.13.0",
        "  Downloading torch-2.13.0-cp311-none-win_amd64.whl (184.2 MB)",
        "Progress 0 of 184200000",
        "Progress 92100000 of 184200000",
        "Progress 184200000 of 184200000",
        "Collecting numpy>=1.26 (from -r requirements.txt)",
        "Installing collected packages: numpy, torch",
        "Successfully installed numpy-2.4.0",
    ):
        output.take(line)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] < 1
    assert "torch 92 of 184 MB" in [detail for _, detail in seen]
