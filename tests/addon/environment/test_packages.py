"""The pip commands for every system and device, and how the build of PyTorch is chosen."""

from pathlib import Path

import pytest
from idiolect_addon import environment
from idiolect_addon.environment import packages
from idiolect_addon.environment.packages import Machine
from idiolect_addon.worker.protocol import WorkerError

ROOT = Path(__file__).resolve().parents[3]
LINUX, WINDOWS = Machine("linux", "x86_64"), Machine("win32", "amd64")
MAC, INTEL_MAC = Machine("darwin", "arm64"), Machine("darwin", "x86_64")
RTX_40 = {"driver": 580, "capability": (8, 9)}
OLD_DRIVER = {"driver": 550, "capability": (8, 9)}
GTX_10 = {"driver": 580, "capability": (6, 1)}
NEW_CARD_OLD_DRIVER = {"driver": 570, "capability": (12, 0)}
ANCIENT = {"driver": 470, "capability": (3, 5)}
REQUIREMENTS = ["torch==2.13.0", "numpy>=1.26,<3", 'torchaudio==2.11.0 ; sys_platform == "win32"']
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CU130_INDEX = "https://download.pytorch.org/whl/cu130"


def with_card(machine, card):
    return Machine(machine.platform, machine.architecture, **card)


@pytest.mark.parametrize(
    ("machine", "device", "build"),
    [
        (LINUX, "auto", "cpu"),
        (LINUX, "cpu", "cpu"),
        (WINDOWS, "auto", "cpu"),
        (WINDOWS, "cpu", "cpu"),
        (Machine("win32", "arm64"), "auto", "cpu"),
        (Machine("linux", "aarch64"), "auto", "cpu"),
        (MAC, "auto", "mac"),
        (MAC, "cpu", "mac"),
        (MAC, "mps", "mac"),
        (with_card(LINUX, RTX_40), "auto", "cu130"),
        (with_card(LINUX, RTX_40), "cuda", "cu130"),
        (with_card(LINUX, RTX_40), "cpu", "cpu"),
        (with_card(WINDOWS, RTX_40), "auto", "cu130"),
        (with_card(WINDOWS, OLD_DRIVER), "auto", "cu126"),
        (with_card(LINUX, GTX_10), "cuda", "cu126"),
        (with_card(LINUX, NEW_CARD_OLD_DRIVER), "auto", "cpu"),
        (with_card(LINUX, ANCIENT), "auto", "cpu"),
    ],
)
def test_the_build_follows_the_machine_and_the_wish(machine, device, build):
    assert packages.choose_build(machine, device) == build


@pytest.mark.parametrize(
    ("machine", "device", "code"),
    [
        (LINUX, "cuda", "no_cuda"),
        (with_card(WINDOWS, NEW_CARD_OLD_DRIVER), "cuda", "no_cuda"),
        (with_card(LINUX, ANCIENT), "cuda", "no_cuda"),
        (LINUX, "mps", "no_device"),
        (MAC, "cuda", "no_device"),
        (INTEL_MAC, "auto", "unsupported_machine"),
        (LINUX, "cdua", "no_device"),
    ],
)
def test_a_wish_that_cannot_be_met_is_an_error_with_a_remedy(machine, device, code):
    with pytest.raises(WorkerError) as caught:
        packages.choose_build(machine, device)
    assert caught.value.code == code and caught.value.hint


def commands(build, platform, **options):
    steps = packages.plan(REQUIREMENTS, build, platform=platform, **options)
    return {step.title: step for step in steps}


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_processor(platform):
    steps = commands("cpu", platform)
    torch = steps["Downloading PyTorch"]
    assert torch.arguments[-3:] == ("--index-url", CPU_INDEX, "torch==2.13.0")
    assert "--no-deps" in torch.arguments
    assert torch.fallback[-1] == "torch==2.13.0" and "--index-url" not in torch.fallback
    rest = steps["Downloading the other packages"].arguments
    assert rest[-3:] == tuple(REQUIREMENTS) and "--index-url" not in rest
    assert not any("torchaudio" in " ".join(s.arguments[-1:]) for s in steps.values()
                   if s.optional)  # fmt: skip


@pytest.mark.parametrize(("platform", "torchaudio"), [("linux", True), ("win32", False)])
def test_cuda(platform, torchaudio):
    steps = commands("cu130", platform)
    arguments = steps["Downloading PyTorch"].arguments
    assert arguments[-3:] == ("--index-url", CU130_INDEX, "torch==2.13.0")
    assert ("Downloading torchaudio" in steps) == torchaudio
    if torchaudio:
        assert steps["Downloading torchaudio"].optional
        assert CU130_INDEX in steps["Downloading torchaudio"].arguments


def test_mac_uses_the_ordinary_index_only():
    for step in commands("mac", "darwin").values():
        assert not any("pytorch.org" in word for word in (*step.arguments, *step.fallback))


@pytest.mark.parametrize("build", ["cpu", "cu126", "cu130", "mac"])
def test_a_wheel_folder_means_no_network_at_all(build, tmp_path):
    for step in commands(build, "linux", wheel_folder=tmp_path).values():
        assert "--no-index" in step.arguments and not step.fallback
        assert step.arguments[step.arguments.index("--find-links") + 1] == str(tmp_path)
        assert not any("http" in word for word in step.arguments)


@pytest.mark.parametrize("build", ["cpu", "cu126", "cu130", "mac"])
def test_shares_leave_room_for_making_and_checking(build):
    steps = packages.plan(REQUIREMENTS, build, platform="linux")
    assert sum(step.share for step in steps) == pytest.approx(0.88)


def test_nothing_is_built_from_source():
    for step in commands("cpu", "linux").values():
        assert "--only-binary=:all:" in step.arguments


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("580.95.05, 8.9\n", (580, (8, 9))),
        ("535.1, 7.5\n535.1, 8.6\n", (535, (8, 6))),
        ("580.1, 12.0\n580.1, 9.0\n", (580, (12, 0))),
        ("", (0, (0, 0))),
        ("NVIDIA-SMI has failed because it couldn't communicate with the driver\n", (0, (0, 0))),
        ("580.1, [N/A]\n", (0, (0, 0))),
    ],
)
def test_nvidia_smi_is_read(output, found):
    assert packages.parse_nvidia_smi(output) == found


def test_this_machine_can_be_looked_at():
    machine = packages.detect()
    assert machine.platform and machine.architecture == machine.architecture.lower()


def test_requirements_stop_before_training_and_have_no_comments():
    text = (
        "# x\ntorch==2.13.0\nnumpy>=1.26 # why\n\n# Training and its corpora.\ntensorboard>=2.16\n"
    )
    assert packages.parse_requirements(text) == ["torch==2.13.0", "numpy>=1.26"]


def test_our_own_requirements_are_of_that_form():
    from idiolect_addon.worker.client import find_root

    requirements = packages.read_requirements(find_root() / "requirements.txt")
    assert requirements[0].startswith("torch==")
    names = " ".join(requirements)
    assert "transformers" in names and "soundfile" in names
    assert "tensorboard" not in names and "matplotlib" not in names


def test_requirements_without_torch_or_file_are_refused(tmp_path):
    with pytest.raises(WorkerError):
        packages.parse_requirements("numpy\n")
    with pytest.raises(WorkerError) as caught:
        packages.read_requirements(tmp_path / "requirements.txt")
    assert caught.value.code == "damaged_install"


def test_the_download_commands_fetch_the_same_build():
    first, second = packages.download_commands(REQUIREMENTS, "cu126", "wheels")
    assert "torch==2.13.0" in first and "whl/cu126" in first and "--no-deps" in first
    assert "\"torchaudio==2.11.0 ; sys_platform == 'win32'\"" in second
    assert '"torch==2.13.0" "numpy>=1.26,<3"' in second, "so that pip takes the build in the folder"


def test_the_download_commands_are_for_this_computer():
    machine = packages.detect()
    first, second = environment.download_commands("cpu", "")
    assert '-d "wheels"' in first and '-d "wheels"' in second
    assert ("whl/cpu" in first) == (machine.platform != "darwin")
    lines = packages.read_requirements(ROOT / "requirements.txt")
    assert next(line for line in lines if line.startswith("torch==")) in first
    with pytest.raises(WorkerError) as caught:
        environment.download_commands("abacus", "")
    assert caught.value.setting == "device"
