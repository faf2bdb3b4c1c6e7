"""Phones of a transcript by a CTC recogniser of phones: another aligner for `training.prepare`.

    python -m training.prepare READER SOURCE OUT --ctc facebook/wav2vec2-lv-60-espeak-cv-ft

Any wav2vec 2.0 model with a CTC head over IPA phones will do, by a folder or by a name on the
Hugging Face hub. Its tokens are brought to our phones; then the best path of the text's phones
through the scores is found, by `torchaudio.functional.forced_align` where torchaudio imports, else
here. Blanks belong to the phone before them, long ones are a pause (PSE).

Shapes: N frames, K classes of which the last is the blank, P phones of the text.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.audio import SAMPLE_RATE_HZ
from core.errors import IdiolectError
from core.phones import PHONE_INDEX, PHONES, SILENCE, Segment
from core.words.pronunciation import pronunciations
from core.words.spoken_text import spoken_words
from training.synthesis.phone_sets import phones_of_ipa

log = logging.getLogger(__name__)

BLANK = len(PHONES)
LONGEST_HOLD_S = 0.12
"""Blanks after a phone are taken for more of it up to here; what is beyond is a pause."""
_NEVER = -1e9


class CtcAligner:
    """Aligns transcripts by a recogniser of phones."""

    def __init__(self, source: str) -> None:
        """Load the recogniser.

        Args:
            source: A folder, or a name on the Hugging Face hub.

        Raises:
            IdiolectError: It cannot be loaded, or its tokens are not phones.
        """
        try:
            from transformers import AutoConfig, Wav2Vec2ForCTC
            from transformers.utils import cached_file

            vocabulary = _vocabulary(Path(str(cached_file(source, "vocab.json"))))
            self._network: Any = Wav2Vec2ForCTC.from_pretrained(source, use_safetensors=True).eval()
            self._hop = int(np.prod(AutoConfig.from_pretrained(source).conv_stride))
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise IdiolectError(
                f"the recogniser '{source}' cannot be loaded: {error}",
                hint="Give a folder with config.json, vocab.json and model.safetensors, or leave "
                "--ctc out: pocketsphinx aligns then.",
                code="bad_aligner",
                setting="--ctc",
            ) from error
        self._classes = classes_of(vocabulary, source)

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray, text: str) -> list[Segment] | None:
        """The phones of a text in samples (S,) at 16 kHz; None where it does not fit."""
        words = spoken_words(text)
        phones = [phone for word in words for phone in pronunciations(word)[0]]
        if not phones:
            return None
        given = torch.from_numpy((samples - samples.mean()) / (samples.std() + 1e-7))[None]
        scores = self._network(given.float()).logits[0].log_softmax(-1).numpy()
        merged = merged_scores(scores, self._classes)
        targets = np.array([PHONE_INDEX[phone] for phone in phones])
        path = best_path(merged, targets)
        if path is None:
            log.warning("no alignment for %r: more phones than frames", text[:60])
            return None
        seconds = len(samples) / SAMPLE_RATE_HZ
        return phone_segments(path, phones, self._hop / SAMPLE_RATE_HZ, seconds)


def classes_of(vocabulary: dict[str, int], source: str) -> np.ndarray:
    """Our class of each token (V,): a phone, the blank, or −1 for what is neither.

    Raises:
        IdiolectError: Hardly any phone has a token.
    """
    classes = np.full(max(vocabulary.values()) + 1, -1)
    for token, index in vocabulary.items():
        found = phones_of_ipa(token) if token and not token.startswith("<") else []
        if token in ("<pad>", "[PAD]"):
            classes[index] = BLANK
        elif len(found) == 1:
            classes[index] = PHONE_INDEX[found[0]]
    known = len(set(classes.tolist()) - {-1, BLANK})
    if known < 30 or BLANK not in classes:
        raise IdiolectError(
            f"the recogniser '{source}' does not write phones: {known} of {len(PHONES)} were found",
            hint="Choose one that writes IPA, such as facebook/wav2vec2-lv-60-espeak-cv-ft.",
            code="bad_aligner",
            setting="--ctc",
        )
    return classes


def merged_scores(scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, V) of tokens as those of our classes (N, K): tokens of one class add
    up.
    """
    merged = np.full((len(scores), BLANK + 1), _NEVER, np.float32)
    for kind in range(BLANK + 1):
        own = scores[:, : len(classes)][:, classes == kind]
        if own.shape[1]:
            merged[:, kind] = np.logaddexp.reduce(own, axis=1)
    return merged


def best_path(scores: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """The likeliest way to say exactly `targets`, by CTC's rules.

    Args:
        scores: (N, K) log-probabilities.
        targets: (P,) phones, of which two alike in a row need a blank between them.

    Returns:
        (N,) place in `targets` of each frame's phone, −1 for blanks; None where there are fewer
        frames than the targets need.
    """
    repeats = int((np.diff(targets) == 0).sum())
    if len(targets) == 0 or len(scores) < len(targets) + repeats:
        return None
    labels = _by_torchaudio(scores, targets)
    if labels is None:
        return _viterbi(scores, targets)
    starts = (labels != BLANK) & (np.diff(labels, prepend=BLANK) != 0)
    return np.where(labels == BLANK, -1, np.cumsum(starts) - 1)


def _by_torchaudio(scores: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Class of each frame (N,), where torchaudio is there to say it."""
    try:
        from torchaudio.functional import forced_align
    except (ImportError, OSError, RuntimeError, AttributeError):
        return None  # it exists for few builds of PyTorch; on Linux not beside a CPU build
    given = torch.from_numpy(np.ascontiguousarray(scores))[None]
    wanted = torch.from_numpy(targets.astype(np.int32))[None]
    found, _ = forced_align(given, wanted, blank=BLANK)
    return found[0].numpy()


def _viterbi(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The best path through blank, phone, blank, phone, …, blank (Graves et al. 2006)."""
    states = np.full(2 * len(targets) + 1, BLANK)
    states[1::2] = targets
    # A blank may be left out between two phones that differ.
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = targets[1:] != targets[:-1]
    best = np.full(len(states), _NEVER, np.float64)
    best[:2] = scores[0, states[:2]]
    came = np.zeros((len(scores), len(states)), np.int8)
    for frame in range(1, len(scores)):
        one = np.concatenate([[_NEVER], best[:-1]])
        two = np.where(may_skip, np.concatenate([[_NEVER] * 2, best[:-2]]), _NEVER)
        ways = np.stack([best, one, two])
        came[frame] = ways.argmax(axis=0)
        best = ways.max(axis=0) + scores[frame, states]
    state = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    path = np.empty(len(scores), np.int64)
    for frame in range(len(scores) - 1, -1, -1):
        path[frame] = state // 2 if state % 2 else -1
        state -= int(came[frame, state])
    return path


def phone_segments(
    path: np.ndarray, phones: list[str], frame_s: float, duration_s: float
) -> list[Segment]:
    """Phones in time, without gaps.

    Args:
        path: (N,) place in `phones` of each frame, −1 for blanks.
        phones: The phones of the text.
        frame_s: Seconds from frame to frame.
        duration_s: Length of the clip.
    """
    said = np.flatnonzero(path >= 0)
    first = {int(path[n]): int(n) for n in said[::-1]}
    last = {int(path[n]): int(n) for n in said}
    segments: list[Segment] = []
    end = 0.0
    for place, phone in enumerate(phones):
        start = first[place] * frame_s
        if start > end:
            segments.append(Segment(SILENCE, end, start))
        following = first[place + 1] * frame_s if place + 1 < len(phones) else duration_s
        end = min(following, (last[place] + 1) * frame_s + LONGEST_HOLD_S)
        if following - end < LONGEST_HOLD_S and place + 1 < len(phones):
            end = following  # too short for a pause
        segments.append(Segment(phone, start, end))
    if end < duration_s:
        segments.append(Segment(SILENCE, end, duration_s))
    return segments


def _vocabulary(path: Path) -> dict[str, int]:
    return {str(token): int(index) for token, index in json.loads(path.read_text("utf-8")).items()}
