"""Several trainings on one corpus with one budget, and what came of each, in one table.

A study is a list of variants: a preset with some settings changed. All are trained with the same
number of steps, clips a step and seconds a clip, on the same corpus through the same backbone, each
with one seed or several, and measured on the same clips. What is done already is not done again, so
a study goes on where it was stopped. `training.study_report` tells what was found.

Who is imitated, and how a model is told, is the same for all. People of the training are called by
name: a model that knows people by identity looks their code up, the others take their ready-made
style, the mean of what they read from their clips. Strangers are known by one clip.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.animator import Animator
from core.checkpoint import load_checkpoint
from core.files import atomic_path
from core.model.config import BlockConfig, ModelConfig, load_toml
from training.code_report import code_report
from training.corpus import Corpus
from training.evaluate import evaluate
from training.evaluation_figures import write_figures
from training.judges import Judges
from training.planted import planted_durations, planted_figure
from training.plots import save_png
from training.same_speech import SPLIT as SAME_SPEECH
from training.same_speech import content_across_people
from training.study_record import Budget, Outcome, Record, Run, Variant, file_name, seeded
from training.surfaces import Surface
from training.train import TrainConfig, train

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).parent / "configs"
TRANSITIONS = "transitions"
PLANTED_CLIPS = 48
"""Clips of a split on which errors of durations are planted."""


@dataclass(frozen=True)
class Measuring:
    """What every run is measured with, and on.

    Attributes:
        surface: The face to measure on.
        judges: For SCS and synchrony.
        splits: Where models are measured.
        planted: Splits on which errors of durations are planted, of models that expand by them.
        limit: At most so many clips of each split.
    """

    surface: Surface
    judges: Judges | None
    splits: Sequence[str]
    planted: Sequence[str] = ()
    limit: int | None = None


def run_study(
    variants: Sequence[Variant],
    corpus: Corpus,
    out: Path,
    budget: Budget,
    measuring: Measuring,
    *,
    settings: Sequence[str] = (),
    seeds: Mapping[str, int] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Outcome]:
    """Train and measure every variant.

    Args:
        variants: What to train.
        corpus: On what.
        out: Folder: one run for each variant and seed, with its figures.
        budget: What each gets.
        measuring: How all are measured.
        settings: For all of them, as `--set` takes them.
        seeds: How many trainings of each variant, by name; one where nothing is said.
        progress: Called with (stage, done, total).
    """
    outcomes: list[Outcome] = []
    record = Record(out / "study.json", budget, measuring.limit)
    for variant in variants:
        outcomes.append(outcome := Outcome(variant))
        for seed in range(1, (seeds or {}).get(variant.training, 1) + 1):
            log.info("%s, seed %d: %s", variant.name, seed, " ".join(variant.changes))
            path = out / variant.folder(seed) / "model.safetensors"
            if not _finished(path, budget.steps):
                config = config_of(variant, corpus, budget, [*settings, f"seed={seed}"])
                _train(config, corpus, path.parent, progress)
            mark = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
            run = record.run(variant.name, seed, mark)
            clock = path.parent / "seconds.json"
            if clock.exists():
                run.train_s = json.loads(clock.read_text(encoding="utf-8"))
            animator = Animator(path, "cpu")
            outcome.parameters = sum(p.numel() for p in animator.engine.model.parameters())
            outcome.runs.append(run)
            figures = out / seeded(file_name(variant.name), seed) / "figures"
            for split in measuring.splits:
                if split not in run.evaluations:
                    _measure(run, variant, animator, corpus, split, measuring, figures / split)
                    record.note(outcome)
            if not variant.trained_as and not run.across and SAME_SPEECH in _splits(corpus):
                run.across = content_across_people(animator, corpus, corpus.select(SAME_SPEECH))
            record.note(outcome)
    return outcomes


def _train(
    config: TrainConfig,
    corpus: Corpus,
    folder: Path,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    begun = time.perf_counter()
    train(config, corpus.folder, folder, progress)
    with atomic_path(folder / "seconds.json") as beside:
        beside.write_text(json.dumps(time.perf_counter() - begun), encoding="utf-8")


def _measure(
    run: Run, variant: Variant, animator: Animator, corpus: Corpus, split: str,
    measuring: Measuring, figures: Path,
) -> None:  # fmt: skip
    """Everything that is asked of a run on a split."""
    surface, judges = measuring.surface, measuring.judges
    clips = corpus.select(split)[: measuring.limit]
    found = evaluate(
        animator, corpus, clips, surface, judges=judges, same_emotion=True, by_name=variant.by_name
    )
    run.evaluations[split] = found
    if variant.trained_as:
        return  # the same codes were asked before
    codes = None
    if split != TRANSITIONS:  # clips of two emotions would be asked for one
        codes = code_report(animator, corpus, clips, surface)
        found.codes = codes.findings
    if run.seed > 1:
        return  # one set of figures is enough
    write_figures(figures, animator, corpus, found, surface, codes)
    if split in measuring.planted and judges is not None:
        planted = planted_durations(animator, corpus, clips[:PLANTED_CLIPS], surface, judges)
        if planted:
            run.planted[split] = [vars(one) for one in planted]
            save_png(planted_figure(planted), figures / "durations.png")


def config_of(
    variant: Variant, corpus: Corpus, budget: Budget, settings: Sequence[str] = ()
) -> TrainConfig:
    """A variant's configuration under a budget; its own changes come last."""
    path = CONFIGS / f"{variant.preset}.toml"
    named = f"name='{variant.name}'"
    config = load_toml(TrainConfig, path, [*settings, *variant.changes, named])
    rate = budget.learning_rate or config.optim.learning_rate
    share = budget.steps / config.optim.steps
    optim = replace(
        config.optim,
        steps=budget.steps,
        learning_rate=rate,
        style_first=round(share * config.optim.style_first),
        warmup=min(config.optim.warmup, max(1, budget.steps // 10)),
        save_every=budget.steps,
    )
    data = replace(
        config.data, batch=budget.batch, window_s=budget.window_s, reference_s=budget.window_s
    )
    model = config.model
    model = replace(
        model, motion=replace(model.motion, space=corpus.space, channels=len(corpus.channels),
                              fps=corpus.fps)
    )  # fmt: skip
    if budget.width:
        model = narrowed(model, budget.width)
    return replace(config, optim=optim, data=data, model=model, threads=budget.threads)


def narrowed(model: ModelConfig, width: int) -> ModelConfig:
    """The same parts, smaller: every width `width`, at most two blocks or layers of each kind."""

    def block(config: BlockConfig) -> BlockConfig:
        return replace(config, width=width, hidden=2 * width, blocks=min(2, config.blocks))

    encoder: dict[str, Any] = {"width": width, "hidden": 2 * width, "layers": 2, "convolutions": 3}
    code = width if model.content.code else 0
    return replace(
        model,
        # Norms first: a short training with a high rate does not work with norms last.
        style=replace(model.style, code=width, norm_first=True, **encoder),
        content=replace(model.content, code=code, norm_first=True, **encoder),
        speech=replace(model.speech, encoder=block(model.speech.encoder)),
        decoder=block(model.decoder),
        autoregressive=replace(model.autoregressive, width=width, hidden=2 * width),
        duration=replace(model.duration, width=width),
    )


def _splits(corpus: Corpus) -> set[str]:
    return {clip.split for clip in corpus.clips}


def _finished(path: Path, steps: int) -> bool:
    return path.exists() and load_checkpoint(path).metadata.get("steps") == steps
