"""What is said, read from motion alone: a recogniser of phones (Mimic, table 1).

A small network with CTC (Graves et al. 2006) learns the phones of the training split from motion,
and is asked for those of clips that it never saw. Mimic reads words; phones need less speech.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import IdiolectError
from core.phones import PHONE_INDEX, PHONES, SILENCE
from training.corpus import UNKNOWN_PHONE, Corpus
from training.judges import Standardise, learn, train_clips

_WIDTH = 96
_BATCH = 12
_BLANK = len(PHONES)


class PhoneError(NamedTuple):
    """How much of the speech motion does not tell.

    Attributes:
        error: Phone error rate: substitutions, deletions and insertions over phones.
        phones: How many were said.
    """

    error: float
    phones: int


class _Recogniser(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.standardise = Standardise(channels)
        self.embed = nn.Linear(channels, _WIDTH)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(_WIDTH, _WIDTH, 5, padding=2 * dilation, dilation=dilation)
            for dilation in (1, 2, 3)
        )
        self.out = nn.Linear(_WIDTH, 2 * (len(PHONES) + 1))

    def forward(self, motion: Tensor) -> Tensor:
        """Log-probabilities (B, 2 T, 41): two for each frame, since phones are short."""
        x = self.embed(self.standardise(motion))
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x.transpose(1, 2)).transpose(1, 2))
        scores = self.out(x)
        return scores.view(len(x), 2 * x.shape[1], -1).log_softmax(-1)


def motion_phone_error(corpus: Corpus, steps: int) -> PhoneError:
    """Train a recogniser on the training split and ask it for all other clips.

    Raises:
        IdiolectError: The corpus knows no phones.
    """
    learnt = [index for index in train_clips(corpus) if len(said(corpus, index))]
    asked = [i for i, clip in enumerate(corpus.clips) if clip.split != "train"]
    asked = [index for index in asked if len(said(corpus, index))]
    if not learnt or not asked:
        raise IdiolectError(
            f"{corpus.folder}: phones are not known in training and test",
            hint="Prepare the corpus with transcripts or TextGrids.",
            code="corpus_mismatch",
            setting="--corpus",
        )
    with torch.random.fork_rng():
        torch.manual_seed(9)
        network = _Recogniser(len(corpus.channels))
        network.standardise.measure(corpus, learnt)

        def loss(step: int) -> Tensor:
            rng = np.random.default_rng((9, step))
            clips = [int(index) for index in rng.choice(learnt, _BATCH)]
            motions = [torch.from_numpy(corpus.clip_motion(index)) for index in clips]
            wanted = [torch.from_numpy(said(corpus, index)) for index in clips]
            lengths = torch.tensor([2 * len(motion) for motion in motions])
            scores = network(nn.utils.rnn.pad_sequence(motions, batch_first=True))
            return F.ctc_loss(
                scores.transpose(0, 1), torch.cat(wanted), lengths,
                torch.tensor([len(labels) for labels in wanted]), _BLANK, zero_infinity=True,
            )  # fmt: skip

        learn(network, loss, steps, "phones from motion")
    wrong = total = 0
    with torch.inference_mode():
        for index in asked:
            truth = said(corpus, index)
            path = network(torch.from_numpy(corpus.clip_motion(index))[None])[0].argmax(-1).numpy()
            found = path[np.flatnonzero(np.diff(path, prepend=-1))]
            wrong += distance(found[found != _BLANK], truth)
            total += len(truth)
    return PhoneError(wrong / total, total)


def said(corpus: Corpus, clip: int) -> np.ndarray:
    """The phones of a clip in order (P,), without pauses; none where some are unknown."""
    labels = corpus.clip_phones(clip).astype(np.int64)
    if (labels == UNKNOWN_PHONE).any():
        return np.zeros(0, np.int64)
    runs = labels[np.flatnonzero(np.diff(labels, prepend=-1))]
    return runs[runs != PHONE_INDEX[SILENCE]]


def distance(first: np.ndarray, second: np.ndarray) -> int:
    """Fewest substitutions, insertions and deletions that turn one sequence into another."""
    row = np.arange(len(second) + 1)
    for place, item in enumerate(first, start=1):
        kept = np.minimum(row[1:] + 1, row[:-1] + (second != item))
        row[0] = place
        for column in range(len(second)):  # an insertion costs one more than what stands before
            kept[column] = min(kept[column], (row[0] if column == 0 else kept[column - 1]) + 1)
        row[1:] = kept
    return int(row[-1])
