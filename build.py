#!/usr/bin/env python3
"""The one entry for set-up: python build.py [zip | demo | test | bench].

zip    dist/idiolect-VERSION.zip, for Blender's preferences; the same bytes every time (the default)
demo   the built-in head says a sentence (or SPEECH): out/demo.blend, out/demo.mp4 and a few frames
test   set-up, style, types, and every test, in real Blender too, on each version that fits
bench  speed and memory, as ratios within one run

Python 3.11 or newer and its standard library are enough; each command makes what it needs under
.build/ and says what it does. Delete .build/ to begin afresh.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / ".build"
DIST = ROOT / "dist"
OUT = ROOT / "out"
MANIFEST = ROOT / "blender_addon" / "blender_manifest.toml"
DEMO_SPEECH = ROOT / "tests" / "data" / "speech.flac"

TORCH_PYTHON = (3, 11)  # the worker's Python in tests and demo, where it is found
TOOLS = ("ruff>=0.9,<1", "mypy>=1.14,<3", "pytest>=8,<10", "pytest-timeout>=2.3", "types-tqdm")
TEST_LIMIT_S = 1500  # a hanging Blender must not hold the build for ever


@dataclass(frozen=True)
class Blender:
    """A Blender version that is tested, as the `bpy` wheel of the package index."""

    series: str
    wheel: str
    python: tuple[int, int]
    numpy: str  # the wheels of 4.2 and 4.5 do not pin the numpy that they were built for


BLENDERS = (
    Blender("4.2", "4.2.23", (3, 11), "numpy==1.26.4"),
    Blender("4.5", "4.5.15", (3, 11), "numpy<2"),
    Blender("5.2", "5.2.3", (3, 13), "numpy>=2.2,<3"),
)
STUB_SERIES = ("4.2", "5.2")

# What a bare Debian lacks: the libraries that Blender's wheel links, and the voices of the corpus.
DEBIAN_PACKAGES = (
    *("libx11-6", "libxrender1", "libxfixes3", "libxi6", "libxkbcommon0", "libxxf86vm1"),
    *("libgomp1", "libsm6", "libice6", "libgl1", "libegl1"),
    *("espeak-ng", "flite", "festival", "festvox-us-slt-hts", "festvox-kallpc16k"),
    *("festvox-kdlpc16k", "wamerican"),
)


class BuildError(Exception):
    """Something outside this repository is missing; the text says what to do."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"[build] {text}", flush=True)


Command = Sequence[str | Path]


def run(
    command: Command,
    *,
    quiet: bool = False,
    env: dict[str, str] | None = None,
    timeout_s: float | None = None,
) -> None:
    """Runs a command in the repository's folder.

    Raises:
        BuildError: When it fails or takes longer than `timeout_s`; with its output's end if quiet.
    """
    name = " ".join(str(word) for word in command[:4])
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            check=False,
            cwd=ROOT,
            env=env,
            timeout=timeout_s,
        )
    except OSError as error:
        raise BuildError(f"{name} does not start: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{name} … was stopped after {timeout_s:.0f} s") from error
    if done.returncode:
        tail = "\n".join((done.stdout or "").splitlines()[-25:])
        raise BuildError(f"{name} … failed ({done.returncode})\n{tail}")


# ------------------------------------------------------------------------------- interpreters


def find_python(version: tuple[int, int]) -> Path | None:
    """A working interpreter of this version: the running one, one on PATH, or one of pyenv's."""
    name = f"python{version[0]}.{version[1]}"
    candidates = [Path(sys.executable)]
    candidates += [Path(found) for found in (shutil.which(name), shutil.which("python3")) if found]
    candidates += sorted(
        Path.home().glob(f".pyenv/versions/{version[0]}.{version[1]}.*/bin/{name}")
    )
    for candidate in candidates:
        # Only asking tells: pyenv puts a stand-in on PATH for versions that are not switched on.
        question: list[str | Path] = [
            candidate,
            "-c",
            "import sys; print('%d.%d' % sys.version_info[:2])",
        ]
        try:
            asked = subprocess.run(
                question, capture_output=True, text=True, timeout=30, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if asked.stdout.strip() == f"{version[0]}.{version[1]}":
            return candidate
    return None


def venv_python(folder: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make_venv(name: str, python: Path, packages: Sequence[str], pip_options: Sequence[str]) -> Path:
    """A virtual environment under .build, made again when what it should hold changes.

    Returns:
        Its interpreter. A half-made one never counts: its stamp is written last.
    """
    folder = BUILD / "venv" / name
    wanted = hashlib.sha256("\n".join([str(python), *packages, *pip_options]).encode()).hexdigest()
    stamp = folder / "made-of"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        say(f"making the environment {name} (a minute or so) …")
        shutil.rmtree(folder, ignore_errors=True)
        run([python, "-m", "venv", folder], quiet=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([venv_python(folder), *install, *pip_options, *packages], quiet=True)
        stamp.write_text(wanted)
    return venv_python(folder)


def addon_module(name: str) -> ModuleType:
    """A module of the add-on that needs no Blender, imported past the package's own start.

    The add-on's `__init__` imports bpy; its installer and its worker client do not.
    """
    package = "idiolect_without_blender"
    if package not in sys.modules:
        shell = ModuleType(package)
        shell.__path__ = [str(ROOT / "blender_addon")]
        sys.modules[package] = shell
    return importlib.import_module(f"{package}.{name}")


# --------------------------------------------------------------------------------- the set-up


def install_debian_packages() -> None:
    """Installs what is missing, when this is Debian and we may; else leaves it to the errors."""
    if not shutil.which("apt-get") or os.name == "nt" or os.geteuid() != 0:
        return
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *DEBIAN_PACKAGES]
    known = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")
    missing = [name for name in DEBIAN_PACKAGES if f"{name} installed" not in known]
    if missing:
        say(f"installing {len(missing)} Debian packages …")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], quiet=True, env=environment)
        run(["apt-get", "install", "-y", "-qq", *missing], quiet=True, env=environment)


def worker_python() -> Path:
    """The interpreter of an environment with requirements.txt and the tools of the tests.

    One for all commands: PyTorch is too large to have twice.
    """
    python = find_python(TORCH_PYTHON) or Path(sys.executable)
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line.split("#")[0].strip() for line in lines]
    options = addon_module("environment.packages").torch_index_options()
    return make_venv("worker", python, [*filter(None, requirements), *TOOLS], options)


def bpy_python(blender: Blender, python: Path) -> Path:
    """The interpreter of an environment with this Blender as a module."""
    packages = [f"bpy=={blender.wheel}", blender.numpy, *TOOLS[2:4]]
    return make_venv(f"bpy-{blender.series}", python, packages, [])


# ----------------------------------------------------------------------------------------- zip


def version() -> str:
    """The version number, from the only place where it stands."""
    return str(tomllib.loads(MANIFEST.read_text(encoding="utf-8"))["version"])


def zip_members() -> Iterator[tuple[str, Path]]:
    """Name in the archive and file, for all that an installed add-on needs."""
    trees = ((ROOT / "blender_addon", ""), (ROOT / "core", "core/"))
    for tree, prefix in trees:
        for path in sorted(tree.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield f"idiolect/{prefix}{path.relative_to(tree).as_posix()}", path
    for name in ("requirements.txt", "LICENSE"):
        yield f"idiolect/{name}", ROOT / name


def command_zip() -> Path:
    """Makes dist/idiolect-VERSION.zip."""
    target = DIST / f"idiolect-{version()}.zip"
    DIST.mkdir(exist_ok=True)
    temporary = target.with_suffix(".part")
    # Stored, not deflated: compressors differ between zlib versions, and the archive's bulk is a
    # model that does not compress. Fixed times and modes do the rest for equal bytes.
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(zip_members()):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, path.read_bytes())
    temporary.replace(target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    say(f"{target}  {target.stat().st_size / 1e6:.1f} MB  sha256 {digest[:16]}…")
    return target


# ---------------------------------------------------------------------------------------- demo


def blender_binary() -> Path | None:
    """A Blender ≥ 4.2 on PATH."""
    found = shutil.which("blender")
    if not found:
        return None
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    words = asked.stdout.split()
    try:
        major, minor = (int(part) for part in words[words.index("Blender") + 1].split(".")[:2])
    except (ValueError, IndexError):
        return None
    return Path(found) if (major, minor) >= (4, 2) else None


def blender_command() -> list[str | Path]:
    """How to run a script of ours in Blender: a binary's words, or the bpy wheel's interpreter."""
    binary = blender_binary()
    if binary:
        say(f"using {binary}")
        return [binary, "-b", "--python-exit-code", "3", "-P"]
    for blender in reversed(BLENDERS):
        if blender.python == sys.version_info[:2]:
            say(f"no Blender on PATH: using the bpy wheel of Blender {blender.series}")
            return [bpy_python(blender, Path(sys.executable))]
    raise BuildError(
        "There is no Blender 4.2 or newer on PATH, and no bpy wheel fits this Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}. Install Blender, or use Python 3.11 or 3.13."
    )


def command_demo(speech: Path | None) -> None:
    """The main job on an embedded default."""
    speech = (speech or DEMO_SPEECH).resolve()
    if not speech.is_file():
        raise BuildError(f"There is no speech file {speech}.")
    install_debian_packages()
    python = worker_python()
    OUT.mkdir(exist_ok=True)
    script = ROOT / "blender_addon" / "batch.py"
    options: list[str | Path] = ["--out", OUT, "--name", "demo", "--render", "--stills", "6"]
    run(
        [*blender_command(), script, "--", speech, *options],
        env={**os.environ, "IDIOLECT_PYTHON": str(python)},
    )
    for path in sorted(OUT.glob("demo*")):
        say(f"made {path}")


# ---------------------------------------------------------------------------------------- test


@dataclass
class Counts:
    """What the tests came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add_junit(self, report: Path) -> bool:
        """Adds the counts of a pytest report; False when there is none (pytest never got there)."""
        if not report.is_file():
            return False
        for suite in ET.parse(report).getroot().iter("testsuite"):
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            self.passed += total - skipped - failed
            self.failed += failed
            self.skipped += skipped
        return True


class TestRun:
    """Runs the stages one after another, goes on after a failure, and keeps the score."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.problems: list[str] = []
        self.could_not_run: list[str] = []

    def check(self, title: str, command: Command, env: dict[str, str] | None = None) -> None:
        """A stage that passes or fails as a whole."""
        say(f"— {title}")
        try:
            run(command, env=env)
            self.counts.passed += 1
        except BuildError as error:
            self.counts.failed += 1
            self.problems.append(f"{title}: {str(error).splitlines()[0]}")

    def pytest(self, title: str, python: Path, folders: Sequence[str], **environment: str) -> None:
        """A stage of many tests."""
        say(f"— {title}")
        with tempfile.TemporaryDirectory() as scratch:
            report = Path(scratch) / "report.xml"
            command: list[str | Path] = [
                python,
                "-m",
                "pytest",
                "-q",
                f"--junitxml={report}",
                *folders,
            ]
            try:
                run(
                    command,
                    timeout_s=TEST_LIMIT_S,
                    env={**os.environ, "IDIOLECT_CACHE": str(BUILD / "cache"), **environment},
                )
            except BuildError as error:
                self.problems.append(f"{title}: {str(error).splitlines()[0]}")
                if not report.is_file():
                    self.counts.failed += 1
            self.counts.add_junit(report)

    def finish(self) -> int:
        """Prints the closing lines; returns the exit code."""
        for line in self.could_not_run:
            say(f"could not run: {line}")
        for line in self.problems:
            say(f"FAILED {line}")
        counts = self.counts
        print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped")
        return 1 if self.problems or counts.failed else 0


def command_test(only: str | None) -> int:
    """Set-up and all tests (or those stages whose title contains `only`)."""
    started = time.monotonic()
    install_debian_packages()
    python = worker_python()
    tests = TestRun()
    archive = command_zip()

    def wanted(title: str) -> bool:
        return only is None or only in title

    if wanted("style"):
        tests.check("style: ruff check", [python, "-m", "ruff", "check", "."])
        tests.check("style: ruff format", [python, "-m", "ruff", "format", "--check", "."])
    if wanted("types"):
        tests.check("types: core, training", [python, "-m", "mypy", "core", "training", "build.py"])
        for series in STUB_SERIES:
            # Stubs count only where they are installed as packages: in an environment of their own.
            stubs = make_venv(f"stubs-{series}", python, [f"fake-bpy-module-{series}", "numpy"], [])
            cache = BUILD / f"mypy-{series}"
            mypy: list[str | Path] = [
                python,
                "-m",
                "mypy",
                "--python-executable",
                stubs,
                "--cache-dir",
                cache,
            ]
            tests.check(f"types: the add-on against Blender {series}", [*mypy, "blender_addon"])
    if wanted("python"):
        folders = ["tests/core", "tests/training", "tests/addon", "tests/e2e", "tests/build"]
        tests.pytest("python: core, training, worker", python, folders)
    for blender in BLENDERS:
        title = f"blender {blender.series}"
        if not wanted(title):
            continue
        interpreter = find_python(blender.python)
        if interpreter is None:
            needed = f"Python {blender.python[0]}.{blender.python[1]}"
            tests.could_not_run.append(f"Blender {blender.series}: there is no {needed}")
            continue
        with tempfile.TemporaryDirectory() as resources:
            tests.pytest(
                title,
                bpy_python(blender, interpreter),
                ["tests/blender"],
                IDIOLECT_PYTHON=str(python),
                IDIOLECT_ZIP=str(archive),
                BLENDER_USER_RESOURCES=resources,
            )
    say(f"{(time.monotonic() - started) / 60:.1f} minutes")
    return tests.finish()


# --------------------------------------------------------------------------------------- bench


def command_bench() -> None:
    """Speed and memory; see tests/bench."""
    install_debian_packages()
    python = worker_python()
    blender = next(b for b in reversed(BLENDERS) if find_python(b.python))
    interpreter = find_python(blender.python)
    if interpreter is None:
        raise BuildError("No Python that a bpy wheel fits was found.")
    run(
        [bpy_python(blender, interpreter), ROOT / "tests" / "bench" / "bench.py"],
        env={**os.environ, "IDIOLECT_PYTHON": str(python)},
    )


def main() -> int:
    """Reads the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="build.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="zip | demo | test | bench")
    commands.add_parser("zip", help="make the add-on's zip (the default)")
    demo = commands.add_parser("demo", help="render the head saying a sentence")
    demo.add_argument("speech", nargs="?", type=Path, help="a speech file of your own")
    test = commands.add_parser("test", help="set up and run all tests")
    test.add_argument("--only", help="only stages whose title contains this, e.g. 'blender 4.2'")
    commands.add_parser("bench", help="measure speed and memory")
    options = parser.parse_args()
    try:
        if options.command == "demo":
            command_demo(options.speech)
        elif options.command == "test":
            return command_test(options.only)
        elif options.command == "bench":
            command_bench()
        else:
            command_zip()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
