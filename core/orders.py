"""One line that was asked for: where its speech comes from, and what is to be written of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.face.speaking import SpeakingFace
from core.finishing.finish import FinishSettings, finish_raw
from core.finishing.raw_motion import RawMotion, save_raw
from core.listening import SpeechSource
from core.motion import MotionClip
from core.motion_files import only_arkit, save_motion
from core.request_values import (
    Values,
    finishing_of,
    number_of,
    optional_number,
    path_of,
    words_of,
)
from core.words.alignment_files import save_alignment
from core.words.transcript import KnownWords, Said


@dataclass(frozen=True)
class Order:
    """What a request asks for, beside its manner and emotion.

    Attributes:
        source: The speech.
        known: What is known of its words.
        alignment: Where to write when they are said, or None.
        output: Where to write the motion.
        copies: Where else, in other formats.
        raw: Where to write the raw motion, or None.
        fps: Frames per second wanted.
        finishing: What is done to the motion, or None.
        warnings: What might not be as wished.
        face: What motion of other spaces than "arkit" looks like, and the space to turn it into;
            None leaves it as it is.
    """

    source: SpeechSource
    known: KnownWords
    alignment: Path | None
    output: Path
    copies: tuple[Path, ...]
    raw: Path | None
    fps: float
    finishing: FinishSettings | None
    warnings: list[str] = field(default_factory=list)
    face: tuple[SpeakingFace, str] | None = None

    @classmethod
    def of(cls, values: Values) -> Order:
        """From a request.

        Raises:
            IdiolectError: A value makes no sense.
        """
        speech = path_of(values, "speech")
        start_s = number_of(values, "start_s", default=0.0)
        known, alignment = words_of(values, speech)
        return cls(
            SpeechSource(speech, start_s, optional_number(values, "duration_s", above=0.0)),
            known,
            alignment,
            path_of(values, "output"),
            tuple(Path(copy) for copy in values.get("copies") or ()),
            path_of(values, "raw") if values.get("raw") is not None else None,
            number_of(values, "fps", above=0.0),
            finishing_of(values),
        )

    def deliver(self, raw: RawMotion, said: Said | None = None) -> dict[str, Any]:
        """Finish motion and write what is wanted; returns what is told about it.

        Raises:
            IdiolectError: A file cannot be written.
        """
        if said is not None and self.alignment is not None:
            save_alignment(said.alignment, self.alignment)
        if self.face is not None:
            raw = replace(raw, clip=self.face[0].turned(raw.clip, self.face[1]))
        # What is finished now must be what is finished from the file later, and the same whether
        # there is one or not.
        raw = raw.rounded()
        if self.raw is not None:
            save_raw(raw, self.raw)
        clip = finish_raw(raw, self.finishing, self.fps)
        for path in (self.output, *self.copies):
            save_motion(self._fitting(clip, path), path)
        answer = answer_of(clip, self.output)
        if self.raw is not None:
            answer["raw"] = str(self.raw)
        if said is not None:
            answer["heard"] = said.text
        return {**answer, "warnings": list(dict.fromkeys(self.warnings))}

    def _fitting(self, clip: MotionClip, path: Path) -> MotionClip:
        """The clip, as ARKit weights where the file can hold nothing else."""
        if self.face is None or not only_arkit(path):
            return clip
        return self.face[0].turned(clip, "arkit")


def answer_of(clip: MotionClip, output: Path) -> dict[str, Any]:
    """What is told about motion that was written."""
    return {
        "output": str(output),
        "frames": len(clip.weights),
        "fps": clip.fps,
        "duration_s": clip.duration_s,
    }
