"""t-SNE: points of many dimensions laid out in the plane so that neighbours stay neighbours.

After van der Maaten and Hinton, "Visualizing data using t-SNE" (JMLR 2008), exact, for up to a
thousand points or so. Shapes: N points, D dimensions.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import pdist, squareform

_EXAGGERATED = 100
"""Steps at the beginning in which attraction counts fourfold, so that clusters find together."""


def tsne(
    points: np.ndarray, *, perplexity: float = 20.0, steps: int = 400, seed: int = 1
) -> np.ndarray:
    """Lay out points (N, D) in the plane: (N, 2)."""
    count = len(points)
    if count < 4:
        return np.asarray(points, np.float64)[:, :2]
    wanted = _affinities(points, min(perplexity, (count - 1) / 3))
    layout = 1e-2 * np.random.default_rng(seed).standard_normal((count, 2))
    velocity, gains = np.zeros_like(layout), np.ones_like(layout)
    rate = max(count / 12.0, 20.0)
    for step in range(steps):
        nearness = 1.0 / (1.0 + squareform(pdist(layout, "sqeuclidean")))
        np.fill_diagonal(nearness, 0.0)
        found = np.maximum(nearness / nearness.sum(), 1e-12)
        pull = (wanted * (4.0 if step < _EXAGGERATED else 1.0) - found) * nearness
        gradient = 4.0 * (pull.sum(1)[:, None] * layout - pull @ layout)
        same = np.sign(gradient) == np.sign(velocity)
        gains = np.where(same, gains * 0.8, gains + 0.2).clip(0.01)
        momentum = 0.5 if step < _EXAGGERATED else 0.8
        velocity = momentum * velocity - rate * gains * gradient
        layout = layout + velocity
        layout -= layout.mean(axis=0)
    return layout


def _affinities(points: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric probabilities (N, N) that two points are neighbours."""
    distances = squareform(pdist(np.asarray(points, np.float64), "sqeuclidean"))
    count = len(points)
    low, high, beta = np.zeros(count), np.full(count, np.inf), np.ones(count)
    beta /= np.maximum(distances.mean(axis=1), 1e-12)
    for _ in range(50):  # bisection for the width of each point's neighbourhood
        kernel = np.exp(-distances * beta[:, None])
        np.fill_diagonal(kernel, 0.0)
        total = np.maximum(kernel.sum(axis=1), 1e-300)
        entropy = np.log(total) + beta * (distances * kernel).sum(axis=1) / total
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        middle = np.where(np.isinf(high), 2.0 * beta, (low + np.where(np.isinf(high), 0, high)) / 2)
        beta = middle
    kernel = np.exp(-distances * beta[:, None])
    np.fill_diagonal(kernel, 0.0)
    shares = kernel / np.maximum(kernel.sum(axis=1, keepdims=True), 1e-300)
    return np.maximum((shares + shares.T) / (2 * count), 1e-12)
