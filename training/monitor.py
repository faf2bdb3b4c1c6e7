"""What a run shows while it learns: measures of validation clips, and TensorBoard.

tensorboard --logdir RUN/tensorboard
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from core.learning.batch import Batch
from training import plots
from training.corpus import UNKNOWN_PHONE
from training.motion_score import MotionScore
from training.surfaces import Surface

log = logging.getLogger(__name__)

MEASURED = (
    "lve_mm", "fve_m2", "ldtw_m", "ldd_m2", "fdd_m2", "closure_recall", "closure_precision",
    "silent_motion_mm_s", "lip_lag_ms",
)  # fmt: skip
_CLIPS = 12
"""Clips measured at a time; warping costs the square of their length."""
_DRAWN = 3


class ValidationMeasures:
    """The field's measures of what the model makes of validation clips (`training.metrics`)."""

    def __init__(self, surface: Surface | None, fps: float) -> None:
        """Begin.

        Args:
            surface: The face to measure on; None where its regions are unknown: nothing is measured
                then.
            fps: Frames per second of the motion.
        """
        self.surface, self.fps = surface, fps
        self.score = MotionScore(surface, fps) if surface else None
        self.rows: list[tuple[str, dict[str, np.ndarray]]] = []

    def __call__(self, batch: Batch, predicted: Tensor) -> None:
        """Measure a batch's clips against what the model makes of them (B, T, C)."""
        if self.score is None or self.surface is None:
            return
        for row, length in enumerate(batch.motion_lengths.tolist()):
            if self.score.clips >= _CLIPS:
                return
            truth = batch.motion[row, :length].numpy()
            made = predicted[row, :length].numpy()
            phones = np.full(length, UNKNOWN_PHONE)
            if batch.phones is not None:
                found = batch.phones[row, :length].numpy()
                phones = np.where(found >= 0, found, UNKNOWN_PHONE)
            # Lips are not compared with the sound here: batches hold features of it only.
            self.score.add(truth, made, phones, np.zeros(round(16000 * length / self.fps)))
            if len(self.rows) < _DRAWN:
                gaps = {"truth": truth, "model": made}
                opened = {
                    name: self.surface.lip_gap_mm(motion).mean(axis=1)
                    for name, motion in gaps.items()
                }
                self.rows.append((f"clip {len(self.rows) + 1}", opened))

    def summary(self) -> dict[str, float]:
        """The measures that these clips tell."""
        if self.score is None or not self.score.clips:
            return {}
        found = self.score.summary()
        return {name: found[name] for name in MEASURED if math.isfinite(found[name])}


class Monitor:
    """Writes scalars and figures for TensorBoard, if it is installed."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the folder.

        Args:
            folder: Where TensorBoard looks.
            step: Where the run goes on; what was written beyond it is superseded.
        """
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            log.warning("no curves are written: %s. pip install tensorboard", error)
            return
        self._writer = SummaryWriter(str(folder), purge_step=step or None)

    def scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve of a group."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name.replace(' ', '_')}", value, step)

    def validation(self, step: int, measures: ValidationMeasures) -> None:
        """Add what validation clips look like."""
        if self._writer is not None and measures.rows:
            figure = plots.curves(f"lips apart, step {step}", "mm", measures.rows, measures.fps)
            self._writer.add_figure("validation/lips", figure, step)

    def close(self) -> None:
        """Write everything."""
        if self._writer is not None:
            self._writer.close()
