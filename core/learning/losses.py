"""The losses, each a plain function of predicted and true motion.

Shapes: B batch, T motion frames, C channels, L lip pairs. `mask` (B, T) is True on real frames;
every mean is taken over real frames only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import IdiolectError
from core.learning.adversaries import reversal_ramp
from core.model.emotion import complete_intensities, emotion_known

PUBLISHED_VARIANCE = 1.39e-6
"""Variance, in m², of the motion that Mimic's weights were published for. Its squared errors are in
m²; where they are in units of the motion's own variance, the other terms' weights are divided by
it: 2.5e-7 becomes .18."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term; 0 switches it off, and then it is not computed."""

    reconstruction: float = 10.0
    """L1 between predicted and true motion (PSE's weight)."""
    squared_error: float = 0.0
    """Mean square error between them, in units of `variance` (Mimic, eq. 9)."""
    variance: float = 0.0
    """What squared errors are divided by; 0 takes the variance of the corpus' motion, 1 leaves
    them in the motion's unit, as Mimic's published weights have them."""
    velocity: float = 10.0
    """L1 between their frame-to-frame changes (PSE's weight)."""
    lips: float = 0.2
    """Error of the gap between the lips, in millimetres, heaviest where the lips should be shut."""
    closure_sharpness: float = 0.7
    """How fast that weight falls with the true gap: exp(-sharpness · gap in mm)."""
    lip_range: float = 0.0
    """Error of how far the lips move in a clip: the deviation of their gap, in millimetres."""
    silence: float = 2.0
    """Movement of the mouth while nobody speaks."""
    identity: float = 0.1
    """Cross-entropy of the identity read from the style code (Mimic, eq. 2)."""
    traits: float = 1.0
    """Error of the traits read from the style code, where the corpus knows them. Who someone is can
    be told from a resting smile alone; how far the jaw opens must be asked for."""
    emotion_adversary: float = 0.0
    """Cross-entropy of the emotion that a classifier reads from the style code; the code learns to
    hide it (gradient reversal), so that style and emotion are independent."""
    emotion_reading: float = 0.0
    """Cross-entropy of the emotion that the emotion encoder reads from motion."""
    content_branch: float = 0.0
    """Share with which motion decoded from style and CONTENT codes counts beside that from style
    and speech, in `reconstruction`, `squared_error` and `velocity` (Mimic, eq. 9: 1)."""
    content_identity: float = 0.0
    """Cross-entropy of the identity that a classifier reads from content codes, which learn to hide
    it (Mimic, eq. 3; PSE)."""
    identity_schedule: str = "ramp"
    """How hard they hide it: "ramp" rises from .1 to 1 (PSE); "mimic" is as in Mimic's code, whole
    for 13 % of the training, a tenth up to 27 %, then a half."""
    contrastive: float = 0.0
    """Contrastive loss between content codes and speech features of each frame (Mimic, eq. 4–6)."""
    style_cycle: float = 0.0
    """1 − cosine of a style code that another clip was decoded with, and the code read from the
    result (Mimic, eq. 7)."""
    content_cycle: float = 0.0
    """Contrastive loss between a clip's content codes and those read from it after it was decoded
    in another style (Mimic, eq. 8)."""
    phones: float = 0.0
    """Cross-entropy of the phone head's phones."""
    durations: float = 0.0
    """Square error of predicted log(d + 1) (PSE: 1)."""
    style_adversary: float = 0.0
    """What the style discriminator says of motion decoded in another's style (PSE: 1)."""
    sync_adversary: float = 0.0
    """What the synchrony discriminator says of it (PSE: 1)."""
    adversaries_from: float = 0.2
    """Share of the training after which discriminators begin."""
    adversary_rate: float = 2e-4
    """Their learning rate."""

    def first_adversarial_step(self, steps: int) -> int:
        """First step of the discriminators in a training of so many."""
        return int(self.adversaries_from * steps)

    @property
    def swaps_content(self) -> bool:
        """Whether motion is decoded from content codes in another's style."""
        return self.style_cycle > 0.0 or self.content_cycle > 0.0

    @property
    def has_adversaries(self) -> bool:
        """Whether there are discriminators."""
        return self.style_adversary > 0.0 or self.sync_adversary > 0.0

    @property
    def uses_content(self) -> bool:
        """Whether anything asks for content codes."""
        asked = (self.content_branch, self.content_identity, self.contrastive)
        return self.swaps_content or any(weight > 0.0 for weight in asked)


def reconstruction_loss(
    predicted: Tensor, true: Tensor, mask: Tensor, channel_weights: Tensor
) -> Tensor:
    """Weighted L1 over channels (C,)."""
    error = ((predicted - true).abs() * channel_weights).sum(-1) / channel_weights.sum()
    return _mean(error, mask)


def velocity_loss(predicted: Tensor, true: Tensor, mask: Tensor, channel_weights: Tensor) -> Tensor:
    """Weighted L1 between changes from frame to frame."""
    return reconstruction_loss(
        predicted.diff(dim=1), true.diff(dim=1), mask[:, 1:] & mask[:, :-1], channel_weights
    )


def squared_loss(predicted: Tensor, true: Tensor, mask: Tensor, variance: float) -> Tensor:
    """Mean square error over channels and frames, in units of `variance` (Mimic, eq. 9)."""
    return _mean((predicted - true).square().mean(-1), mask) / variance


def lip_loss(
    predicted: Tensor,
    true: Tensor,
    mask: Tensor,
    lip_matrix: Tensor,
    lip_rest: Tensor,
    sharpness: float,
) -> Tensor:
    """Error of the lips' gap, weighted by how shut they should be, or are.

    An ARKit face is linear in its weights, so the signed gap of a lip pair is too:
    rest + matrix · w. The weight exp(-k · gap) is Audio2Face-3D's (arXiv 2508.16401): a closure
    missed by a millimetre is seen, a wide vowel off by one is not. We take the smaller of the true
    and the predicted gap: weighed by the true one alone, closing always is the safe bet, and an
    unsure model mumbles through closed lips.

    Args:
        predicted: (B, T, C).
        true: (B, T, C).
        mask: (B, T).
        lip_matrix: (L, C), millimetres for a full weight.
        lip_rest: (L,) gap of the neutral face, millimetres.
        sharpness: k, in 1/mm.
    """
    gap = (predicted @ lip_matrix.T + lip_rest).mean(-1)  # (B, T)
    wanted = (true @ lip_matrix.T + lip_rest).mean(-1)
    tightest = torch.minimum(wanted, gap.detach()).clamp_min(0.0)
    weight = torch.exp(-sharpness * tightest) + 0.1
    return _mean((gap - wanted).abs() * weight, mask)


def lip_range_loss(predicted: Tensor, true: Tensor, mask: Tensor, lip_matrix: Tensor) -> Tensor:
    """Error of the deviation over time of the lips' gap, in millimetres.

    Whoever is unsure is nearest to every performance by moving less than any of them does: errors
    by frame make lips that move too little, and that is what this asks for.

    Args:
        predicted: (B, T, C).
        true: (B, T, C).
        mask: (B, T).
        lip_matrix: (L, C), millimetres for a full weight.
    """

    def deviation(motion: Tensor) -> Tensor:
        gap = (motion @ lip_matrix.T).mean(-1)  # (B, T), but for the gap at rest
        weight = mask.to(gap.dtype)
        count = weight.sum(1, keepdim=True).clamp_min(1.0)
        mean = (gap * weight).sum(1, keepdim=True) / count
        return ((gap - mean).square() * weight).sum(1).div(count[:, 0]).add(1e-4).sqrt()

    return (deviation(predicted) - deviation(true)).abs().mean()


def silence_loss(predicted: Tensor, silent: Tensor, mask: Tensor, mouth: Tensor) -> Tensor:
    """Mean absolute change of the mouth's channels (`mouth`, (C,) bool) in silent frames (B, T)."""
    still = silent[:, 1:] & silent[:, :-1] & mask[:, 1:]
    return _mean(predicted.diff(dim=1)[..., mouth].abs().mean(-1), still)


def identity_loss(scores: Tensor, identities: Tensor) -> Tensor:
    """Cross-entropy of identity scores (B, I) against identity indices (B,), strangers (−1) left
    out; Mimic, eq. 2.
    """
    found = F.cross_entropy(scores, identities.clamp_min(0), reduction="none")
    return _mean(found, identities >= 0)


def traits_loss(read: Tensor, traits: Tensor) -> Tensor:
    """Mean square error of standardised traits (B, K)."""
    return F.mse_loss(read, traits)


def inverse_identity_weight(schedule: str, done: float) -> tuple[float, float]:
    """How hard content codes hide the identity, at the share `done` of the training.

    Returns:
        Scale of the reversed gradient, and a factor on the term's weight.

    Raises:
        IdiolectError: There is no such schedule.
    """
    if schedule == "ramp":
        return reversal_ramp(done), 1.0
    if schedule == "mimic":  # epochs 20 and 40 of 150 in the official code
        return 1.0, 1.0 if done < 20 / 150 else 0.1 if done < 40 / 150 else 0.5
    raise IdiolectError(
        f"unknown schedule '{schedule}'",
        hint="Use 'ramp' or 'mimic'.",
        code="config_invalid",
        setting="loss.identity_schedule",
    )


def contrastive_loss(
    first: Tensor, second: Tensor, mask: Tensor, temperature: Tensor, share: float = 0.5
) -> Tensor:
    """Contrastive loss between the frames of two sequences, in both directions (Mimic, eq. 4–6).

    Frame i of one and frame i of the other belong together; the other frames of the same clip are
    what it is told apart from. Similarity is the cosine over the temperature.

    Args:
        first: (B, T, D) content codes.
        second: (B, T, D) speech features.
        mask: (B, T), True on real frames.
        temperature: A number above 0.
        share: Weight of the direction from first to second (the paper's λ); the other has the rest.
    """
    similarity = F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).mT / temperature
    similarity = similarity.masked_fill(~mask[:, None], torch.finfo(similarity.dtype).min)
    forward = -similarity.log_softmax(-1).diagonal(dim1=1, dim2=2)  # (B, T)
    columns = similarity.masked_fill(~mask[..., None], torch.finfo(similarity.dtype).min)
    backward = -columns.log_softmax(1).diagonal(dim1=1, dim2=2)
    return _mean(share * forward + (1.0 - share) * backward, mask)


def style_cycle_loss(given: Tensor, found: Tensor) -> Tensor:
    """1 − cosine of the codes (B, D) given to the decoder and read from the result (Mimic, eq. 7,
    where the paper forgets "1 −"); the given ones are a target, and do not move.
    """
    return (1.0 - F.cosine_similarity(given.detach(), found, dim=-1)).mean()


def phone_loss(scores: Tensor, phones: Tensor) -> Tensor:
    """Cross-entropy of scores (B, T, 40) against phones (B, T), −1 where not known."""
    known = phones >= 0
    losses = F.cross_entropy(scores.mT, phones.clamp_min(0), reduction="none")
    return _mean(losses, known)


def duration_loss(log_durations: Tensor, durations: Tensor) -> Tensor:
    """Mean square error of log(d + 1) (B, P) for durations d (B, P) in frames, 0 in padding."""
    wanted = (durations + 1).to(log_durations.dtype).log()
    return _mean((log_durations - wanted).square(), durations > 0)


def critic_loss(real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
    """What a discriminator learns (LSGAN): 1 for what is real (B,), 0 for each kind of fake."""
    return (real - 1.0).square().mean() + torch.stack([f.square().mean() for f in fakes]).mean()


def adversarial_loss(fake: Tensor) -> Tensor:
    """What the model learns from a discriminator's scores (B,) (LSGAN)."""
    return (fake - 1.0).square().mean()


def emotion_loss(scores: Tensor, emotion: Tensor) -> Tensor:
    """Cross-entropy of scores (…, 8) against intensities (…, 8), over frames or clips whose
    emotion is known (not NaN).
    """
    wanted = complete_intensities(emotion)
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp_min(1e-6)
    return _mean(-(wanted * scores.log_softmax(-1)).sum(-1), emotion_known(emotion))


def mean_emotion(emotion: Tensor) -> Tensor:
    """Mean intensities (B, 8) over the known frames of (B, T, 8); NaN where none is known."""
    return emotion.nanmean(1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp_min(1.0)
