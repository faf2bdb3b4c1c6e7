"""What the speech backbone hears in a corpus, computed once and kept beside it.

The backbone is frozen while the decoder learns, and the decoder learns from the backbone's own
outputs, errors and all, since those are what it will be given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from core.errors import IdiolectError
from core.files import atomic_path
from core.model.speech import SpeechBackbone, prosody
from core.phones import PHONES
from training.corpus import Corpus, FeatureStore

_TRACKS = ("hidden", "posteriors", "prosody")


def corpus_features(
    corpus: Corpus,
    backbone: SpeechBackbone,
    progress: Callable[[str, int, int], None] | None = None,
) -> FeatureStore:
    """Speech tracks of all clips; computed on the first call for this backbone, then read back.

    Args:
        corpus: The corpus.
        backbone: With its weights, in evaluation mode.
        progress: Called with ("speech features", done, total).
    """
    folder = corpus.folder / f"features-{_fingerprint(backbone, corpus)}"
    counts = [clip.samples // 320 for clip in corpus.clips]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    if not (folder / "done").exists():
        _compute(corpus, backbone, folder, offsets, progress)
    try:
        tracks = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _TRACKS]
    except (OSError, ValueError) as error:
        raise IdiolectError(
            f"the speech features in {folder} are damaged: {error}",
            hint=f"Delete {folder}; they are computed again.",
            code="features_damaged",
            setting="--corpus",
        ) from error
    return FeatureStore(offsets, *tracks)


@torch.inference_mode()
def _compute(
    corpus: Corpus,
    backbone: SpeechBackbone,
    folder: Path,
    offsets: np.ndarray,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    total = int(offsets[-1])
    hidden = np.zeros((total, backbone.feature_dim), np.float16)
    posteriors = np.zeros((total, len(PHONES)), np.float16)
    voice = np.zeros((total, 4), np.float16)
    backbone.eval()
    for index in range(len(corpus.clips)):
        samples = torch.from_numpy(corpus.clip_samples(index))[None]
        heard = backbone(samples)
        here = slice(int(offsets[index]), int(offsets[index + 1]))
        hidden[here] = heard.hidden[0].numpy()
        if heard.phone_logits is not None:
            posteriors[here] = heard.phone_logits[0].softmax(-1).numpy()
        voice[here] = prosody(samples)[0].numpy()
        if progress:
            progress("speech features", index + 1, len(corpus.clips))
    for name, track in zip(_TRACKS, (hidden, posteriors, voice), strict=True):
        with atomic_path(folder / f"{name}.npy") as path:
            np.save(path, track, allow_pickle=False)
    (
        folder / "done"
    ).touch()  # last, so that an interrupted computation is not taken for a whole one


def _fingerprint(backbone: SpeechBackbone, corpus: Corpus) -> str:
    """A short name for these weights on this corpus' speech."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    digest.update(np.asarray(corpus.sample_offsets).tobytes())
    digest.update(np.ascontiguousarray(corpus.samples[::4001]).tobytes())
    return digest.hexdigest()
