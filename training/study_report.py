"""What a study found, as Markdown: measures of each variant, over its seeds; what codes hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.motion_score import MEASURES
from training.planted import Planted, planted_table
from training.report import table
from training.study_record import Budget, Outcome

COLUMNS = ("lve_mm", "lve_m2", "fve_m2", "ldtw_m", "ldd_m2", "fdd_m2", "scs")
"""What a table tells of each variant; the JSON has everything."""
FIVE = ("lve_m2", "fve_m2", "ldtw_m", "ldd_m2", "scs")
"""Mimic's five measures."""
KNOWN = {
    "test-a": "people of the training, new sentences",
    "test-b": "unseen people",
    "transitions": "people of the training, an emotion that changes in mid-sentence",
}
"""What the usual splits ask."""


def report(
    name: str,
    outcomes: Sequence[Outcome],
    splits: Sequence[str],
    budget: Budget,
    ahead: Sequence[tuple[str, str]] = (),
) -> str:
    """A study as Markdown.

    Args:
        name: Of the study.
        outcomes: What came of its variants.
        splits: Where they were measured.
        budget: What each had.
        ahead: Pairs of variants of which it is told where the first is ahead of the second.
    """
    lines = [f"# {name}", "", f"Budget: {budget.told()}.", ""]
    lines += [f"- {o.variant.name}: {o.variant.note}." for o in outcomes if o.variant.note]
    if any(len(outcome.runs) > 1 for outcome in outcomes):
        lines.append("- ±: standard deviation over the trainings with several seeds.")
    found = {outcome.variant.name: outcome for outcome in outcomes}
    for split in splits:
        first = outcomes[0].runs[0].evaluations[split]
        what = f" ({KNOWN[split]})" if split in KNOWN else ""
        lines += ["", f"## {split}{what}: {first.everything['clips']:.0f} clips of "
                  f"{len(first.identities)} people", ""]  # fmt: skip
        lines += study_table(outcomes, split)
        for one, other in ahead:
            if one in found and other in found:
                lines += ["", compared(found[one], found[other], split)]
        if codes := codes_table(outcomes, split):
            lines += ["", "What codes hold, as the share of right answers (of guesses):", ""]
            lines += codes
    if across := across_table(outcomes):
        lines += ["", "## Content codes of the same speech by several people", "",
                  "Right answers (guesses): the same speech found among the clips of another "
                  "person; the same speech by another nearer than other speech by the same person. "
                  "Distance: between people who say the same, as a share of that between different "
                  "speech by one person.", "", *across]  # fmt: skip
    for outcome in outcomes:
        for split, told in outcome.runs[0].planted.items():
            lines += ["", f"## Planted errors of durations: {outcome.variant.name}, {split}", "",
                      "In brackets: the true motion, warped by the same errors.", "",
                      *planted_table([Planted(**one) for one in told])]  # fmt: skip
    return "\n".join(lines) + "\n"


def study_table(outcomes: Sequence[Outcome], split: str) -> list[str]:
    """Lines of the table of one split; the best of each column is bold."""
    header = ["", "seeds", *(_heading(key) for key in COLUMNS), "weights (10⁶)", "training (min)"]
    means = {
        key: [f"{_mean(one.values(split, key)) * MEASURES[key].scale:.3g}" for one in outcomes]
        for key in COLUMNS
    }
    best = {}
    for key, shown in means.items():
        pick = max if MEASURES[key].better == "high" else min
        numbers = [cell for cell in shown if cell != "nan"]
        best[key] = pick(numbers, key=float) if numbers else ""
    rows = []
    for place, outcome in enumerate(outcomes):
        cells = [str(len(outcome.runs))]
        for key in COLUMNS:
            cell = means[key][place]
            told = "–" if cell == "nan" else f"**{cell}**" if cell == best[key] else cell
            if len(outcome.runs) > 1:
                spread = outcome.values(split, key).std(ddof=1) * MEASURES[key].scale
                told += f" ± {spread:.2g}"
            cells.append(told)
        minutes = _mean(np.array([run.train_s for run in outcome.runs])) / 60
        cells += [
            f"{outcome.parameters / 1e6:.2f}",
            f"{minutes:.1f}" if minutes == minutes else "–",
        ]
        rows.append([outcome.variant.name, *cells])
    return table(header, rows)


def compared(first: Outcome, second: Outcome, split: str) -> str:
    """Where one variant is ahead of another in Mimic's five measures, and how surely.

    Ahead with every seed: the worst of the first's trainings is better than the best of the
    second's.
    """
    told: dict[str, list[str]] = {"every": [], "mean": [], "behind": []}
    for key in FIVE:
        sign = 1.0 if MEASURES[key].better == "high" else -1.0
        own, other = (sign * outcome.values(split, key) for outcome in (first, second))
        kind = "mean" if _mean(own) > _mean(other) else "behind"
        if own.min() > other.max():
            kind = "every"
        told[kind].append(MEASURES[key].label)
    names = f"{first.variant.name} against {second.variant.name}"
    several = min(len(first.runs), len(second.runs)) > 1
    parts = []
    if told["every"]:
        parts.append(f"ahead in {', '.join(told['every'])}"
                     + (", its worst seed before the other's best" if several else ""))  # fmt: skip
    if told["mean"]:
        parts.append(f"ahead in {', '.join(told['mean'])} by the mean, not with every seed")
    if told["behind"]:
        parts.append(f"NOT ahead in {', '.join(told['behind'])}")
    return f"{names}: {'; '.join(parts)}."


def codes_table(outcomes: Sequence[Outcome], split: str) -> list[str]:
    """Lines of the table of what codes hold: the share of right answers (that of guessing)."""
    return _findings(
        [
            (outcome.variant.name, [run.evaluations[split].codes for run in outcome.runs])
            for outcome in outcomes
        ]
    )


def across_table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of the table of the same speech by several people."""
    return _findings(
        [(outcome.variant.name, [run.across for run in outcome.runs]) for outcome in outcomes]
    )


def _findings(rows: Sequence[tuple[str, Sequence[dict[str, dict[str, float]]]]]) -> list[str]:
    """Lines of a table of findings, the mean over seeds."""
    asked = list(dict.fromkeys(key for _, runs in rows for found in runs for key in found))
    lines = []
    for name, runs in rows:
        if not any(runs):
            continue
        cells = []
        for key in asked:
            known = [found[key] for found in runs if key in found]
            if not known:
                cells.append("–")
                continue
            value, chance = (
                float(np.mean([one[part] for one in known])) for part in ("value", "chance")
            )
            cells.append(f"{value:.2f}" + (f" ({chance:.2f})" if chance == chance else ""))
        lines.append([name, *cells])
    return table(["", *asked], lines) if lines else []


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _heading(key: str) -> str:
    measure = MEASURES[key]
    unit = f" ({measure.unit})" if measure.unit else ""
    return f"{measure.label}{unit} {'↑' if measure.better == 'high' else '↓'}"
