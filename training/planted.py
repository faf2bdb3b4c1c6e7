"""What wrong durations do to synchrony (PSE's own open check): errors planted step by step.

    python -m training.planted --checkpoint MODEL --corpus DIR --split test-b [--out FOLDER]

A model that expands phones by their durations is given the true ones with errors of known size:

- stretched: all phones longer or shorter by the same share, so that the lips drift off the sound;
- jittered: each phone by another share, the end kept, so that they are early here and late there;
- predicted: what the model's own duration predictor says, the end kept.

The true motion, warped by the same errors, stands beside it: what it loses is what the measures
themselves see of an error, apart from the model.

Shapes: T motion frames, P phones, C channels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.animator import Animator
from core.errors import IdiolectError
from core.files import atomic_path
from core.model.duration import PhoneRuns, expanded_index, phone_runs, round_durations
from core.model.model import HeardContent
from core.phones import PHONES
from training import plots
from training.command import command
from training.corpus import Corpus
from training.durations import heard_tracks
from training.evaluate import emotion_for, references_of, style_for, without_nan
from training.judges import Judges, load_judges
from training.motion_score import MEASURES, MotionScore
from training.report import table
from training.surfaces import Surface, surface_for

STRETCHED = (-0.4, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.4)
JITTERED = (0.1, 0.2, 0.4, 0.8)
SHOWN = ("sync_confidence", "sync_ms", "closure_recall", "closure_precision", "lve_mm")


@dataclass(frozen=True)
class Planted:
    """What came of one kind and size of error.

    Attributes:
        kind: "stretched", "jittered" or "predicted".
        error: Its size, as a share of a phone's duration; 0 for "predicted".
        apart_ms: How far the ends of phones are from where they should be, the mean.
        model: Measures of the model's motion.
        truth: Of the true motion, warped alike.
    """

    kind: str
    error: float
    apart_ms: float
    model: dict[str, float]
    truth: dict[str, float]

    @property
    def name(self) -> str:
        """For tables."""
        if self.kind == "predicted":
            return self.kind
        if self.error == 0.0:
            return "as measured"
        sign = "±" if self.kind == "jittered" else "+" if self.error > 0.0 else "−"
        return f"{self.kind} {sign}{abs(self.error):.0%}"


@torch.inference_mode()
def planted_durations(
    animator: Animator, corpus: Corpus, clips: Sequence[int], surface: Surface, judges: Judges
) -> list[Planted]:
    """Measure a model under every kind and size of error.

    Args:
        animator: The model, called as in `training.evaluate`, people of the training by name.
        corpus: The corpus, at the model's frame rate.
        clips: Which clips; those whose phones are not all known are left out.
        surface: The face to measure on.
        judges: For synchrony.

    Returns:
        Nothing where the model does not expand by durations, or no clip can be asked for.
    """
    if not animator.config.duration.expansion or corpus.fps != animator.fps:
        return []
    clips = [i for i in clips if (corpus.clip_phones(i) < len(PHONES)).all()]
    if not clips:
        return []
    kinds = [("stretched", error) for error in STRETCHED]
    kinds += [("jittered", error) for error in JITTERED]
    if animator.config.duration.predictor:
        kinds.append(("predicted", 0.0))
    references = references_of(corpus, clips, same_emotion=True)
    scores = [[MotionScore(surface, corpus.fps) for _ in range(2)] for _ in kinds]
    apart: list[list[float]] = [[] for _ in kinds]
    for index in clips:
        truth, samples = corpus.clip_motion(index), corpus.clip_samples(index)
        said = corpus.clip_phones(index)
        performed = _Performance(animator, corpus, index, references[index])
        for place, (kind, error) in enumerate(kinds):
            laid = performed.planted(kind, error, np.random.default_rng(index))
            apart[place] += (1000.0 / corpus.fps * _shifts(performed.runs, laid)).tolist()
            motions = (performed.motion(laid), warped(truth, performed.runs, laid))
            for score, motion in zip(scores[place], motions, strict=True):
                score.add(truth, motion, said, samples)
                score.add_judged(judges.judge(truth, motion, samples), len(truth))
    return [
        Planted(kind, error, float(np.mean(ends)), *(_shown(score) for score in both))
        for (kind, error), ends, both in zip(kinds, apart, scores, strict=True)
    ]


class _Performance:
    """One clip, ready to be decoded under any durations."""

    def __init__(
        self, animator: Animator, corpus: Corpus, index: int, reference: int | None
    ) -> None:
        self.animator, self.model = animator, animator.engine.model
        device = animator.device
        labels = torch.from_numpy(corpus.clip_phones(index).astype(np.int64))[None].to(device)
        self.labels = labels
        self.mask = torch.ones(labels.shape, dtype=torch.bool, device=device)
        self.runs = phone_runs(labels, self.mask)
        self.tracks, self.lengths = heard_tracks(animator, corpus.clip_samples(index))
        manner = style_for(animator, corpus, index, reference, by_name=True)
        conditions = animator.conditions(manner, emotion_for(animator, corpus, index))
        times = np.arange(labels.shape[1]) / corpus.fps
        self.condition = self.model.condition(1, *conditions.tensors(times, device))

    def planted(self, kind: str, error: float, rng: np.random.Generator) -> PhoneRuns:
        """The clip's phones with an error of durations."""
        true, frames = self.runs.durations, self.labels.shape[1]
        if kind == "stretched":
            ends = (true.cumsum(1) * (1.0 + error)).round().long()
            durations = ends.diff(dim=1, prepend=torch.zeros_like(ends[:, :1]))
        else:
            wished = true.double()
            if kind == "jittered":
                drawn = torch.from_numpy(rng.standard_normal(true.shape[1])).to(true.device)
                wished = wished * (error * drawn).exp()
            else:
                read = self._hear(None).phones
                assert read is not None and read.log_durations is not None  # it has a predictor
                wished = read.log_durations.double().exp() - 1.0
            totals = torch.tensor([frames], device=true.device)
            durations = round_durations(wished.clamp_min(1e-3), totals)
        return PhoneRuns(self.runs.phones, durations, expanded_index(durations, frames))

    def motion(self, laid: PhoneRuns) -> np.ndarray:
        """Motion (T, C) under these durations."""
        features = self._hear(laid).features
        motion: Tensor = self.model.decode(features, self.condition, self.mask)
        return motion[0].float().cpu().numpy()

    def _hear(self, laid: PhoneRuns | None) -> HeardContent:
        return self.model.hear(
            self.tracks, self.lengths, self.condition, self.mask, self.labels, laid
        )


def warped(motion: np.ndarray, runs: PhoneRuns, laid: PhoneRuns) -> np.ndarray:
    """Motion (T, C) as if each phone of `runs` had taken the time that it has in `laid`."""
    durations, planned = (r.durations[0].cpu().numpy().astype(np.float64) for r in (runs, laid))
    phone = laid.phone_of_frame[0].cpu().numpy()
    start, begun = (ends.cumsum() - ends for ends in (durations, planned))
    share = (np.arange(len(phone)) - begun[phone]) / np.maximum(planned[phone], 1.0)
    at = (start[phone] + share * durations[phone]).clip(0.0, len(motion) - 1)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(motion) - 1)
    part = (at - before)[:, None].astype(motion.dtype)
    return motion[before] * (1 - part) + motion[after] * part


def planted_table(found: Sequence[Planted]) -> list[str]:
    """Lines of a Markdown table: the model's measures, and in brackets the warped truth's."""
    header = ["durations", "ends off (ms)"]
    for key in SHOWN:
        unit = f" ({MEASURES[key].unit})" if MEASURES[key].unit else ""
        header.append(MEASURES[key].label + unit)
    rows = []
    for one in found:
        cells = [f"{_cell(one.model[key])} ({_cell(one.truth[key])})" for key in SHOWN]
        rows.append([one.name, f"{one.apart_ms:.0f}", *cells])
    return table(header, rows)


def planted_figure(found: Sequence[Planted]) -> plots.Figure:
    """How measures fall with the error; the true motion, warped alike, is drawn thin."""
    panels = []
    kinds = {
        "longer": [one for one in found if one.kind == "stretched" and one.error >= 0],
        "shorter": [one for one in found[::-1] if one.kind == "stretched" and one.error <= 0],
        "jittered": [one for one in found if one.kind == "jittered" or _none(one)],
        "predicted": [one for one in found if one.kind == "predicted"],
    }
    kinds["jittered"].sort(key=lambda one: one.apart_ms)
    for key in ("sync_confidence", "sync_ms", "closure_recall", "lve_mm"):
        measure = MEASURES[key]
        lines = {
            name: (
                np.array([[one.apart_ms, one.model[key]] for one in some]).T,
                np.array([[one.apart_ms, one.truth[key]] for one in some]).T,
            )
            for name, some in kinds.items()
            if some
        }
        panels.append((f"{measure.label} {f'({measure.unit})' if measure.unit else ''}", lines))
    return plots.falls("errors of durations (thin: the truth, warped alike)",
                       "ends of phones off (ms)", panels)  # fmt: skip


def _cell(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _none(one: Planted) -> bool:
    return one.kind == "stretched" and one.error == 0.0


def _shifts(runs: PhoneRuns, laid: PhoneRuns) -> np.ndarray:
    """How far each phone's end is moved, in frames."""
    ends, moved = (r.durations[0].cumsum(0).cpu().numpy() for r in (runs, laid))
    return np.abs(moved - ends)


def _shown(score: MotionScore) -> dict[str, float]:
    found = score.summary()
    return {key: found[key] for key in SHOWN}


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.planted", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="a finished model")
    parser.add_argument("--corpus", type=Path, required=True, help="a corpus with ARKit motion")
    parser.add_argument("--split", default="test", help="as in training.evaluate")
    parser.add_argument("--limit", type=int, help="only the first so many clips")
    parser.add_argument("--judge-steps", type=int, default=500, help="training of the judges")
    parser.add_argument("--out", type=Path, help="folder for durations.json and durations.png")
    options = parser.parse_args(arguments)
    corpus = Corpus(options.corpus)
    animator = Animator(options.checkpoint, "cpu")
    surface = surface_for(corpus.space, corpus.channels)
    judges = load_judges(corpus, steps=options.judge_steps)
    clips = corpus.select(options.split)[: options.limit]
    found = planted_durations(animator, corpus, clips, surface, judges)
    if not found:
        raise IdiolectError(
            f"no errors of durations can be planted: the model '{animator.name}' does not "
            f"expand by durations, or the phones of the split {options.split} are not known",
            hint="Choose a model with model.duration.expansion, as personalized.toml makes it.",
            code="no_durations",
            setting="--checkpoint",
        )
    if options.out:
        plots.save_png(planted_figure(found), options.out / "durations.png")
        with atomic_path(options.out / "durations.json") as path:
            told = [without_nan(vars(one)) for one in found]
            path.write_text(json.dumps(told, indent=1), encoding="utf-8")
    print("\n".join(planted_table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
