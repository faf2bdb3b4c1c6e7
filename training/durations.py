"""Predicted durations of phones against true ones (PSE's duration model)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from core.animator import Animator
from core.model.speech import prosody
from core.model.speech_encoder import SpeechTracks
from core.phones import PHONES
from training.corpus import UNKNOWN_PHONE, Corpus


class DurationError(NamedTuple):
    """How far predicted durations are from true ones.

    Attributes:
        error_ms: Mean absolute error.
        guess_ms: That of giving each phone the mean duration it has in these clips.
        phones: How many were asked for.
    """

    error_ms: float
    guess_ms: float
    phones: int


@torch.inference_mode()
def duration_error(
    animator: Animator, corpus: Corpus, clips: Sequence[int]
) -> DurationError | None:
    """Ask a model's duration predictor for the phones of clips.

    Args:
        animator: The model.
        corpus: The corpus, at the model's frame rate.
        clips: Which clips; those whose phones are not all known are left out.

    Returns:
        None where the model has no predictor or no clip can be asked for.
    """
    model = animator.engine.model
    if model.phone_model is None or model.phone_model.predictor is None:
        return None
    if corpus.fps != animator.fps:
        return None
    predicted, true, phones = [], [], []
    device = animator.device
    for index in clips:
        labels = corpus.clip_phones(index).astype(np.int64)
        if (labels >= len(PHONES)).any():
            continue
        tracks, lengths = heard_tracks(animator, corpus.clip_samples(index))
        mask = torch.ones(1, len(labels), dtype=torch.bool, device=device)
        known = torch.from_numpy(labels)[None].to(device)
        reading = model.hear(tracks, lengths, model.condition(1, None, None), mask, known).phones
        if reading is None or reading.log_durations is None:
            return None
        predicted.append(reading.log_durations[0].exp().sub(1.0).clamp_min(0.0).cpu().numpy())
        true.append(reading.runs.durations[0].cpu().numpy())
        phones.append(reading.runs.phones[0].cpu().numpy())
    if not true:
        return None
    found, wanted, kinds = (np.concatenate(parts) for parts in (predicted, true, phones))
    means = np.array([wanted[kinds == k].mean() if (kinds == k).any() else 0.0
                      for k in range(UNKNOWN_PHONE)])  # fmt: skip
    frame_ms = 1000.0 / corpus.fps
    return DurationError(
        float(np.abs(found - wanted).mean()) * frame_ms,
        float(np.abs(means[kinds] - wanted).mean()) * frame_ms,
        len(wanted),
    )


def heard_tracks(animator: Animator, speech: np.ndarray) -> tuple[SpeechTracks, torch.Tensor]:
    """What a model's backbone hears in samples (S,): tracks (1, N, ·), and N as (1,)."""
    samples = torch.from_numpy(speech)[None].to(animator.device)
    heard = animator.engine.backbone(samples)
    tracks = SpeechTracks(heard.hidden, heard.posteriors, prosody(samples))
    return tracks, torch.tensor([heard.hidden.shape[1]], device=animator.device)
