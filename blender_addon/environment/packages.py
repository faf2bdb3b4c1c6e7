"""Which packages the worker's environment needs, and the pip commands that fetch them.

PyTorch comes in builds: for the processor, for Apple, and for NVIDIA cards by CUDA version. What
the ordinary package index serves depends on the system (CUDA on Linux, processor on Windows), so
PyTorch is fetched first, by itself, from the index of the wanted build; the rest follows from
the ordinary index and finds PyTorch already there. Fetching it by ``--index-url`` and not by
``--extra-index-url`` has two reasons: an index that cannot be reached is an error here and not
a quiet download of three gigabytes of another build, and no package of the same name in another
index can take its place. Where that index is out of reach (a company's mirror), the ordinary one
is tried after it.

Pure functions, but for ``detect`` and ``torch_index_options``. Standard library only.
"""

from __future__ import annotations

import platform as platform_module
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..worker import process
from ..worker.protocol import WorkerError

TORCH_INDEX = "https://download.pytorch.org/whl/"

# What PyTorch 2.13 is built for: CUDA 13.0 needs driver 580 and a card from Turing on; CUDA 12.6
# knows older drivers and cards, but none newer than Hopper.
_CU130_DRIVER, _CU130_CAPABILITY = 580, (7, 5)
_CU126_DRIVER, _CU126_CAPABILITIES = 525, ((5, 0), (9, 0))

# In requirements.txt, what follows this comment is for training and not for artists.
_TRAINING_MARK = "# Training"


@dataclass(frozen=True)
class Machine:
    """What decides which build fits.

    Attributes:
        platform: as ``sys.platform``.
        architecture: as ``platform.machine()``.
        driver: the NVIDIA driver's major version; 0 without one.
        capability: the compute capability of the best NVIDIA card.
    """

    platform: str
    architecture: str
    driver: int = 0
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Step:
    """One pip command.

    Attributes:
        title: what the user is told meanwhile.
        arguments: what stands after ``python -m pip``.
        fallback: arguments to try when that failed; may be empty.
        optional: whether the set-up goes on if all failed.
        share: of the whole set-up's time, roughly.
    """

    title: str
    arguments: tuple[str, ...]
    fallback: tuple[str, ...] = ()
    optional: bool = False
    share: float = 0.0


def detect() -> Machine:
    """The machine that this runs on."""
    driver, capability = 0, (0, 0)
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
            creationflags=process.NO_WINDOW,
            env=process.clean_environment(),
        )
        driver, capability = parse_nvidia_smi(asked.stdout)
    except (OSError, subprocess.SubprocessError):
        pass  # no such program: no such card
    return Machine(sys.platform, platform_module.machine().lower(), driver, capability)


def parse_nvidia_smi(output: str) -> tuple[int, tuple[int, int]]:
    """Driver's major version and the best card's capability; zeros if there is none."""
    cards = re.findall(r"^\s*(\d+)[\d.]*\s*,\s*(\d+)\.(\d+)\s*$", output, re.MULTILINE)
    if not cards:
        return 0, (0, 0)
    return int(cards[0][0]), max((int(major), int(minor)) for _, major, minor in cards)


def choose_build(machine: Machine, device: str) -> str:
    """The build of PyTorch for a device: ``cpu``, ``cu126``, ``cu130`` or ``mac``.

    Args:
        machine: where it is to run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        WorkerError: if no build gives this device on this machine.
    """
    mac = machine.platform == "darwin"
    if mac and machine.architecture not in ("arm64", "aarch64"):
        raise WorkerError(
            "PyTorch no longer exists for Macs with Intel processors.",
            hint="Point the preference at a Python with a PyTorch of your own, or use another"
            " computer.",
            code="unsupported_machine",
        )
    if mac and device in ("auto", "cpu", "mps"):
        return "mac"
    if device in ("auto", "cpu") or (device == "cuda" and not mac):
        cuda = _cuda_build(machine) if device != "cpu" else ""
        if cuda or device != "cuda":
            return cuda or "cpu"
        raise WorkerError(
            f"PyTorch cannot use CUDA here: {_why_no_cuda(machine)}.",
            hint="Install a current NVIDIA driver, or set the device to Automatic or Processor.",
            code="no_cuda",
            setting="device",
        )
    raise WorkerError(
        f"This computer has no device '{device}'.",
        hint="Set the device to Automatic.",
        code="no_device",
        setting="device",
    )


def _cuda_build(machine: Machine) -> str:
    if machine.driver >= _CU130_DRIVER and machine.capability >= _CU130_CAPABILITY:
        return "cu130"
    lowest, highest = _CU126_CAPABILITIES
    if machine.driver >= _CU126_DRIVER and lowest <= machine.capability <= highest:
        return "cu126"
    return ""


def _why_no_cuda(machine: Machine) -> str:
    if not machine.driver:
        return "no NVIDIA card answers (nvidia-smi)"
    card = "{}.{}".format(*machine.capability)
    return f"driver {machine.driver} with a card of capability {card} fits no build"


def read_requirements(path: Path) -> list[str]:
    """The worker's lines of requirements.txt: all before its section on training.

    Raises:
        WorkerError: if it cannot be read or names no exact torch.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WorkerError(
            f"{path} cannot be read: {error.strerror or error}.",
            hint="Install the add-on again from its zip file.",
            code="damaged_install",
        ) from error
    return parse_requirements(text)


def parse_requirements(text: str) -> list[str]:
    """As ``read_requirements``, of the file's text."""
    lines = text.split(_TRAINING_MARK)[0].splitlines()
    requirements = [line for raw in lines if (line := raw.split("#")[0].strip())]
    if not any(line.startswith("torch==") for line in requirements):
        raise WorkerError(
            "requirements.txt names no version of torch.",
            hint="Install the add-on again from its zip file.",
            code="damaged_install",
        )
    return requirements


def plan(
    requirements: list[str], build: str, *, platform: str, wheel_folder: Path | None = None
) -> list[Step]:
    """The pip commands that fill a fresh environment.

    Args:
        requirements: lines of requirements.txt.
        build: from ``choose_build``.
        platform: as ``sys.platform``.
        wheel_folder: take all packages from here and use no network at all.
    """
    torch = next(line for line in requirements if line.startswith("torch=="))
    rest = [line for line in requirements if line != torch]
    install: tuple[str, ...] = (
        "install",
        "--no-input",
        "--no-warn-script-location",
        "--only-binary=:all:",
    )
    if wheel_folder is not None:
        install += ("--no-index", "--find-links", str(wheel_folder))
        return [
            Step("Installing PyTorch", (*install, "--no-deps", torch), share=0.5),
            Step("Installing the other packages", (*install, torch, *rest), share=0.35),
        ]
    index = () if build == "mac" else ("--index-url", TORCH_INDEX + build)
    alone = (*install, "--no-deps", "--retries", "2")
    steps = [
        # Only a recent pip says how much of a file it has; without one the bar just jumps.
        Step("Updating pip", (*install, "--upgrade", "pip"), optional=True, share=0.03),
        Step(
            "Downloading PyTorch",
            (*alone, *index, torch),
            fallback=(*install, "--no-deps", torch) if index else (),
            share=0.5,
        ),
        Step("Downloading the other packages", (*install, torch, *rest), share=0.35),
    ]
    if platform == "linux" and build.startswith("cu"):
        # requirements.txt leaves torchaudio out on Linux, where its wheels are for CUDA only.
        steps.append(
            Step("Downloading torchaudio", (*alone, *index, "torchaudio"), optional=True, share=0.0)
        )
    return steps


def torch_index_options() -> list[str]:
    """Options for one plain ``pip install -r requirements.txt`` on this machine, processor only.

    For developers' environments. An extra index is asked about every single package, and each
    time waited for if it is out of reach: so it is left out then.
    """
    index = TORCH_INDEX + "cpu"
    if sys.platform == "darwin":
        return []
    try:
        urllib.request.urlopen(f"{index}/torch/", timeout=10).close()
    except OSError:
        return []
    return ["--extra-index-url", index]


def download_commands(requirements: list[str], build: str, folder: str) -> list[str]:
    """What to run on a computer with network, same system and Python, to fill a wheel folder.

    Quoted so that it can be pasted into cmd.exe as well as into a Unix shell.
    """
    index = "" if build == "mac" else f" --index-url {TORCH_INDEX}{build}"
    torch = next(line for line in requirements if line.startswith("torch=="))
    rest = " ".join('"{}"'.format(line.replace('"', "'")) for line in requirements)
    start = f'python -m pip download --only-binary=:all: -d "{folder}"'
    return [f"{start} --no-deps{index} {torch}", f'{start} --find-links "{folder}" {rest}']
