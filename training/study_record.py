"""What a study consists of, and what is kept of it: variants, their runs, and `study.json`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.files import atomic_path
from training.evaluate import Evaluation, with_nan, without_nan


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
        by_name: People whom the model has a ready-made style of speak in it; False: in the manner
            of one clip of theirs, as strangers do.
    """

    name: str
    preset: str
    changes: tuple[str, ...] = ()
    note: str = ""
    trained_as: str = ""
    by_name: bool = True

    @property
    def training(self) -> str:
        """The variant whose training this is."""
        return self.trained_as or self.name

    def folder(self, seed: int) -> str:
        """Where its training with a seed lies in the study's folder."""
        return seeded(file_name(self.training), seed)


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
class Run:
    """One training of a variant, and what was measured of it.

    Attributes:
        seed: What everything random in it followed from.
        model: Tells the trained model from any other.
        train_s: Seconds that it took, in one go; not a number where that is not known.
        evaluations: By split.
        across: What content codes hold of the same speech by several people
            (`training.same_speech`).
        planted: What planted errors of durations do (`training.planted`), by split.
    """

    seed: int
    model: str
    train_s: float = math.nan
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    across: dict[str, dict[str, float]] = field(default_factory=dict)
    planted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of a variant.

    Attributes:
        variant: Which.
        parameters: Its weights, without the backbone.
        runs: One for each seed.
    """

    variant: Variant
    parameters: int = 0
    runs: list[Run] = field(default_factory=list)

    def values(self, split: str, key: str) -> np.ndarray:
        """A measure of every run."""
        return np.array([run.evaluations[split].everything[key] for run in self.runs])


class Record:
    """`study.json`: everything that was found, also by earlier starts of the same study.

    What was found under another budget, on another choice of clips, or of a model that was trained
    anew since, is not taken over.
    """

    def __init__(self, path: Path, budget: Budget, limit: int | None) -> None:
        self.path = path
        self._data: dict[str, Any] = {"budget": vars(budget), "limit": limit, "variants": {}}
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if {**found, "variants": {}} == self._data:
                self._data = found

    def run(self, name: str, seed: int, model: str) -> Run:
        """What is known of a run; nothing yet, where it is new, or of another model."""
        for told in self._data["variants"].get(name, {}).get("runs", ()):
            if told["seed"] == seed and told["model"] == model:
                splits = told["splits"].items()
                found = {split: Evaluation.from_dict(one) for split, one in splits}
                rest = (with_nan(told[name]) for name in ("across", "planted"))
                return Run(seed, model, math.nan, found, *rest)
        return Run(seed, model)

    def note(self, outcome: Outcome) -> None:
        """Write what is known of a variant."""
        variant = outcome.variant
        mine = {run.seed: _told(run) for run in outcome.runs}
        known = self._data["variants"].get(variant.name, {}).get("runs", ())
        others = {run["seed"]: run for run in known if run["seed"] not in mine}
        runs = others | mine
        self._data["variants"][variant.name] = {
            "preset": variant.preset,
            "changes": list(variant.changes),
            "by_name": variant.by_name,
            "parameters": outcome.parameters,
            "runs": [runs[seed] for seed in sorted(runs)],
        }
        with atomic_path(self.path) as beside:
            beside.write_text(json.dumps(self._data, indent=1), encoding="utf-8")


def _told(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "model": run.model,
        "train_s": without_nan(run.train_s),
        "splits": {split: found.to_dict() for split, found in run.evaluations.items()},
        "across": without_nan(run.across),
        "planted": without_nan(run.planted),
    }


def file_name(name: str) -> str:
    """A variant's name as a folder's."""
    return "".join(c if c.isalnum() else "-" for c in name).strip("-")


def seeded(name: str, seed: int) -> str:
    """A folder's name for one of several seeds; the first has the plain name."""
    return name if seed == 1 else f"{name}--seed-{seed}"
