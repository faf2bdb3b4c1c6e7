"""Least squares with bounds, many problems of one matrix at once.

Shape letters: T problems, N variables.
"""

from __future__ import annotations

import numpy as np

# Sweeps of coordinate descent before the exact method: most variables then stand where they belong.
SWEEPS = 10
# Each round brings a problem closer or ends it; real ones take under 50.
MAX_ROUNDS = 1000
# How far on the wrong side of zero a slope counts as rounding, relative to the largest target.
TOLERANCE = 1e-9
# Problems solved together: bounds the memory for long motion.
BATCH = 256


def bounded_least_squares(
    gram: np.ndarray, targets: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Minimises x·G·x / 2 − b·x within bounds, exactly, by an active-set method.

    Stark and Parker, "Bounded-variable least-squares: an algorithm and applications",
    Computational Statistics 1995: variables are free or stand at a bound. The free ones go towards
    their minimum until the first of them meets a bound and stays there; when none does, the one
    that pulls hardest away from its bound is set free.

    Args:
        gram: (N, N) positive definite G = AᵀA.
        targets: (T, N) b = Aᵀy of each problem.
        low: Lower bound of every variable.
        high: Upper bound.

    Returns:
        (T, N) solutions.
    """
    scale = np.sqrt(np.diag(gram))  # unit diagonal: one tolerance then serves all variables
    gram = gram / np.outer(scale, scale)
    targets = targets / scale
    solutions = np.empty_like(targets)
    for start in range(0, len(targets), BATCH):
        part = slice(start, start + BATCH)
        solutions[part] = _solve(gram, targets[part], low * scale, high * scale)
    return np.clip(solutions / scale, low, high)


def _solve(gram: np.ndarray, targets: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    solution = _descend(gram, targets, low, high)
    side = np.where(solution <= low, -1, np.where(solution >= high, 1, 0))  # 0: free
    tolerance = TOLERANCE * np.abs(targets).max(initial=0.0)
    todo = np.arange(len(targets))
    for _ in range(MAX_ROUNDS):
        if not len(todo):
            break
        x, b, each, free = solution[todo], targets[todo], np.arange(len(todo)), side == 0
        # Rows and columns of the variables at a bound become the identity's.
        system = np.where(free[:, :, None] & free[:, None, :], gram, np.eye(len(gram)))
        wanted = np.where(free, b - np.where(free, 0.0, x) @ gram, x)
        step = np.linalg.solve(system, wanted[..., None])[..., 0] - x

        ahead = np.where(step < 0, low, high) - x
        moves = free & (step != 0)
        share = np.divide(ahead, step, out=np.full_like(step, np.inf), where=moves)
        first = share.argmin(axis=1)
        length = share[each, first]
        blocked = length < 1
        x = np.clip(x + np.minimum(length, 1.0)[:, None] * step, low, high)
        met = np.where(step[each, first] < 0, -1, 1)
        x[each[blocked], first[blocked]] = np.where(met < 0, low[first], high[first])[blocked]
        side[each[blocked], first[blocked]] = met[blocked]
        solution[todo] = x

        pull = side * (x @ gram - b)  # positive where letting go would lower the sum of squares
        hardest = pull.argmax(axis=1)
        release = ~blocked & (pull[each, hardest] > tolerance)
        side[each[release], hardest[release]] = 0
        todo, side = todo[blocked | release], side[blocked | release]
    return solution


def _descend(
    gram: np.ndarray, targets: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """A few sweeps of coordinate descent from zero; the diagonal of `gram` is one."""
    x = np.clip(np.zeros_like(targets), low, high)
    slope = x @ gram - targets
    for _ in range(SWEEPS):
        for i in range(len(gram)):
            new = np.clip(x[:, i] - slope[:, i], low[i], high[i])
            slope += (new - x[:, i])[:, None] * gram[i]
            x[:, i] = new
    return x
