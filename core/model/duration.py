"""Phones in time: runs of frame labels, pooling to phones, the length regulator, predictions.

PSE pools its speech features to phones, and expands them again to the length of the expressions
(arXiv 2310.17011); FastSpeech's length regulator (Ren et al. 2019) does the latter.

Shapes: B batch, T motion frames, N speech frames (50 Hz), P phones of the longest clip, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.config import DurationConfig
from core.model.layers import SPEECH_RATE_HZ, sinusoidal_positions
from core.phones import PHONES

UNKNOWN = -1
"""A frame's phone where nobody knows it."""
PLACE_REACH = 25
"""Frames beyond which it no longer matters how far away a phone's beginning or end is."""


class PhoneRuns(NamedTuple):
    """Phones of a batch, one after the other.

    Attributes:
        phones: (B, P) indices into `core.phones.PHONES`; 0 in padding.
        durations: (B, P) frames, adding up to each clip's length; 0 in padding.
        phone_of_frame: (B, T) which phone each frame belongs to; padded frames belong to the last.
    """

    phones: Tensor
    durations: Tensor
    phone_of_frame: Tensor


def phone_runs(labels: Tensor, mask: Tensor) -> PhoneRuns:
    """Runs of equal labels.

    Args:
        labels: (B, T) phone of each frame.
        mask: (B, T), True on real frames, which come first.
    """
    changes = (labels.diff(dim=1) != 0) & mask[:, 1:]
    index = F.pad(changes.long().cumsum(1), (1, 0))
    count = int(index.max()) + 1
    durations = torch.zeros(len(labels), count, dtype=torch.long, device=labels.device)
    durations = durations.scatter_add(1, index, mask.long())
    # Every frame of a run says the same, padding aside, which is not to have the last word.
    phones = torch.zeros_like(durations).scatter_reduce(
        1, index, labels * mask, "amax", include_self=True
    )
    return PhoneRuns(phones, durations, index)


def pool(features: Tensor, runs: PhoneRuns, mask: Tensor) -> Tensor:
    """Mean of the features (B, T, D) over each phone's frames: (B, P, D)."""
    index = runs.phone_of_frame[..., None].expand_as(features)
    sums = features.new_zeros(*runs.durations.shape, features.shape[-1])
    sums = sums.scatter_add(1, index, features * mask[..., None])
    return sums / runs.durations.clamp_min(1)[..., None].to(sums.dtype)


def round_durations(durations: Tensor, totals: Tensor) -> Tensor:
    """Whole frames of durations that add up exactly.

    The ENDS of phones are rounded, not their lengths, so that errors never add up.

    Args:
        durations: (B, P) at least 0, in any unit; padding is 0.
        totals: (B,) frames that each row has to fill.

    Returns:
        (B, P) whole numbers; row b adds up to totals[b].
    """
    ends = durations.double().cumsum(1)
    scale = totals[:, None] / ends[:, -1:].clamp_min(1e-9)
    whole = (ends * scale).round().long()
    # A row of nothing but zeros gives all its frames to the first phone.
    whole = torch.where(ends[:, -1:] > 0, whole, totals[:, None].long())
    return whole.diff(dim=1, prepend=torch.zeros_like(whole[:, :1]))


def expand(features: Tensor, durations: Tensor, frames: int) -> Tensor:
    """The length regulator: each phone's features (B, P, D), repeated for its frames.

    Args:
        features: (B, P, D).
        durations: (B, P) whole frames.
        frames: T; rows whose durations add up to less hold their last phone.

    Returns:
        (B, T, D).
    """
    index = expanded_index(durations, frames)
    return features.gather(1, index[..., None].expand(-1, -1, features.shape[-1]))


def expanded_index(durations: Tensor, frames: int) -> Tensor:
    """Which phone (B, T) each frame belongs to under durations (B, P)."""
    ends = durations.cumsum(1)
    time = torch.arange(frames, device=durations.device).expand(len(durations), -1).contiguous()
    index = torch.searchsorted(ends, time, right=True)
    last = (durations > 0).long().cumsum(1).argmax(1, keepdim=True)
    return torch.minimum(index, last)


def place_in_phone(runs: PhoneRuns) -> tuple[Tensor, Tensor]:
    """Frames from the beginning and to the end of each frame's phone, (B, T) each, from 0.

    Both end at `PLACE_REACH`, so that a window of a long pause tells what the whole would.
    """
    ends = runs.durations.cumsum(1)
    end = ends.gather(1, runs.phone_of_frame)
    start = end - runs.durations.gather(1, runs.phone_of_frame)
    time = torch.arange(runs.phone_of_frame.shape[1], device=ends.device)
    after, before = time - start, end - 1 - time
    return after.clamp(0, PLACE_REACH), before.clamp(0, PLACE_REACH)


def heard_phones(posteriors: Tensor, lengths: Tensor, frames: int, fps: float) -> Tensor:
    """The likeliest phone (B, T) at each motion frame.

    Posteriors are averaged over 60 ms: a phone of 20 ms is a slip of the recogniser.

    Args:
        posteriors: (B, N, 40) at 50 Hz.
        lengths: (B,) real speech frames; after them the last one holds.
        frames: T.
        fps: Motion frames a second.
    """
    last = (lengths - 1).clamp_min(0)[:, None]
    time = torch.arange(posteriors.shape[1] + 1, device=posteriors.device)[None]
    held = torch.minimum(time, last)[..., None].expand(-1, -1, posteriors.shape[-1])
    padded = F.pad(posteriors.gather(1, held).transpose(1, 2), (1, 0), mode="replicate")
    smooth = F.avg_pool1d(padded, 3, stride=1)  # (B, 40, N)
    at = (torch.arange(frames, device=posteriors.device) * (SPEECH_RATE_HZ / fps)).round().long()
    return smooth.argmax(1).gather(1, torch.minimum(at[None], last))


class DurationPredictor(nn.Module):
    """Predicts log(d + 1) of each phone, d in frames (FastSpeech 2, section 2.3)."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        sizes = (width, hidden)
        self.convolutions = nn.ModuleList(nn.Conv1d(n, hidden, 3, padding=1) for n in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in sizes)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)

    def forward(self, phones: Tensor, mask: Tensor) -> Tensor:
        """Map phone features (B, P, D) to (B, P); `mask` (B, P) is True on real phones."""
        x = phones
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x.masked_fill(~mask[..., None], 0.0).transpose(1, 2)
            x = self.dropout(norm(F.relu(convolution(x).transpose(1, 2))))
        return self.out(x)[..., 0]


class PhoneReading(NamedTuple):
    """What was read about phones, for the losses.

    Attributes:
        scores: (B, T, 40) of the phone head, or None.
        log_durations: (B, P) predicted log(d + 1), or None.
        runs: The phones that were gone by.
    """

    scores: Tensor | None
    log_durations: Tensor | None
    runs: PhoneRuns


class PhoneModel(nn.Module):
    """Phones between speech encoder and decoder (PSE).

    Expansion goes by the durations MEASURED on the given speech: predicted ones cannot match it.
    """

    def __init__(self, config: DurationConfig, width: int, fps: float) -> None:
        super().__init__()
        self.config = config
        self.fps = fps
        self.head = nn.Linear(width, len(PHONES)) if config.phone_head else None
        pooled = config.expansion or config.predictor
        self.embedding = nn.Embedding(len(PHONES), width) if pooled else None
        self.predictor = (
            DurationPredictor(width, config.width, config.dropout) if config.predictor else None
        )
        self.places = nn.Linear(width + 2, width) if config.positions else None
        if self.places is not None:  # begins as if there were none: a trained model can take it on
            nn.init.zeros_(self.places.weight)
            nn.init.zeros_(self.places.bias)

    @property
    def reach(self) -> int | None:
        """Frames on each side that one output frame depends on; None when it is all of them."""
        if self.config.expansion:
            return None
        return PLACE_REACH + 2 if self.config.positions else 0

    def forward(
        self,
        free: Tensor,
        styled: Tensor,
        known: Tensor | None,
        heard: Tensor | None,
        mask: Tensor,
        planted: PhoneRuns | None = None,
    ) -> tuple[Tensor, PhoneReading]:
        """Go from speech features to what the decoder reads.

        Args:
            free: (B, T, D) features that know no style.
            styled: (B, T, D) style-adaptive ones.
            known: (B, T) phone of each frame, `UNKNOWN` where it is not, or None.
            heard: (B, T) phones that the backbone heard, or None.
            mask: (B, T), True on real frames.
            planted: The same phones with durations by which features are expanded instead of the
                measured ones, to see what wrong ones do.

        Returns:
            (B, T, D) features for the decoder, and what was read.
        """
        read = free if self.config.style_free else styled
        scores = self.head(read) if self.head is not None else None
        runs = phone_runs(_labels(known, heard, scores, mask), mask)
        log_durations = None
        if self.predictor is not None and self.embedding is not None:
            phones = pool(read, runs, mask) + self.embedding(runs.phones)
            log_durations = self.predictor(phones, runs.durations > 0)
        laid = runs if planted is None else planted
        if self.config.expansion and self.embedding is not None:
            phones = pool(styled, runs, mask) + self.embedding(runs.phones)
            styled = expand(phones, laid.durations, mask.shape[1])
        if self.places is not None:
            styled = styled + self.places(self._places(laid, styled))
        return styled, PhoneReading(scores, log_durations, runs)

    def _places(self, runs: PhoneRuns, like: Tensor) -> Tensor:
        """Duration positions (B, T, D + 2): a sinusoid that begins anew at each phone, the relative
        progress through it, and its logarithmic duration.
        """
        after, before = place_in_phone(runs)
        table = sinusoidal_positions(PLACE_REACH + 1, like.shape[-1], like)
        count = (after + before + 1).to(like.dtype)
        progress = (after.to(like.dtype) + 0.5) / count
        return torch.cat([table[after], progress[..., None], count.log()[..., None]], dim=-1)


def _labels(
    known: Tensor | None, heard: Tensor | None, scores: Tensor | None, mask: Tensor
) -> Tensor:
    """Phone of each frame (B, T): known, else heard by the backbone, else read by the head."""
    if heard is None and scores is not None:
        heard = scores.argmax(-1)
    if heard is None:
        heard = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
    return heard if known is None else torch.where(known == UNKNOWN, heard, known)
