"""The worker: the process that has PyTorch, and the only part of the add-on that imports core.

Started by ``client.py`` as a plain file, in isolated mode: ``python -I …/worker/__main__.py
--root FOLDER``, where FOLDER holds ``core/``. Neither that folder nor this one goes on
``sys.path``: the add-on's modules have common names, and must not stand in for anyone else's.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import hashlib
import importlib
import importlib.util
import logging
import os
import platform
import sys
import time
import tomllib
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from core.animator import Animator
    from core.face.mesh import FaceMesh

    from . import protocol, serving, startup

log = logging.getLogger("idiolect.worker")


def load_package(name: str, folder: Path) -> ModuleType:
    """Import a package from a given folder, whatever ``sys.path`` says."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not a package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    load_package("idiolect_worker", Path(__file__).absolute().parent)
    protocol = importlib.import_module("idiolect_worker.protocol")
    serving = importlib.import_module("idiolect_worker.serving")
    startup = importlib.import_module("idiolect_worker.startup")

WorkerError = protocol.WorkerError
Job = serving.Job

_KEPT_STYLES = 64


class Worker:
    """What a worker can do: one method per request, named after it."""

    def __init__(self, root: Path, *, device: str, threads: int, log_path: str) -> None:
        self.log_path = log_path
        self._root = root
        self._device = device
        self._threads = threads
        self._animator: Animator | None = None
        self._loaded: tuple[str, int, int] | None = None
        self._styles: OrderedDict[str, np.ndarray] = OrderedDict()

    def handle(self, job: Job) -> dict[str, Any]:
        """Do a job. What it raises is described by ``describe``."""
        methods = {
            "hello": self.hello,
            "status": self.status,
            "load": self.load,
            "encode_style": self.encode_style,
            "animate": self.animate,
            "probe": self.probe,
            "face": self.face,
        }
        if job.method not in methods:
            raise WorkerError(
                f"The worker knows no '{job.method}'.",
                hint="Restart Blender: half an update is still loaded.",
                code="unknown_method",
            )
        return methods[job.method](job)

    def hello(self, job: Job) -> dict[str, Any]:
        """Who answers here; imports PyTorch, so an environment without it fails at once."""
        del job
        import torch

        from core import device

        if self._threads > 0:
            torch.set_num_threads(self._threads)
        return {
            "protocol": protocol.PROTOCOL_VERSION,
            "version": _version(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "device": str(device.pick(self._device)),
            "devices": device.available(),
            "pid": os.getpid(),
            "log_path": self.log_path,
        }

    def status(self, job: Job) -> dict[str, Any]:
        """What the worker holds in memory."""
        del job
        return {"loaded": self._loaded[0] if self._loaded else "", "styles": len(self._styles)}

    def load(self, job: Job) -> dict[str, Any]:
        """Load a checkpoint, or say what is in the loaded one."""
        animator = self._model(job)
        return {
            "name": animator.name,
            "space": animator.space,
            "parameters": animator.parameters,
            "fps": animator.fps,
            "styles": list(animator.styles),
        }

    def encode_style(self, job: Job) -> dict[str, Any]:
        """The style of a reference motion, kept under an id made from its content."""
        animator = self._model(job)
        return {"style_id": self._style_of(animator, _path(job, "reference"))}

    def animate(self, job: Job) -> dict[str, Any]:
        """Speech to motion, written to ``output``, and to ``copies`` in other formats."""
        from core.motion_files import save_motion

        started = time.monotonic()
        output = _path(job, "output")
        speech = _path(job, "speech")
        fps = _number(job, "fps", above=0.0)
        start_s = _number(job, "start_s", default=0.0)
        has_end = job.params.get("duration_s") is not None
        duration_s = _number(job, "duration_s", above=0.0) if has_end else None
        animator = self._model(job)
        style = self._style(animator, job.params.get("style"))
        clip = animator.animate(
            speech,
            start_s=start_s,
            duration_s=duration_s,
            style=style,
            fps=fps,
            progress=job.progress,
            cancelled=job.cancelled,
        )
        save_motion(clip, output)
        for copy in job.params.get("copies") or ():
            save_motion(clip, Path(copy))
        return {
            "output": str(output),
            "frames": len(clip.weights),
            "fps": clip.fps,
            "duration_s": clip.duration_s,
            "seconds": round(time.monotonic() - started, 4),
        }

    def probe(self, job: Job) -> dict[str, Any]:
        """Whether a speech file can be animated: read to its end, in blocks."""
        from core.audio import SAMPLE_RATE_HZ, stream_speech

        samples = sum(len(block) for block in stream_speech(_path(job, "speech"), 10.0))
        return {"duration_s": samples / SAMPLE_RATE_HZ}

    def face(self, job: Job) -> dict[str, Any]:
        """Faces for Blender: the built-in head, a FLAME file's, or speech keys for such a mesh."""
        from core.face import flame_topology, head

        motion_file = _motion_file()
        kind, output = job.params.get("kind"), _path(job, "output")
        answer = {"output": str(output)}
        if kind == "head":
            job.progress("Building the head", 0, 1)
            arrays = _face_arrays(head.built_in_head())
        elif kind == "speech_keys":
            mesh = motion_file.read_arrays(_path(job, "mesh"))
            if not {"vertices", "faces"} <= set(mesh):
                raise _bad_request(job, "mesh", sorted(mesh))
            job.progress("Making speech keys", 0, 1)
            keys = flame_topology.speech_keys(mesh["vertices"], mesh["faces"])
            arrays = _key_arrays(keys)
        elif kind == "flame":
            arrays, why_not = _flame_arrays(job)
            answer["no_speech_keys"] = why_not
        else:
            raise _bad_request(job, "kind", kind)
        motion_file.write_arrays(output, arrays)
        return answer

    def unload(self) -> None:
        """Give the memory back; the next job loads again."""
        if self._animator is None:
            return
        log.info("idle: the model is unloaded")
        self._animator = self._loaded = None
        self._styles.clear()
        gc.collect()
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    def describe(self, error: BaseException) -> WorkerError:
        """What the user is told about an exception; the traceback goes to the log."""
        from core.failures import INTERNAL

        told = _describe(error)
        if told.code in INTERNAL:
            log.error("a job failed", exc_info=error)
        told.log_path = self.log_path
        return told

    # How models and styles are found.

    def _model(self, job: Job) -> Animator:
        """The animator of the wanted checkpoint: the one in memory if its file is the same."""
        from core.animator import BUNDLED_CHECKPOINT, Animator

        wanted = job.params.get("checkpoint") or ""
        path = _path(job, "checkpoint") if wanted else BUNDLED_CHECKPOINT
        try:
            stat = path.stat()
            key = (str(path), stat.st_mtime_ns, stat.st_size)
        except OSError:
            key = (str(path), 0, 0)  # the loader says it better
        if self._animator is None or self._loaded != key:
            self._animator = self._loaded = None
            self._styles.clear()  # a code means something to its own model only
            job.progress("Loading the model", 0, 1)
            self._animator = Animator(path, device=self._device)
            self._loaded = key
            job.progress("Loading the model", 1, 1)
        return self._animator

    def _style(self, animator: Animator, wanted: object) -> Any:
        if wanted is None:
            return None
        if isinstance(wanted, dict) and len(wanted) == 1:
            ((kind, value),) = wanted.items()
            if kind == "name" and isinstance(value, str):
                return value
            if kind == "reference" and isinstance(value, str):
                return self._styles[self._style_of(animator, Path(value))]
            if kind == "id" and value in self._styles:
                return self._styles[value]
            if kind == "id":
                raise WorkerError(
                    "The style is no longer in the worker's memory.",
                    hint="Press Animate again: the reference is read anew.",
                    code="unknown_style_id",
                    setting="reference",
                )
        raise WorkerError(f"This is not a style: {wanted!r}.", code="bad_request")

    def _style_of(self, animator: Animator, reference: Path) -> str:
        from core.errors import read_failed
        from core.motion_files import load_motion

        try:
            content = reference.read_bytes()
        except OSError as error:
            raise read_failed(reference, error, setting="reference") from error
        # The suffix decides how the content is read, so it is part of what the content means.
        style_id = hashlib.sha256(reference.suffix.lower().encode() + content).hexdigest()[:20]
        if style_id not in self._styles:
            self._styles[style_id] = animator.style_from_motion(load_motion(reference))
        self._styles.move_to_end(style_id)
        while len(self._styles) > _KEPT_STYLES:
            self._styles.popitem(last=False)
        return style_id


def _face_arrays(face: FaceMesh) -> dict[str, Any]:
    """A face as named arrays without objects in them."""
    arrays = {
        "name": face.name,
        "vertices": face.vertices,
        "faces": face.faces,
        "material_index": face.material_index,
        "material_names": [material.name for material in face.materials],
        "material_rgba": [material.rgba for material in face.materials],
        "material_roughness": [material.roughness for material in face.materials],
        "material_subsurface": [material.subsurface for material in face.materials],
        "inner_lip_pairs": face.inner_lip_pairs,
        **{f"group_{name}": vertices for name, vertices in face.groups.items()},
        **_key_arrays(face.keys),
    }
    return arrays if face.uvs is None else {**arrays, "uvs": face.uvs}


def _flame_arrays(job: Job) -> tuple[dict[str, Any], str]:
    """A FLAME file as a rig's arrays and speech keys; why there are none of these, or nothing."""
    from core.errors import IdiolectError
    from core.face import flame_topology
    from core.face.flame_file import load_flame
    from core.face.flame_rig import build_rig

    job.progress("Reading the FLAME file", 0, 2)
    data = load_flame(_path(job, "file"))
    shape_keys = data.shapedirs.shape[2] if job.params.get("shape_keys") else 0
    rig = build_rig(data, shape_keys=shape_keys)
    job.progress("Making speech keys", 1, 2)
    why_not = ""
    try:
        keys = flame_topology.speech_keys(rig.vertices, rig.faces)
    except IdiolectError as error:
        keys, why_not = {}, error.message
    speech = {f"speech_{name}": array for name, array in _key_arrays(keys).items()}
    return {**vars(rig), **speech}, why_not


def _key_arrays(keys: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"key_names": list(keys), "key_offsets": list(keys.values())}


def _motion_file() -> ModuleType:
    """Imported late: it needs numpy, and a Python without it is to be told so, not to crash."""
    return importlib.import_module("idiolect_worker.motion_file")


def _path(job: Job, name: str) -> Path:
    value = job.params.get(name)
    # Relative to what? The worker's current folder is nobody's choice.
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise _bad_request(job, name, value)
    return Path(value)


def _number(
    job: Job, name: str, *, default: float | None = None, above: float | None = None
) -> float:
    value = job.params.get(name, default)
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
        if number >= 0.0 and (above is None or number > above):
            return number
    raise _bad_request(job, name, value)


def _bad_request(job: Job, name: str, value: object) -> WorkerError:
    return WorkerError(
        f"The worker was asked to '{job.method}' with {name} = {value!r}.", code="bad_request"
    )


def _describe(error: BaseException) -> WorkerError:
    if isinstance(error, WorkerError):
        return error
    from core.failures import explain

    told = explain(error)
    return WorkerError(told.message, hint=told.hint, code=told.code, setting=told.setting)


def _version() -> str:
    """The add-on's version, from the one file that states it."""
    manifest = Path(__file__).absolute().parents[1] / "blender_manifest.toml"
    with open(manifest, "rb") as file:
        return str(tomllib.load(file)["version"])


def _log_folder() -> Path | None:
    """The user's cache; None where that cannot be written to."""
    from core.errors import IdiolectError
    from core.files import cache_dir

    try:
        return cache_dir() / "logs"
    except IdiolectError:
        return None


def main() -> int:
    """Serve until the input ends."""
    parser = argparse.ArgumentParser(description="The worker of the Blender add-on Idiolect.")
    parser.add_argument("--root", type=Path, required=True, help="the folder that holds core/")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--idle-unload", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    parser.add_argument("--log-dir", type=Path, default=None)
    options = parser.parse_args()
    requests, answers = startup.take_pipes()
    faulthandler.enable(sys.stderr)
    load_package("core", options.root / "core")
    log_path = startup.start_log(options.log_dir or _log_folder())
    log.info("Python %s, process %d, %s", platform.python_version(), os.getpid(), options.root)
    worker = Worker(options.root, device=options.device, threads=options.threads, log_path=log_path)
    server = serving.Server(requests, answers)
    server.run(worker.handle, worker.describe, idle_s=options.idle_unload, on_idle=worker.unload)
    logging.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
