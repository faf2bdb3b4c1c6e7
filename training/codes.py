"""What style and content codes hold, and what they do not.

- Identity from style codes, of people never trained on: of all clips, is the one whose code is
  nearest another clip of the same person (retrieval)?
- Identity from content codes, and emotion from style codes: a probe, a linear classifier that is
  trained on the codes themselves, should do hardly better than chance. It is shown the mean of
  content codes over the clip, and in a second, harder question all their `moments`, since a mean
  can be 0 by the encoder's making while people differ in something else.
- The mouth's amplitude along the way from one style to another should only rise.

Shapes: N clips, D numbers of a code, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where the way between two styles is looked at."""


@dataclass(frozen=True)
class Finding:
    """A share of right answers.

    Attributes:
        value: The share.
        chance: What guessing gets.
        count: Of how many.
    """

    value: float
    chance: float
    count: int


def retrieval(codes: np.ndarray, labels: Sequence[str]) -> Finding:
    """How often the nearest other code (cosine) carries the same label.

    Args:
        codes: (N, D).
        labels: N of them; those that occur once are searched in, but not asked for.
    """
    names = np.asarray(labels)
    unit = codes - codes.mean(axis=0)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-9)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    same = (names[:, None] == names[None]).sum(axis=1) - 1
    asked = np.flatnonzero(same > 0)
    if not len(asked):
        return Finding(float("nan"), float("nan"), 0)
    right = names[near[asked].argmax(axis=1)] == names[asked]
    chance = same[asked] / (len(names) - 1)
    return Finding(float(right.mean()), float(chance.mean()), len(asked))


def moments(codes: np.ndarray) -> np.ndarray:
    """What a clip's codes (T, D) are like over time: mean, spread, correlation of each pair.

    Returns:
        (D + D + D · (D − 1) / 2,).
    """
    codes = np.asarray(codes, np.float64)
    mean, spread = codes.mean(axis=0), codes.std(axis=0)
    unit = (codes - mean) / np.maximum(spread, 1e-6)
    pairs = (unit.T @ unit / len(codes))[np.triu_indices(codes.shape[1], 1)]
    return np.concatenate([mean, spread, pairs])


def probe(
    codes: np.ndarray, labels: Sequence[str], test_codes: np.ndarray, test_labels: Sequence[str]
) -> Finding:
    """How often a linear classifier that learnt from some codes names the label of others.

    Args:
        codes: (N, D) to learn from.
        labels: N labels.
        test_codes: (M, D).
        test_labels: M labels; those that were not learnt are left out.

    Returns:
        Right answers, against the share of the label that is most frequent in the test.
    """
    names = sorted(set(labels))
    place = {name: index for index, name in enumerate(names)}
    kept = [index for index, label in enumerate(test_labels) if label in place]
    if len(names) < 2 or not kept:
        return Finding(float("nan"), float("nan"), 0)
    mean, spread = codes.mean(axis=0), codes.std(axis=0) + 1e-6
    train, test = (
        torch.from_numpy(((x - mean) / spread).astype(np.float32))
        for x in (codes, test_codes[kept])
    )
    wanted = torch.tensor([place[label] for label in labels])
    weight = torch.zeros(train.shape[1], len(names), requires_grad=True)
    bias = torch.zeros(len(names), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(train @ weight + bias, wanted) + 1e-2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found = (test @ weight + bias).argmax(dim=1).numpy()
    truth = np.array([place[test_labels[index]] for index in kept])
    most = np.bincount(truth).max() / len(truth)
    return Finding(float((found == truth).mean()), float(most), len(kept))


def rises(amplitudes: Sequence[float], tolerance: float = 0.02) -> bool:
    """Whether amplitudes at `MIXES` only rise, or only fall, from one end to the other.

    A step against the direction counts when it is larger than `tolerance` of the whole way.
    """
    steps = np.diff(np.asarray(amplitudes, np.float64))
    way = float(np.sum(steps))
    return bool((steps * np.sign(way) >= -tolerance * abs(way)).all())
