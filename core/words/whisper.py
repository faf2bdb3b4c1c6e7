"""Words from Whisper (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision",
2022), for those who have its weights: the text only; when each word was said is found by
`core.words.aligning`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from core.audio import SAMPLE_RATE_HZ
from core.errors import Cancelled, IdiolectError

WINDOW_S = 30.0
"""Whisper hears half a minute at a time."""
_SEARCHED_S = 5.0
"""The quietest place in the last seconds of a window is where it is cut."""


def transcribe(
    source: str,
    blocks: Iterable[np.ndarray],
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """What is said.

    Args:
        source: A folder written by `save_pretrained`, or a name on the Hugging Face hub.
        blocks: Samples (S,) float32 at 16 kHz.
        report: Called with ("Recognising", windows done, 0).
        stop: Polled between windows.

    Raises:
        IdiolectError: The model cannot be loaded.
        Cancelled: `stop` said so.
    """
    report("Loading Whisper", 0, 1)
    model, processor = _load(source)
    texts: list[str] = []
    for window in windows(blocks):
        if stop():
            raise Cancelled
        report("Recognising", len(texts), len(texts) + 1)
        inputs = processor(window, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(inputs.input_features)
        texts.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
    return " ".join(text for text in texts if text)


def windows(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cuts a stream into windows of at most half a minute, where it is quiet."""
    size, searched = round(WINDOW_S * SAMPLE_RATE_HZ), round(_SEARCHED_S * SAMPLE_RATE_HZ)
    held = np.zeros(0, dtype=np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > size:
            tail = held[size - searched : size]
            hop = SAMPLE_RATE_HZ // 20
            energies = np.square(tail[: len(tail) // hop * hop].reshape(-1, hop)).sum(axis=1)
            cut = size - searched + int(energies.argmin()) * hop + hop // 2
            yield held[:cut]
            held = held[cut:]
    if len(held):
        yield held


@lru_cache(maxsize=1)
def _load(source: str) -> tuple[Any, Any]:
    try:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor
    except (ImportError, OSError, RuntimeError) as error:
        raise IdiolectError(
            f"Whisper needs the transformers package, which does not import: {error}",
            hint="Repair the environment; on Linux without CUDA torchaudio must not be installed.",
            code="missing_package",
            setting="recogniser",
        ) from error
    try:
        # Weights in safetensors only: a pickle from a user's folder is never executed.
        model = WhisperForConditionalGeneration.from_pretrained(source, use_safetensors=True)
        return model.eval(), WhisperProcessor.from_pretrained(source)
    except (OSError, ValueError, TypeError) as error:
        raise IdiolectError(
            f"Cannot load Whisper from '{source}': {error}",
            hint="Give a folder that holds a Whisper model with its processor, or the name of one "
            "on the Hugging Face hub, e.g. openai/whisper-base.en.",
            code="bad_recogniser",
            setting="recogniser",
        ) from error
