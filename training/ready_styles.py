"""Styles to choose from without a reference: those of the people a model learnt from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from core.emotions import EMOTIONS
from core.model.model import IdiolectModel
from core.model.style import IdentityStyles
from core.motion import MotionClip, resample
from training.corpus import UNKNOWN_EMOTION, Corpus

MOST_PEOPLE = 32
CLIPS_EACH = 4
MEAN = "mean"
"""The mean over everybody, which also stands for people whom a model of fixed styles never met."""


def styled_name(person: str, emotion: str) -> str:
    """What the style of a person is called that shows an emotion as well."""
    return f"{person} {emotion}"


@torch.no_grad()
def ready_styles(model: IdiolectModel, corpus: Corpus, people: list[str]) -> dict[str, Tensor]:
    """A style code for each of some people, and their mean.

    A style is the mean of the codes of a person's clips. Where the style carries the emotion too
    (PSE: `model.emotion.given = false`), there is one for each person and emotion.

    Args:
        model: In evaluation mode.
        corpus: What it learnt from.
        people: Of the training split, in the order of their indices in training.

    Returns:
        Codes (d_s,) by name.
    """
    if isinstance(model.style_encoder, IdentityStyles):
        codes = model.style_encoder.codes.weight.detach().cpu().clone()  # weights move on
        # There are codes for all people, and names for the first of them.
        styles = dict(zip(people[:MOST_PEOPLE], codes, strict=False))
        return {**styles, MEAN: codes.mean(0)}
    device = model.null_style.device
    found: dict[str, list[Tensor]] = {}
    chosen = set(people[:MOST_PEOPLE])
    for index, clip in enumerate(corpus.clips):
        if clip.split != "train" or clip.identity not in chosen:
            continue
        name = clip.identity
        if not model.config.emotion.given:
            labels = corpus.clip_emotion(index)
            emotion = int(np.bincount(labels).argmax())
            name = name if emotion == UNKNOWN_EMOTION else styled_name(name, EMOTIONS[emotion])
        codes_so_far = found.setdefault(name, [])
        if len(codes_so_far) == CLIPS_EACH:
            continue
        motion = MotionClip(corpus.clip_motion(index), corpus.channels, corpus.fps, corpus.space)
        example = resample(motion, model.config.style.fps).weights
        given = torch.from_numpy(example)[None].to(device)
        mask = torch.ones(given.shape[:2], dtype=torch.bool, device=device)
        codes_so_far.append(model.encode_style(given, mask)[0].cpu())
    styles = {name: torch.stack(codes).mean(0) for name, codes in sorted(found.items())}
    if styles:
        styles[MEAN] = torch.stack(list(styles.values())).mean(0)
    return styles
