"""Scores a model on real speech whose words are known: the release gate.

    python -m training.score --speech DIR [--split test] [--checkpoint C] [--fps 24 30] [--raw]

DIR holds index.csv and recordings. Forced alignment of the exact transcripts is the reference. A
table in Markdown goes to standard output (figures as JSON with --json): the phones that the
backbone hears (`training.phone_scores`), and, where the checkpoint is a whole model, the motion of
the built-in head (`training.lip_sync_score`), beside that of the procedural animator on the aligned
phones, which is what could be reached. Intervals are the 2.5th and 97.5th percentile over
resampled speakers.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from core.animator import BUNDLED_CHECKPOINT, Animator
from core.audio import load_speech, speech_gain
from core.checkpoint import load_checkpoint
from core.errors import IdiolectError
from core.finishing import FinishSettings
from core.model.speech import prosody
from core.phones import Segment
from training.backbone import load_backbone
from training.lip_sync_score import LipSyncScore
from training.phone_scores import ClosureCount, PhoneScore
from training.synthesis.alignment import Aligner, labels_from
from training.synthesis.animator import animate_phones
from training.synthesis.speech_corpus import kind_of, pronouncer, real_clips
from training.synthesis.styles import SpeakingStyle

log = logging.getLogger(__name__)

Score = TypeVar("Score", PhoneScore, LipSyncScore)

PHONE_FIGURES = (
    *("visemes", "visemes_exact", "closure_recall", "closure_precision", "loose_recall"),
    *("loose_precision", "silence_recall", "silence_precision", "jaw", "rounding", "lips"),
)
MOTION_FIGURES = (
    *("closure_recall", "closure_precision", "jaw", "moving_in_silence", "lag_ms"),
    *("vowel_gap_mm", "jerk"),
)


@dataclass
class Spoken:
    """A clip to be scored.

    Attributes:
        row: its line of index.csv.
        samples: (S,) float32 at 16 kHz.
        segments: the phones that were said.
    """

    row: dict[str, str]
    samples: np.ndarray
    segments: list[Segment]


@dataclass
class SpeakerScores:
    """What one speaker's clips scored; motion by the name of its column in the table."""

    groups: tuple[str, ...]
    phones: PhoneScore = field(default_factory=PhoneScore)
    motion: dict[str, LipSyncScore] = field(default_factory=dict)


def reference_clips(folder: Path, split: str, prompts: bool, limit: int | None) -> list[Spoken]:
    """Loads and aligns the clips of a split whose words are known.

    Args:
        folder: holds index.csv.
        split: "train", "valid" or "test".
        prompts: take clips along whose text may not be exactly what was said.
        limit: at most as many clips.

    Raises:
        IdiolectError: there are none.
    """
    kinds = ("exact", "prompt") if prompts else ("exact",)
    rows = [row for row in real_clips(folder, (split,)) if kind_of(row) in kinds][:limit]
    aligner = Aligner(pronouncer())
    clips = []
    for row in rows:
        samples = load_speech(folder / row["file"])
        segments = aligner.align(samples, row["transcript"])
        if segments:
            clips.append(Spoken(row, samples, segments))
        else:
            log.warning("%s does not fit its transcript and is left out", row["file"])
    if not clips:
        raise IdiolectError(
            f"No clip of the split '{split}' in {folder} has an exact transcript.",
            hint="Choose another split, or take read prompts too with --prompts.",
            code="empty_corpus",
            setting="--split",
        )
    return clips


def score(
    clips: Sequence[Spoken],
    checkpoint: Path,
    fps: Sequence[float] = (30.0,),
    finishing: Sequence[str] = ("finished",),
    style: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, SpeakerScores]:
    """Scores a checkpoint on aligned clips.

    Args:
        clips: see `reference_clips`.
        checkpoint: a whole model, or a backbone alone.
        fps: frame rates to animate at.
        finishing: any of "raw" and "finished".
        style: name of a style; the model's default by default.
        progress: called with (stage, done, total).

    Returns:
        Scores by speaker.
    """
    backbone = load_backbone(checkpoint)
    animator = Animator(checkpoint) if "model" in load_checkpoint(checkpoint).config else None
    results: dict[str, SpeakerScores] = {}
    for done, clip in enumerate(clips):
        if progress:
            progress("Scoring", done, len(clips))
        speaker = results.setdefault(clip.row["speaker"], SpeakerScores(_groups(clip.row)))
        level = torch.from_numpy(clip.samples * np.float32(speech_gain(clip.samples)))[None]
        with torch.inference_mode():
            logits = backbone(level).phone_logits
            voice = prosody(level)[0].numpy()
        labels = labels_from(clip.segments, len(clip.samples) // 160)
        speaker.phones.add(labels[::2], logits[0].softmax(-1).numpy())
        if animator is None:
            continue
        for rate in fps:
            reference = animate_phones(clip.segments, voice, SpeakingStyle(), fps=rate)
            ceiling = speaker.motion.setdefault(
                f"from the transcript, {rate:g} fps", LipSyncScore()
            )
            ceiling.add(reference, clip.segments, reference)
            for name in finishing:
                settings = FinishSettings() if name == "finished" else None
                motion = animator.animate(clip.samples, style=style, fps=rate, finishing=settings)
                column = f"{name}, {rate:g} fps"
                found = speaker.motion.setdefault(column, LipSyncScore())
                found.add(motion, clip.segments, reference)
    return results


def merged(kind: type[Score], scores: Iterable[Score]) -> Score:
    """One score that holds the sums of many."""
    total = kind()
    for part in scores:
        for entry in fields(kind):
            value, more = getattr(total, entry.name), getattr(part, entry.name)
            if isinstance(value, ClosureCount):
                for count in fields(ClosureCount):
                    summed = getattr(value, count.name) + getattr(more, count.name)
                    setattr(value, count.name, summed)
            else:
                setattr(total, entry.name, value + more)
    return total


def report(results: dict[str, SpeakerScores], resamples: int = 300) -> dict[str, Any]:
    """Figures of every group, with intervals for all speakers together.

    Returns:
        {group: {"phones": {figure: value}, "motion": {column: {figure: value}}}}, and under
        "intervals" the same for "all" with [low, high] in place of values.
    """
    speakers = list(results.values())
    groups = sorted({group for speaker in speakers for group in speaker.groups})
    found: dict[str, Any] = {}
    for group in ("all", *groups):
        members = [s for s in speakers if group == "all" or group in s.groups]
        found[group] = {"speakers": len(members), **_figures(members)}
    rng = np.random.default_rng(0)
    draws = [
        _figures([speakers[i] for i in rng.integers(len(speakers), size=len(speakers))])
        for _ in range(resamples)
    ]
    found["intervals"] = _intervals(draws)
    return found


def table(found: dict[str, Any]) -> str:
    """The report as Markdown."""
    groups = [name for name in found if name != "intervals"]
    lines = ["## Phones heard", "", _row(["group", "speakers", *PHONE_FIGURES])]
    lines.append(_row(["---"] * (2 + len(PHONE_FIGURES))))
    for group in groups:
        values = found[group]["phones"]
        lines.append(
            _row(
                [group, str(found[group]["speakers"]), *(f"{values[k]:.3f}" for k in PHONE_FIGURES)]
            )
        )
    lines.append(_row(["interval", "", *_spans(found["intervals"]["phones"], PHONE_FIGURES)]))
    columns = list(found["all"]["motion"])
    if columns:
        lines += ["", "## Motion of the built-in head", ""]
        lines += [_row(["motion", "group", *MOTION_FIGURES])]
        lines.append(_row(["---"] * (2 + len(MOTION_FIGURES))))
    for column in columns:
        for group in groups:
            values = found[group]["motion"][column]
            lines.append(_row([column, group, *(f"{values[k]:.3f}" for k in MOTION_FIGURES)]))
        spans = _spans(found["intervals"]["motion"][column], MOTION_FIGURES)
        lines.append(_row([column, "interval", *spans]))
    return "\n".join(lines)


def _figures(speakers: Sequence[SpeakerScores]) -> dict[str, Any]:
    columns = list(speakers[0].motion)
    return {
        "phones": merged(PhoneScore, (s.phones for s in speakers)).summary(),
        "motion": {
            column: merged(LipSyncScore, (s.motion[column] for s in speakers)).summary()
            for column in columns
        },
    }


def _intervals(draws: Sequence[Any]) -> Any:
    if isinstance(draws[0], dict):
        return {key: _intervals([draw[key] for draw in draws]) for key in draws[0]}
    return [float(value) for value in np.percentile(draws, (2.5, 97.5))]


def _spans(intervals: dict[str, list[float]], figures: Sequence[str]) -> list[str]:
    return ["{:.3f}–{:.3f}".format(*intervals[figure]) for figure in figures]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _log_progress(stage: str, done: int, total: int) -> None:
    if done % 10 == 0:
        log.info("%s: %d of %d", stage, done, total)


def _groups(row: dict[str, str]) -> tuple[str, ...]:
    gender = {"F": ("women",), "M": ("men",)}.get(row.get("gender", "").upper()[:1], ())
    return (*gender, row["corpus"])


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder with index.csv")
    parser.add_argument("--split", default="test", choices=("train", "valid", "test"))
    parser.add_argument("--prompts", action="store_true", help="take clips with read prompts too")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--style", help="name of a ready-made style")
    parser.add_argument("--fps", type=float, nargs="+", default=[30.0])
    parser.add_argument("--finished", action="store_true", help="only the finished motion")
    parser.add_argument("--raw", action="store_true", help="only the motion before finishing")
    parser.add_argument("--limit", type=int, help="at most as many clips")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    wanted = [name for name in ("raw", "finished") if getattr(options, name)]
    try:
        clips = reference_clips(options.speech, options.split, options.prompts, options.limit)
        results = score(
            clips,
            options.checkpoint,
            options.fps,
            wanted or ["raw", "finished"],
            options.style,
            _log_progress,
        )
        found = report(results)
        print(table(found))
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(found, indent=1))
    except IdiolectError as error:
        print(f"error: {error.message}\n hint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
