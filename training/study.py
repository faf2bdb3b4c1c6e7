"""Several trainings on one corpus with one budget, and what came of each, in one table.

A study is a list of variants: a preset with some settings changed. All are trained with the same
number of steps, clips a step and seconds a clip, on the same corpus through the same backbone, and
measured on the same clips in the manner of the same references. What is done already is not done
again, so a study goes on where it was stopped.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.animator import Animator
from core.checkpoint import load_checkpoint
from core.files import atomic_path
from core.model.config import BlockConfig, ModelConfig, load_toml
from training.code_report import code_report
from training.corpus import Corpus
from training.evaluate import Evaluation, evaluate
from training.evaluation_figures import write_figures
from training.judges import Judges
from training.motion_score import MEASURES
from training.report import table
from training.surfaces import Surface
from training.train import TrainConfig, train

log = logging.getLogger(__name__)

CONFIGS = Path(__file__).parent / "configs"
COLUMNS = ("lve_mm", "lve_m2", "fve_m2", "ldtw_m", "ldd_m2", "fdd_m2", "scs")
"""What a table tells of each variant; the JSON has everything."""


@dataclass(frozen=True)
class Variant:
    """One training of a study.

    Attributes:
        name: For the table.
        preset: Name of a file in training/configs.
        changes: Settings, as `--set` takes them.
        note: What is special about it.
        trained_as: Another variant of the same preset and changes, whose training is measured again
            here; "" = one of its own.
        by_name: People whom the model has a ready-made style of speak in it, not in a reference's.
    """

    name: str
    preset: str
    changes: tuple[str, ...] = ()
    note: str = ""
    trained_as: str = ""
    by_name: bool = False

    @property
    def folder(self) -> str:
        """Where its training lies in the study's folder."""
        return file_name(self.trained_as or self.name)


@dataclass(frozen=True)
class Budget:
    """What every variant gets.

    Attributes:
        steps: Training steps.
        batch: Clips in a step.
        window_s: Seconds of each.
        width: Feature size of every part, and of the codes; 0 leaves the preset's own sizes.
        learning_rate: The highest; 0 leaves the preset's.
        threads: CPU threads.
    """

    steps: int = 1500
    batch: int = 8
    window_s: float = 2.4
    width: int = 64
    learning_rate: float = 1e-3
    threads: int = 1

    def told(self) -> str:
        """In words."""
        sizes = f"all parts {self.width} wide" if self.width else "the presets' own sizes"
        rate = f"{self.learning_rate:g}" if self.learning_rate else "the presets' own"
        return (
            f"{self.steps} steps of {self.batch} clips of {self.window_s:g} s for each, {sizes}, "
            f"learning rate {rate}"
        )


@dataclass
class Outcome:
    """What came of a variant.

    Attributes:
        variant: Which.
        parameters: Its weights, without the backbone.
        train_s: Seconds that its training took, in one go; not a number where that is not known.
        evaluations: By split.
    """

    variant: Variant
    parameters: int
    train_s: float
    evaluations: dict[str, Evaluation] = field(default_factory=dict)


def run_study(
    variants: Sequence[Variant],
    corpus: Corpus,
    out: Path,
    budget: Budget,
    *,
    splits: Sequence[str],
    surface: Surface,
    judges: Judges | None,
    settings: Sequence[str] = (),
    limit: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Outcome]:
    """Train and measure every variant.

    Args:
        variants: What to train.
        corpus: On what.
        out: Folder: one run for each variant, with its figures.
        budget: What each gets.
        splits: Where they are measured.
        surface: The face to measure on.
        judges: For SCS and synchrony.
        settings: For all of them, as `--set` takes them.
        limit: At most so many clips of each split.
        progress: Called with (stage, done, total).
    """
    outcomes = []
    kept = _kept(out / "study.json", budget, limit)
    for variant in variants:
        log.info("%s: %s %s", variant.name, variant.preset, " ".join(variant.changes))
        config = config_of(variant, corpus, budget, settings)
        folder = out / variant.folder
        path, clock = folder / "model.safetensors", folder / "seconds.json"
        if not _finished(path, budget.steps):
            for other in variants:
                if other.folder == variant.folder:
                    kept.pop(other.name, None)
            begun = time.perf_counter()
            train(config, corpus.folder, folder, progress)
            with atomic_path(clock) as beside:
                beside.write_text(json.dumps(time.perf_counter() - begun), encoding="utf-8")
        train_s = json.loads(clock.read_text(encoding="utf-8")) if clock.exists() else float("nan")
        animator = Animator(path, "cpu")
        own = sum(parameter.numel() for parameter in animator.engine.model.parameters())
        outcome = Outcome(variant, own, train_s)
        for split in splits:
            if split in kept.get(variant.name, {}):
                outcome.evaluations[split] = kept[variant.name][split]
                continue
            clips = corpus.select(split)[:limit]
            found = evaluate(
                animator, corpus, clips, surface, judges=judges, same_emotion=True,
                by_name=variant.by_name,
            )  # fmt: skip
            report = code_report(animator, corpus, clips, surface)
            found.codes = report.findings
            figures = out / file_name(variant.name) / "figures" / split
            write_figures(figures, animator, corpus, found, surface, report)
            outcome.evaluations[split] = found
        outcomes.append(outcome)
        write_json(out / "study.json", outcomes, budget, limit)
    return outcomes


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


def study_table(outcomes: Sequence[Outcome], split: str) -> list[str]:
    """Lines of the table of one split; the best of each column is bold."""
    header = ["", *(_heading(key) for key in COLUMNS), "weights (10⁶)", "training (min)"]
    found = [outcome.evaluations[split].everything for outcome in outcomes]
    best = {}
    for key in COLUMNS:
        pick = max if MEASURES[key].better == "high" else min
        values = [f"{one[key] * MEASURES[key].scale:.3g}" for one in found if one[key] == one[key]]
        best[key] = pick(values, key=float) if values else ""
    rows = []
    for outcome, one in zip(outcomes, found, strict=True):
        cells = []
        for key in COLUMNS:
            value = one[key] * MEASURES[key].scale
            cell = f"{value:.3g}" if value == value else "–"
            cells.append(f"**{cell}**" if cell == best[key] else cell)
        minutes = outcome.train_s / 60
        cells += [
            f"{outcome.parameters / 1e6:.2f}",
            f"{minutes:.1f}" if minutes == minutes else "–",
        ]
        rows.append([outcome.variant.name, *cells])
    return table(header, rows)


def codes_table(outcomes: Sequence[Outcome], split: str) -> list[str]:
    """Lines of the table of what codes hold: the share of right answers (that of guessing)."""
    asked = list(dict.fromkeys(key for one in outcomes for key in one.evaluations[split].codes))
    rows = []
    for outcome in outcomes:
        codes = outcome.evaluations[split].codes
        if not codes:
            continue
        cells = []
        for key in asked:
            found = codes.get(key)
            guess = (
                f" ({found['chance']:.2f})" if found and found["chance"] == found["chance"] else ""
            )
            cells.append(f"{found['value']:.2f}{guess}" if found else "–")
        rows.append([outcome.variant.name, *cells])
    return table(["", *asked], rows) if asked else []


def write_json(path: Path, outcomes: Sequence[Outcome], budget: Budget, limit: int | None) -> None:
    """Everything that was found."""
    data = {
        "budget": vars(budget),
        "limit": limit,
        "variants": {
            outcome.variant.name: {
                "preset": outcome.variant.preset,
                "changes": list(outcome.variant.changes),
                "parameters": outcome.parameters,
                "train_s": outcome.train_s if outcome.train_s == outcome.train_s else None,
                "splits": {s: e.to_dict() for s, e in outcome.evaluations.items()},
            }
            for outcome in outcomes
        },
    }
    with atomic_path(path) as beside:
        beside.write_text(json.dumps(data, indent=1), encoding="utf-8")


def file_name(name: str) -> str:
    """A variant's name as a folder's."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")


def _kept(path: Path, budget: Budget, limit: int | None) -> dict[str, dict[str, Evaluation]]:
    """Evaluations of an earlier start of the same study, by variant and split."""
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["budget"] != vars(budget) or data.get("limit") != limit:
        return {}
    return {
        name: {split: Evaluation.from_dict(found) for split, found in one["splits"].items()}
        for name, one in data["variants"].items()
    }


def _finished(path: Path, steps: int) -> bool:
    return path.exists() and load_checkpoint(path).metadata.get("steps") == steps


def _heading(key: str) -> str:
    measure = MEASURES[key]
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.label}{unit} {'↑' if measure.better == 'high' else '↓'}"
