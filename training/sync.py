"""Do lips fit the sound? A network that learnt it from captured motion (SyncNet's idea).

Chung and Zisserman, "Out of time" (2016): two encoders, one for sound and one for lips, learn to
agree on what happens at the same time and to disagree on what does not. Slid against each other
over ±300 ms they tell by how much lips are late, and how surely.

Shapes: B batch, N frames at 50 Hz, M mel bands, C channels, D embedding, K lags.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.audio import SAMPLE_RATE_HZ
from core.model.speech import LogMel
from training.corpus import Corpus
from training.judges import Progress, Standardise, crops, learn, train_clips
from training.metrics import MAX_LAG_S, lag_ms

RATE_HZ = 50
REACH = round(MAX_LAG_S * RATE_HZ)
"""K: the largest lag, in frames at 50 Hz."""
_BANDS, _WIDTH, _EMBEDDING = 40, 64, 48
_BATCH, _CROP_S = 12, 2.4


class SyncJudge(nn.Module):
    """Embeds sound and motion so that what belongs together is near.

    Attributes:
        sizes: What it is built with.
        measured: Median offset (ms) and confidence on clips that it never saw.
    """

    FILE = "sync"

    def __init__(self, channels: int, fps: float) -> None:
        super().__init__()
        self.sizes = {"channels": channels, "fps": fps}
        self.measured: dict[str, float] = {}
        self.fps = fps
        self.log_mel = LogMel(_BANDS)
        self.standardise = Standardise(channels)
        self.sound = _encoder(_BANDS, stride=2)
        self.lips = _encoder(channels, stride=1)
        self.sharpness = nn.Parameter(torch.tensor(2.5))

    def hear(self, samples: Tensor) -> Tensor:
        """Speech (B, S) to (B, N, D)."""
        return F.normalize(
            self.sound(self.log_mel(samples).transpose(1, 2)).transpose(1, 2), dim=-1
        )

    def see(self, motion: Tensor, frames: int) -> Tensor:
        """Motion (B, T, C) to (B, N, D) for N = `frames`."""
        x = self.standardise(motion)
        at = (torch.arange(frames) / RATE_HZ * self.fps).clamp(max=motion.shape[1] - 1)
        before = at.floor().long()
        after = (before + 1).clamp(max=motion.shape[1] - 1)
        share = (at - before)[:, None]
        x = x[:, before] * (1.0 - share) + x[:, after] * share
        return F.normalize(self.lips(x.transpose(1, 2)).transpose(1, 2), dim=-1)

    @torch.inference_mode()
    def curve(self, samples: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """Similarity of lips to the sound, for lips earlier … later by up to 300 ms: (2K + 1,).

        Entry K + k: mean over frames of the cosine between the sound at frame i and the lips at
        i + k. Zeros where the clip is not longer than twice the largest lag.

        Args:
            samples: (S,) level-normalised, 16 kHz.
            motion: (T, C).
        """
        frames = min(len(samples) // 320, int(len(motion) / self.fps * RATE_HZ))
        if frames <= 2 * REACH:
            return np.zeros(2 * REACH + 1)
        heard = self.hear(torch.from_numpy(samples[: frames * 320])[None])[0]
        seen = self.see(torch.from_numpy(np.asarray(motion, np.float32))[None], frames)[0]
        together = (heard @ seen.T).numpy()  # (N, N)
        inner = np.arange(REACH, frames - REACH)
        return np.array([together[inner, inner + k].mean() for k in range(-REACH, REACH + 1)])

    @classmethod
    def train_on(cls, corpus: Corpus, steps: int, progress: Progress | None = None) -> SyncJudge:
        """Train on the training split."""
        clips = train_clips(corpus)
        with torch.random.fork_rng():
            torch.manual_seed(8)
            judge = cls(len(corpus.channels), corpus.fps)
            judge.standardise.measure(corpus, clips)

            def loss(step: int) -> Tensor:
                drawn = list(
                    crops(corpus, clips, _BATCH, _CROP_S, np.random.default_rng((8, step)))
                )
                motion = torch.from_numpy(np.stack([motion for _, _, motion in drawn]))
                frames = int(motion.shape[1] / corpus.fps * RATE_HZ)
                sounds = [_sound(corpus, index, first, frames) for index, first, _ in drawn]
                heard, seen = (
                    judge.hear(torch.from_numpy(np.stack(sounds))),
                    judge.see(motion, frames),
                )
                scores = judge.sharpness.exp() * heard @ seen.transpose(1, 2)  # (B, N, N)
                # The next frame is as good as this one; what is 60 ms off is not.
                apart = torch.arange(frames)[:, None] - torch.arange(frames)[None]
                wanted = torch.softmax(-0.5 * apart.square().float() / 1.5, dim=1)
                both = (scores, scores.transpose(1, 2))
                lost = [-(wanted * score.log_softmax(-1)).sum(-1).mean() for score in both]
                return torch.stack(lost).mean()

            learn(judge, loss, steps, "sync judge", progress)
        judge.measured = judge._check(corpus)
        return judge

    def _check(self, corpus: Corpus) -> dict[str, float]:
        others = [index for index, clip in enumerate(corpus.clips) if clip.split != "train"][:60]
        total = np.zeros(2 * REACH + 1)
        for index in others:
            total += self.curve(corpus.clip_samples(index), corpus.clip_motion(index))
        if not others:
            return {}
        found = {"offset_ms": offset_ms(total), "confidence": confidence(total / len(others))}
        return {name: value for name, value in found.items() if np.isfinite(value)}


def offset_ms(curve: np.ndarray) -> float:
    """By how much lips are behind the sound, by a curve (2K + 1,): ms; not a number if unclear."""
    return lag_ms(curve, RATE_HZ)


def confidence(curve: np.ndarray) -> float:
    """How far the best lag stands out of a curve (2K + 1,): its height above the median."""
    return float(curve.max() - np.median(curve))


def _sound(corpus: Corpus, clip: int, first: int, frames: int) -> np.ndarray:
    """The samples that go with `frames` frames at 50 Hz from motion frame `first` on."""
    start = round(first / corpus.fps * SAMPLE_RATE_HZ)
    samples = corpus.clip_samples(clip)[start : start + frames * 320]
    return np.pad(samples, (0, frames * 320 - len(samples)))


def _encoder(channels: int, stride: int) -> nn.Sequential:
    """(B, channels, stride · N) to (B, D, N), seeing about 200 ms to each side."""
    layers: list[nn.Module] = [nn.Conv1d(channels, _WIDTH, 5, stride, padding=2), nn.GELU()]
    for dilation in (1, 2, 4):
        layers += [nn.Conv1d(_WIDTH, _WIDTH, 3, padding=dilation, dilation=dilation), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv1d(_WIDTH, _EMBEDDING, 1))
