"""What batch.py does once it has found the add-on: many lines of speech, one worker.

While Blender keys and writes one line, the worker is already busy with the next ones.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .. import preferences
from ..animation import applying, speaking
from ..environment import models
from ..worker import protocol
from ..worker.client import WorkerClient, close_client, get_client
from ..worker.life import Call
from ..worker.motion_file import read_motion
from ..worker.protocol import WorkerError
from . import options as command_line
from . import outputs
from . import scene as scenes
from .console import Progress, complain, say, span, table
from .lines import Line, bad
from .results import Fingerprints, Record, Results, files_in

ALL_WELL, UNEXPECTED, BAD_INPUT, BAD_SETUP, SOME_FAILED = 0, 1, 2, 3, 4

_TOGETHER = 8
"""Lines that the worker is asked for at once, so that it can work on those of like length side by
side. It has two such lots, so that it need not wait for Blender.
"""
_WORKER_DIED = ("worker_died", "worker_hangs")


@dataclass
class _Item:
    """A line on its way through the batch."""

    line: Line
    label: str
    fingerprint: str
    folder: Path
    call: Call | None = None
    place: int | None = None
    error: WorkerError | None = None
    params: dict[str, Any] = field(default_factory=dict)


def main(argv: list[str]) -> int:
    """Do what the command line says. Returns the exit code; each error is one line."""
    try:
        options = command_line.parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or shown the help
        return int(end.code or 0)
    try:
        return _run(options)
    except WorkerError as error:
        complain(error)
        return _exit_code(error)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr, flush=True)
        return 130
    except Exception as error:
        with tempfile.NamedTemporaryFile(
            "w", prefix="idiolect-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            traceback.print_exc(file=log)
        print(f"error: unexpected {error!r} (details: {log.name})", file=sys.stderr, flush=True)
        return UNEXPECTED
    finally:
        outputs.release()
        close_client()


def _run(options: argparse.Namespace) -> int:
    """All lines of one command.

    Raises:
        WorkerError: for input that is bad for all of them.
    """
    lines = command_line.lines(options)
    out = _output_folder(options.out)
    settings = preferences.of(bpy.context).with_changes(
        checkpoint=options.checkpoint or "",
        flame_file=options.checkpoint_flame or "",
        device=options.device or "",
    )
    try:
        client = get_client(settings.worker())
        client.start().wait()
    except WorkerError as error:
        complain(error)
        return BAD_SETUP
    styles = client.request("load", {"checkpoint": settings.checkpoint_path()}).wait()["styles"]
    with contextlib.ExitStack() as stack:
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="idiolect-")))
        staged = stack.enter_context(outputs.staging(out))
        batch = _Batch(options, settings, client, styles, out, staged, own)
        return batch.check(lines) if options.dry_run else batch.run(lines)


def _output_folder(path: Path) -> Path:
    """A folder that can be written to."""
    out = path.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise bad(
            f"{out} cannot be written to: {error.strerror or error}.", "Choose another --out."
        ) from error
    return out


def _exit_code(error: WorkerError) -> int:
    """What a single failure amounts to: an error that names a setting lies in the input."""
    if error.setting == "worker_python":
        return BAD_SETUP
    return BAD_INPUT if error.setting or error.code == "bad_input" else SOME_FAILED


class _Batch:
    """One run over many lines."""

    def __init__(
        self,
        options: argparse.Namespace,
        settings: preferences.Settings,
        client: WorkerClient,
        styles: list[str],
        out: Path,
        staged: Path,
        own: Path,
    ) -> None:
        self._options = options
        self._keeps = command_line.keeps_results(options)
        self._settings = settings
        self._client = client
        self._styles = styles
        self._out = out
        self._staged = staged
        self._own = own
        self._scenes = scenes.Scenes(settings, own)
        self._failures: list[tuple[str, WorkerError]] = []
        self._rows = [("line", "result", "speech", "time", "files")]
        self._spoken_s = 0.0
        self._last = time.monotonic()

    def check(self, lines: list[Line]) -> int:
        """Look at every input, and animate nothing."""
        for number, line in enumerate(lines, 1):
            label = f"[{number}/{len(lines)}] {line.output}"
            try:
                probe = self._client.request("probe", {"speech": str(line.speech)})
                params = self._request(line, label, self._own)
                seconds = probe.wait()["duration_s"]
            except WorkerError as error:
                self._fail(label, error)
            else:
                say(f"{label}: {seconds:.1f} s of speech at {params['fps']:g} fps")
        if not self._failures:
            say(f"{len(lines)} lines are ready")
            return ALL_WELL
        print(f"{len(self._failures)} of {len(lines)} are bad", file=sys.stderr, flush=True)
        return BAD_INPUT

    def run(self, lines: list[Line]) -> int:
        """Animate all that is not done yet."""
        began = time.monotonic()
        keep = command_line.fingerprinted(self._options)
        checkpoint = Path(self._settings.checkpoint_path() or models.bundled_checkpoint())
        fingerprints = Fingerprints(keep, checkpoint)
        results = Results(self._out, self._options.shard or "")
        todo: deque[_Item] = deque()
        kept: list[Record] = []
        for number, line in enumerate(lines, 1):
            fingerprint = fingerprints.of(line)
            record = None if self._options.force else results.done(line, fingerprint)
            if record:
                kept.append(record)
            else:
                label = f"[{number}/{len(lines)}] {line.output}"
                todo.append(_Item(line, label, fingerprint, self._own / str(number)))
        if kept:
            say(f"{len(kept)} of {len(lines)} are done and unchanged: skipped")
        if self._keeps:
            self._write_results(lambda: results.begin(kept))
        total, waiting = len(todo), deque[_Item]()
        while todo or waiting:
            while todo and len(waiting) <= _TOGETHER:
                lot = [todo.popleft() for _ in range(min(_TOGETHER, len(todo)))]
                self._ask(lot)
                waiting += lot
            item = waiting.popleft()
            record = self._finish(item, results)
            finished = total - len(todo) - len(waiting)
            if record and total > 1:
                left = (time.monotonic() - began) / finished * (total - finished)
                rest = f", {span(left)} left" if finished < total else ""
                say(f"{item.label}: done in {record['seconds']:.1f} s{rest}")
            elif record:
                say(f"{item.label}: done in {record['seconds']:.1f} s")
        return self._sum_up(len(lines), len(kept), time.monotonic() - began)

    def _ask(self, lot: list[_Item]) -> None:
        """Plan some lines and give them to the worker; what is wrong with one is told when its
        turn comes.
        """
        for item in lot:
            try:
                item.folder.mkdir(parents=True, exist_ok=True)
                item.params = self._request(item.line, item.label, item.folder)
            except WorkerError as error:
                item.error = error
            except (OSError, RuntimeError) as error:
                item.error = outputs.not_written(error, item.folder)
        good = [item for item in lot if item.error is None]
        if len(good) == 1:  # its progress is then its own
            good[0].call = self._client.request("animate", good[0].params)
        elif good:
            call = self._client.request("animate_many", {"jobs": [item.params for item in good]})
            for place, item in enumerate(good):
                item.call, item.place = call, place

    def _request(self, line: Line, label: str, folder: Path) -> dict[str, Any]:
        """What the worker is asked for, once all is known to be there.

        Raises:
            WorkerError: something is not.
        """
        if not line.speech.is_file():
            raise bad(f"There is no file {line.speech}.", "Check the path.")
        for style in filter(None, (line.style, line.style_b)):
            if style not in self._styles and style not in models.saved_styles():
                known = ", ".join(self._styles) or "it has none"
                raise bad(f"The model has no style “{style}”.", f"Choose one of: {known}.")
        if reason := outputs.why_not(line.formats):
            raise bad(f"{reason}.", "Choose other --formats.")
        scene, actor = self._scenes.open(line, Progress(label), pristine=True)
        task = scenes.task_of(line, scene, actor)
        params = speaking.request(task, self._settings, folder, folder / "motion.npz")
        motions = [
            str(folder / f"motion.{name}") for name in line.formats if name in ("csv", "json")
        ]
        if motions:
            params["copies"] = motions
        return params

    def _finish(self, item: _Item, results: Results) -> Record | None:
        """Wait for a line's motion, key it, write its files; a failure is told and noted."""
        base = {"output": item.line.output, "speech": str(item.line.speech)}
        try:
            progress = Progress(item.label)
            answer = self._await(item, progress)
            record, details = self._write(item, answer, progress)
        except WorkerError as error:
            self._fail(item.label, error)
            told = {"message": error.message, "hint": error.hint, "code": error.code}
            failed = {"status": "failed", "fingerprint": item.fingerprint, "files": {}}
            self._write_results(lambda: results.add({**base, **failed, "error": told}))
            return None
        for detail in details:
            say(f"{item.label}: {detail}")
        record = {**base, **record}
        self._write_results(lambda: results.add(record))
        return record

    def _await(self, item: _Item, progress: Progress) -> dict[str, Any]:
        def told(now: protocol.Progress) -> None:
            progress(f"{now.stage} {100 * now.done // max(1, now.total)} %")

        if item.call is None:
            raise item.error or WorkerError("The line was never asked for.")
        try:
            answer = item.call.wait(on_progress=told)
            if item.place is None:
                return answer
            result = answer["results"][item.place]
            if not result["ok"]:
                raise WorkerError.from_dict(result["error"])
            return dict(result)
        except WorkerError as error:
            if error.code not in _WORKER_DIED:
                raise
            # It may have died of another line: this one is asked for again.
            say(f"{item.label}: {error.message} Once more.")
        return self._client.request("animate", item.params).wait(on_progress=told)

    def _write(
        self, item: _Item, answer: dict[str, Any], progress: Progress
    ) -> tuple[Record, list[str]]:
        line = item.line
        try:
            scene, actor = self._scenes.open(line, progress)
            task = scenes.task_of(line, scene, actor)
            motion = read_motion(item.params["output"])
            raw = Path(item.params["raw"]).read_bytes()
            details = [*applying.apply(task, motion, raw), *answer.get("warnings", ())]
            first, last = line.start, line.start + len(motion.weights) - 1
            if not line.blend:
                scene.frame_start, scene.frame_end = first, last
            scenes.prepare_picture(scene, actor, line, self._options)
            stem = self._out / line.output
            motions = {name: item.folder / f"motion.{name}" for name in ("npz", "csv", "json")}
            files = outputs.write(
                line.formats, scene, actor, stem, self._staged, motions, (first, last)
            )
            if line.render or line.stills:
                scene.frame_start, scene.frame_end = first, last
                files += outputs.render(
                    scene, line.render, line.stills, stem, self._staged, progress
                )
        except (OSError, RuntimeError) as error:  # the disk, and what Blender itself reports
            raise outputs.not_written(error, self._out) from error
        finally:
            shutil.rmtree(item.folder, ignore_errors=True)
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._spoken_s += motion.duration_s
        self._rows.append(
            (line.output, "done", f"{motion.duration_s:.1f} s", f"{seconds:.1f} s", str(len(files)))
        )
        return {
            "status": "done",
            "fingerprint": item.fingerprint,
            "files": files_in(self._out, files),
            "frames": len(motion.weights),
            "fps": round(motion.fps, 6),
            "speech_s": round(motion.duration_s, 3),
            "seconds": round(seconds, 2),
        }, details

    def _fail(self, label: str, error: WorkerError) -> None:
        complain(error, label)
        self._failures.append((label, error))
        self._rows.append((label.partition(" ")[2], "failed", "", "", ""))

    def _write_results(self, write: Callable[[], None]) -> None:
        """Write to the results file. A disk that is full has been told of already, or will be."""
        if not self._keeps:
            return
        try:
            write()
        except OSError as error:
            complain(outputs.not_written(error, self._out), "results")

    def _sum_up(self, total: int, skipped: int, seconds: float) -> int:
        failed = len(self._failures)
        if total > 1:
            if len(self._rows) > 1:
                say(table(self._rows))
            speed = f", {self._spoken_s / seconds:.1f} times real time" if self._spoken_s else ""
            say(
                f"{total - skipped - failed} done, {skipped} skipped, {failed} failed: "
                f"{span(self._spoken_s)} of speech in {span(seconds)}{speed}"
            )
        if not failed:
            return ALL_WELL
        if total == 1:
            return _exit_code(self._failures[0][1])
        print(f"{failed} of {total} failed", file=sys.stderr, flush=True)
        return SOME_FAILED
