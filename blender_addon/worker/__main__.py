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
import tomllib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from core.animator import Animator
    from core.face.mesh import FaceMesh
    from core.requests import Speaker

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

DEVICES = ("auto", "cpu", "cuda", "cuda+half", "mps")


class Worker:
    """What a worker can do: one method per request, named after it."""

    def __init__(self, root: Path, *, device: str, threads: int, log_path: str) -> None:
        self.log_path = log_path
        self._root = root
        self._device = device
        self._threads = threads
        self._speaker: Speaker | None = None
        self._loaded: tuple[str, int, int] | None = None

    def handle(self, job: Job) -> dict[str, Any]:
        """Do a job. What it raises is described by ``describe``."""
        methods = {
            "hello": self.hello,
            "status": self.status,
            "load": self.load,
            "encode_style": self.encode_style,
            "styles": self.styles,
            "save_style": self.save_style,
            "animate": self.animate,
            "probe": self.probe,
            "animate_many": self.animate_many,
            "finish": self.finish,
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
        return {
            "loaded": self._loaded[0] if self._loaded else "",
            "styles": self._speaker.kept_styles if self._speaker else 0,
        }

    def load(self, job: Job) -> dict[str, Any]:
        """Load a checkpoint, or say what is in the loaded one."""
        animator = self._model(job)
        return {
            "name": animator.name,
            "space": animator.space,
            "parameters": animator.parameters,
            "fps": animator.fps,
            "styles": list(animator.styles),
            "emotions": list(animator.trained_emotions),
            "fingerprint": animator.fingerprint,
        }

    def styles(self, job: Job) -> dict[str, Any]:
        """The ready-made styles of a checkpoint."""
        return {"styles": list(self._model(job).styles)}

    def encode_style(self, job: Job) -> dict[str, Any]:
        """The style of a reference motion, kept under an id made from its content."""
        warnings: list[str] = []
        style_id = self._speaking(job).remember(job.params, warnings.append)
        return {"style_id": style_id, "warnings": warnings}

    def save_style(self, job: Job) -> dict[str, Any]:
        """A style as a file of its own."""
        return self._speaking(job).save_style(job.params)

    def animate(self, job: Job) -> dict[str, Any]:
        """Speech to motion, written to ``output``, and to ``copies`` in other formats."""
        return self._speaking(job).animate(job.params, job.progress, job.cancelled)

    def animate_many(self, job: Job) -> dict[str, Any]:
        """Many speeches; one that fails does not keep the others from being animated."""
        jobs = job.params.get("jobs")
        if not isinstance(jobs, list) or not all(isinstance(one, dict) for one in jobs):
            raise _bad_request(job, "jobs", jobs)
        results: dict[int, dict[str, Any]] = {}

        def report(stage: str, done: int, total: int) -> None:
            del total
            job.progress(stage, len(results) + done, len(jobs))

        usual = job.params.get("checkpoint") or ""
        wanted = [one.get("checkpoint") or usual for one in jobs]
        for checkpoint in dict.fromkeys(wanted):
            places = [i for i, other in enumerate(wanted) if other == checkpoint]
            speaker = self._speaking(job, checkpoint)
            outcomes = speaker.animate_many([jobs[i] for i in places], report, job.cancelled)
            results |= {i: self._result(one) for i, one in zip(places, outcomes, strict=True)}
        return {"results": [results[i] for i in range(len(jobs))]}

    def finish(self, job: Job) -> dict[str, Any]:
        """Raw motion finished anew; no model is loaded for it."""
        from core.requests import finish

        return finish(job.params)

    def _result(self, outcome: dict[str, Any] | BaseException) -> dict[str, Any]:
        if not isinstance(outcome, BaseException):
            return {"ok": True, **outcome}
        return {"ok": False, "error": self.describe(outcome).to_dict()}

    def probe(self, job: Job) -> dict[str, Any]:
        """Whether a speech file can be animated: read to its end, in blocks."""
        from core.audio import SAMPLE_RATE_HZ, stream_speech

        samples = sum(len(block) for block in stream_speech(_path(job, "speech"), 10.0))
        return {"duration_s": samples / SAMPLE_RATE_HZ}

    def face(self, job: Job) -> dict[str, Any]:
        """Faces for Blender: the built-in head, a FLAME file's, or speech keys for such a mesh."""
        from core.face import flame_topology, head, marking

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
            if "marks" in mesh:
                marks = dict(zip(mesh["mark_names"].tolist(), mesh["marks"].tolist(), strict=True))
                keys = marking.marked_keys(mesh["vertices"], mesh["faces"], marks)
            else:
                keys = flame_topology.speech_keys(mesh["vertices"], mesh["faces"])
            arrays = _key_arrays(keys)
        elif kind == "flame":
            arrays, why_not = _flame_arrays(job)
            answer["no_speech_keys"] = why_not
        elif kind == "rig_matrix":
            arrays = _rig_matrix(job)
        else:
            raise _bad_request(job, "kind", kind)
        motion_file.write_arrays(output, arrays)
        return answer

    def unload(self) -> None:
        """Give the memory back; the next job loads again."""
        if self._speaker is None:
            return
        log.info("idle: the model is unloaded")
        self._speaker = self._loaded = None
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

    def _model(self, job: Job) -> Animator:
        return self._speaking(job).animator

    def _speaking(self, job: Job, checkpoint: object = None) -> Speaker:
        """The model of a checkpoint, by default the job's: the one in memory if its file is the
        same.
        """
        from core.animator import BUNDLED_CHECKPOINT, Animator
        from core.requests import Speaker

        wanted = checkpoint or job.params.get("checkpoint") or ""
        path = _path(job, "checkpoint", wanted) if wanted else BUNDLED_CHECKPOINT
        try:
            stat = path.stat()
            key = (str(path), stat.st_mtime_ns, stat.st_size)
        except OSError:
            key = (str(path), 0, 0)  # the loader says it better
        if self._speaker is None or self._loaded != key:
            self._speaker = self._loaded = None
            job.progress("Loading the model", 0, 1)
            self._speaker = Speaker(Animator(path, device=self._device))
            self._loaded = key
            job.progress("Loading the model", 1, 1)
        return self._speaker


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


def _rig_matrix(job: Job) -> dict[str, Any]:
    """The matrix between ARKit weights and a FLAME rig; the same rig is fitted once."""
    from core.face import flame_drive
    from core.files import cache_dir

    motion_file = _motion_file()
    path, residual = _path(job, "mesh"), bool(job.params.get("residual"))
    # Other code fits in another way: no matrix of an older version is read.
    code = [file.read_bytes() for file in sorted(Path(flame_drive.__file__).parent.glob("*.py"))]
    content = hashlib.sha256(b"".join([path.read_bytes(), bytes([residual]), *code])).hexdigest()
    kept = cache_dir() / f"rig-{content[:20]}.npz"
    if not kept.exists():
        mesh = motion_file.read_arrays(path)
        names = ("jaw_head", "jaw_weights", "jaw_correctives")
        if not {"vertices", "faces", "expressions"} <= set(mesh):
            raise _bad_request(job, "mesh", sorted(mesh))
        job.progress("Fitting the rig", 0, 1)
        main = (mesh["vertices"], mesh["faces"], mesh["expressions"])
        rig = flame_drive.RigMesh(*main, *map(mesh.get, names))
        found, extra = flame_drive.fit_rig(rig, residual=residual)
        motion_file.write_arrays(kept, {**vars(found), **extra})
    return dict(motion_file.read_arrays(kept))


def _key_arrays(keys: dict[str, np.ndarray]) -> dict[str, Any]:
    return {"key_names": list(keys), "key_offsets": list(keys.values())}


def _motion_file() -> ModuleType:
    """Imported late: it needs numpy, and a Python without it is to be told so, not to crash."""
    return importlib.import_module("idiolect_worker.motion_file")


def _path(job: Job, name: str, given: object = None) -> Path:
    value = given or job.params.get(name)
    # Relative to what? The worker's current folder is nobody's choice.
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise _bad_request(job, name, value)
    return Path(value)


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
    parser.add_argument("--device", default="auto", choices=DEVICES)
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
