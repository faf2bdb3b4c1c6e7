"""Regions of an ARKit face, and how strongly each of them moves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.motion import ARKIT_CHANNELS, FloatArray

REGIONS: dict[str, tuple[str, ...]] = {
    # mouthClose undoes what jawOpen does to the lips: apart from each other they would open what
    # is to be shut.
    "jaw": ("jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose"),
    "lips": tuple(
        name
        for name in ARKIT_CHANNELS
        if name.startswith(("mouth", "tongue")) and name != "mouthClose"
    ),
    "cheeks": tuple(name for name in ARKIT_CHANNELS if name.startswith(("cheek", "nose"))),
    "brows": tuple(name for name in ARKIT_CHANNELS if name.startswith("brow")),
    "lids": tuple(
        name for name in ARKIT_CHANNELS if name.startswith(("eyeBlink", "eyeSquint", "eyeWide"))
    ),
}


def apply_gains(
    weights: FloatArray, columns: Mapping[str, int], gains: Mapping[str, float]
) -> None:
    """Scale regions of weights (T, C) in place; a gain of 1 leaves a region exactly as it is.

    Lips that are shut stay shut: jawOpen and mouthClose grow together, and stop growing together.
    """
    for region, gain in gains.items():
        if gain == 1.0:
            continue
        pair = [columns[name] for name in ("jawOpen", "mouthClose") if name in columns]
        for name in REGIONS[region]:
            if name in columns and columns[name] not in pair:
                weights[:, columns[name]] *= gain
        if region == "jaw" and pair:
            highest = weights[:, pair].max(axis=1)
            weights[:, pair] *= np.minimum(gain, 1.0 / np.maximum(highest, 1e-6))[:, None]
    weights.clip(0.0, 1.0, out=weights)
