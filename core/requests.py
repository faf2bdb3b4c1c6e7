"""Requests as plain JSON values: what the worker and other programs ask of a model.

A style is {"name": …}, {"file": …}, {"id": …}, {"reference": …, "start_s": …, "end_s": …}, or null;
or two of them mixed: {"a": …, "b": …, "mix": TRACK, "strength": TRACK}. A TRACK is a number, or
{"times_s": […], "values": […]}. An emotion is {"times_s": […], "intensities": [[8 numbers] …]},
{"reference": …} or null. What is said: "transcript" (a text; if it is missing, that of the .txt
beside the speech file), "alignment" and "save_alignment" (files), "accurate" and "recogniser".
Of a model whose motion is not ARKit weights: "face", what its motion looks like, {"flame": file} or
{"rig": file}, and "into" which space it is to be turned ("arkit", or a FLAME rig's "flame").
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from core.animator import Animator, Progress, Style, Warn, nobody
from core.batching import Line, perform_many
from core.conditioning import EmotionTrack
from core.errors import Cancelled, IdiolectError, read_failed
from core.face.speaking import SpeakingFaces
from core.finishing.finish import finish_raw
from core.finishing.raw_motion import load_raw
from core.motion import MotionClip
from core.motion_files import load_motion, only_arkit, save_motion
from core.orders import Order, answer_of
from core.references import cut
from core.request_values import (
    Values,
    bad_request,
    emotions_of,
    finishing_of,
    number_of,
    optional_number,
    path_of,
    track_of,
)
from core.style_file import load_style, save_style
from core.words.transcript import Said

_KEPT_STYLES = 64
_KEPT_WORDS = 8
_UNWRITTEN = 32
"""Lines whose motion may wait to be written."""


class Speaker:
    """A model that takes requests, and remembers the styles it was shown."""

    def __init__(self, animator: Animator) -> None:
        self.animator = animator
        self._faces = SpeakingFaces()
        self._codes: OrderedDict[str, np.ndarray] = OrderedDict()
        self._warnings: dict[str, list[str]] = {}
        self._said: OrderedDict[Hashable, tuple[Said | None, list[str]]] = OrderedDict()

    @property
    def kept_styles(self) -> int:
        """How many styles of references it remembers."""
        return len(self._codes)

    def animate(self, values: Values, report: Progress, stop: Callable[[], bool]) -> dict[str, Any]:
        """Speech to motion, written to `output` and to `copies` in other formats, and raw to `raw`
        where that is asked for.
        """
        started = time.monotonic()
        answer = self._animate(self._order(values), values, report, stop)
        return {**answer, "seconds": _since(started)}

    def _animate(
        self, order: Order, values: Values, report: Progress, stop: Callable[[], bool]
    ) -> dict[str, Any]:
        line = self._line(order, values)
        said = self._words(order, report, stop)
        raw = self.animator.perform(
            line.source,
            style=line.style,
            emotion=line.emotion,
            words=said,
            progress=report,
            cancelled=stop,
            warn=line.warn,
        )
        return order.deliver(raw, said)

    def animate_many(
        self, requests: Sequence[Values], report: Progress, stop: Callable[[], bool]
    ) -> list[dict[str, Any] | Exception]:
        """What `animate` answers to each request, or the exception that it ended with.

        Lines of like length go together (see `core.batching`), but for those whose words are to be
        found; their sound is read, and their motion finished and written, by threads meanwhile.

        Raises:
            Cancelled: `stop` said so.
        """
        outcomes: dict[int, dict[str, Any] | Exception] = {}
        started = time.monotonic()

        def note(index: int, outcome: dict[str, Any] | Exception) -> None:
            if isinstance(outcome, dict):  # a line's own time cannot be told from the others'
                outcome = {**outcome, "seconds": round(_since(started) / (len(outcomes) + 1), 4)}
            outcomes[index] = outcome
            report("Animating", len(outcomes), len(requests))

        report("Animating", 0, len(requests))
        together: dict[int, tuple[Order, Line]] = {}
        for index, values in enumerate(requests):
            try:
                order = self._order(values)
                if order.known.anything:
                    note(index, self._animate(order, values, nobody, stop))
                else:
                    together[index] = order, self._line(order, values)
            except Cancelled:
                raise
            except Exception as error:  # one line of many: the others go on
                note(index, error)
        places = list(together)
        lines = [line for _, line in together.values()]
        with ThreadPoolExecutor(1, "idiolect-write") as pool:
            written: deque[tuple[int, Future[dict[str, Any]]]] = deque()
            for place, raw in perform_many(self.animator, lines, stop):
                index = places[place]
                if isinstance(raw, Exception):
                    note(index, raw)
                else:
                    written.append((index, pool.submit(together[index][0].deliver, raw)))
                while written and (written[0][1].done() or len(written) > _UNWRITTEN):
                    note(*_outcome(*written.popleft()))
            while written:
                note(*_outcome(*written.popleft()))
        return [outcomes[index] for index in range(len(requests))]

    def _order(self, values: Values) -> Order:
        """What a request asks for; what cannot be shown or written is told before any work."""
        order, animator = Order.of(values), self.animator
        if animator.space == "arkit":
            return order
        given = values.get("face")
        if given is None:
            wanted = next(filter(only_arkit, (order.output, *order.copies)), None)
            if wanted is None:
                return order
            raise IdiolectError(
                f"{wanted.name} holds ARKit weights, and the motion of the model "
                f"'{animator.name}' is of the space '{animator.space}'.",
                hint="Give the FLAME file it was trained with (--flame), or write an .npz.",
                code="flame_missing",
                setting="flame_file",
            )
        if not isinstance(given, Mapping):
            raise bad_request("face", given)
        face, into = self._faces.find(given)
        face.check(animator.space, animator.channels)
        told = f"The model's motion is of the space '{animator.space}': "
        if into == "arkit":
            order.warnings.append(f"{told}it was turned into ARKit weights by a fit.")
        else:
            order.warnings.append(f"{told}of the finishing only the offset in time was done.")
        return replace(order, face=(face, into))

    def _line(self, order: Order, values: Values) -> Line:
        warn = order.warnings.append
        style = self.style(values.get("style"), warn)
        return Line(order.source, style, self.emotion(values.get("emotion"), warn), warn)

    def _words(self, order: Order, report: Progress, stop: Callable[[], bool]) -> Said | None:
        """What is said when; remembered, so that a slider does not wait for it each time."""
        known = order.known
        if not known.anything:
            return None
        changed = known.alignment.stat().st_mtime_ns if _exists(known.alignment) else 0
        key = (order.source.fingerprint(), known, changed)
        if key not in self._said:
            told: list[str] = []
            said = self.animator.find_words(
                order.source, known, progress=report, cancelled=stop, warn=told.append
            )
            self._said[key] = said, told
        self._said.move_to_end(key)
        while len(self._said) > _KEPT_WORDS:
            self._said.popitem(last=False)
        said, told = self._said[key]
        order.warnings.extend(told)
        return said

    def save_style(self, values: Values) -> dict[str, Any]:
        """Write a style, or a mix of constant mix and strength, to a file."""
        output, name = path_of(values, "output"), values.get("name")
        if not isinstance(name, str) or not name.strip():
            raise bad_request("name", name)
        warnings: list[str] = []
        style = self.style(values.get("style"), warnings.append)
        codes = self.animator.conditions(style).style.at(np.zeros(2))
        save_style(output, name, codes[0], self.animator.name, self.animator.fingerprint)
        return {"output": str(output), "warnings": warnings}

    def style(self, value: object, warn: Warn = nobody) -> Style:
        """A style from any of its forms.

        Raises:
            IdiolectError: It makes no sense, is unknown, or its reference cannot be used.
        """
        if isinstance(value, Mapping) and "a" in value and set(value) <= _MIXED:
            return self.animator.style_control(
                self._code(value["a"], warn),
                self._code(value.get("b", value["a"]), warn),
                track_of(value, "mix", 0.0),
                track_of(value, "strength", 1.0),
            )
        return self._code(value, warn)

    def emotion(self, value: object, warn: Warn = nobody) -> EmotionTrack | None:
        """An emotion from any of its forms.

        Raises:
            IdiolectError: It makes no sense, or its reference cannot be used.
        """
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise bad_request("emotion", value)
        if "reference" in value:
            return self.animator.emotion_from_motion(_reference(value), warn)
        return emotions_of(value)

    def remember(self, value: Values, warn: Warn = nobody) -> str:
        """Take the style of a reference, and keep it under an id made from its content."""
        reference = path_of(value, "reference")
        try:
            content = reference.read_bytes()
        except OSError as error:
            raise read_failed(reference, error, setting="reference") from error
        # The suffix decides how the content is read, so it is part of what the content means.
        about = f"{reference.suffix.lower()} {value.get('start_s')} {value.get('end_s')}"
        style_id = hashlib.sha256(about.encode() + content).hexdigest()[:20]
        if style_id not in self._codes:
            told = self._warnings[style_id] = []
            self._codes[style_id] = self.animator.style_from_motion(_reference(value), told.append)
        for warning in self._warnings[style_id]:
            warn(warning)
        self._codes.move_to_end(style_id)
        while len(self._codes) > _KEPT_STYLES:
            oldest, _ = self._codes.popitem(last=False)
            del self._warnings[oldest]
        return style_id

    def _code(self, value: object, warn: Warn) -> np.ndarray:
        if value is None:
            return self.animator.style_code(None)
        if isinstance(value, Mapping) and set(value) <= {"reference", "start_s", "end_s"}:
            return self._codes[self.remember(value, warn)]
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, given),) = value.items()
            if kind == "name" and isinstance(given, str):
                return self.animator.style_code(given)
            if kind == "file":
                style = load_style(path_of(value, "file"), self.animator.fingerprint)
                return self.animator.style_code(style.code)
            if kind == "id" and given in self._codes:
                return self._codes[given]
            if kind == "id":
                raise IdiolectError(
                    "The style is no longer in the worker's memory.",
                    hint="Press Animate again: the reference is read anew.",
                    code="unknown_style_id",
                    setting="reference",
                )
        raise bad_request("style", value)


_MIXED = {"a", "b", "mix", "strength"}


def finish(values: Values) -> dict[str, Any]:
    """Finish raw motion that `Speaker.animate` wrote; needs no model."""
    started = time.monotonic()
    source, output = path_of(values, "raw"), path_of(values, "output")
    clip = finish_raw(load_raw(source), finishing_of(values), number_of(values, "fps", above=0.0))
    save_motion(clip, output)
    return {
        **answer_of(clip, output),
        "raw": str(source),
        "warnings": [],
        "seconds": _since(started),
    }


def _exists(path: Path | None) -> TypeGuard[Path]:
    return path is not None and path.exists()


def _since(started: float) -> float:
    return round(time.monotonic() - started, 4)


def _outcome(index: int, future: Future[dict[str, Any]]) -> tuple[int, dict[str, Any] | Exception]:
    try:
        return index, future.result()
    except Exception as error:  # one line of many: the others go on
        return index, error


def _reference(value: Values) -> MotionClip:
    """The clip of {"reference": …, "start_s": …, "end_s": …}."""
    start_s = number_of(value, "start_s", default=0.0)
    end_s = optional_number(value, "end_s", above=start_s)
    return cut(load_motion(path_of(value, "reference")), start_s, end_s)
