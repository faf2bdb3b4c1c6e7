"""A corpus and a backbone small enough to train on in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from core.checkpoint import save_checkpoint
from core.model.backbones import BackboneConfig, build_backbone
from core.model.config import to_dict
from core.model.speech import CompactBackboneConfig
from core.motion import ARKIT_CHANNELS
from core.phones import PHONES
from training.corpus import CorpusWriter
from training.synthesis.emotions import strongest
from training.synthesis.motion_corpus import Piece, perform
from training.synthesis.styles import READY_MADE

SMALL_BACKBONE = BackboneConfig(
    compact=CompactBackboneConfig(stem_dim=16, dim=24, dilations=(1,), kernel=5)
)


def save_small_backbone(path: Path) -> Path:
    """An untrained backbone."""
    torch.manual_seed(5)
    backbone = build_backbone(SMALL_BACKBONE)
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    save_checkpoint(path, tensors, {"backbone": to_dict(SMALL_BACKBONE)})
    return path


def small_piece(seed: int, seconds: float = 2.0) -> Piece:
    """Buzzes of a pitch of its own for each phone: enough to tell phones apart."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, len(PHONES), round(seconds * 10)), 10).astype(np.uint8)
    pitch = 100.0 + 20.0 * np.repeat(labels, 160)
    samples = 0.1 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / 16000))
    return Piece(f"buzz{seed}", "train", samples.astype(np.float32), labels)


def make_small_corpus(folder: Path, clips: int = 2) -> Path:
    """Two people in training and one stranger, with a few clips each."""
    writer = CorpusWriter(folder, ARKIT_CHANNELS, 50.0, "arkit")
    heard, seen = np.random.default_rng(1), np.random.default_rng(2)
    people = (("ready-neutral", "train"), ("ready-broad", "train"), ("stranger", "valid"))
    for seed, (person, split) in enumerate(people):
        style = (
            READY_MADE[person.removeprefix("ready-")] if split == "train" else READY_MADE["crisp"]
        )
        for clip in range(clips):
            piece = small_piece(10 * seed + clip)
            neutral = clip % 2 == 0
            made = perform(piece, style, heard, seen, neutral=neutral)
            writer.add(
                f"{person}-{clip}", person, split, made.samples, made.motion, made.phones,
                strongest(made.intensities), intensities=made.intensities,
            )  # fmt: skip
    writer.close()
    return folder
