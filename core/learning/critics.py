"""The discriminators' side of a training (PSE): is motion real, somebody's own, and in time.

Shapes: B batch, T motion frames, C motion channels, D features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from core.learning import losses
from core.learning.adversaries import StyleDiscriminator, SyncDiscriminator, shifted_in_time
from core.learning.batch import Batch
from core.learning.losses import LossWeights
from core.learning.optim import OptimConfig
from core.learning.sides import Side, Term
from core.model.layers import length_mask
from core.model.model import IdiolectModel

OUT_OF_SYNC_S = 0.2
"""Speech and lips further apart than this are plainly out of sync."""


class Critics(nn.Module):
    """The discriminators."""

    def __init__(self, model: IdiolectModel, identities: int, weights: LossWeights) -> None:
        super().__init__()
        channels = model.config.motion.channels
        speech = model.config.speech.encoder.width
        has_style, has_sync = weights.style_adversary > 0.0, weights.sync_adversary > 0.0
        self.style = StyleDiscriminator(channels, identities) if has_style else None
        self.sync = SyncDiscriminator(channels, speech) if has_sync else None


class Swapped(NamedTuple):
    """Motion of speech in another's style, detached, for the discriminators.

    Attributes:
        motion: (B, T, C).
        speech: (B, T, D) features that know no style.
        identities: (B,) whose style it is.
    """

    motion: Tensor
    speech: Tensor
    identities: Tensor


class CriticsSide(Side):
    """The discriminators, which learn to tell real motion from the model's (LSGAN)."""

    def __init__(
        self,
        model: IdiolectModel,
        critics: Critics,
        optim: OptimConfig,
        weights: LossWeights,
    ) -> None:
        first = weights.first_adversarial_step(optim.steps)
        super().__init__("critics", {"critics": critics}, optim, first)
        self.model, self.critics = model, critics
        self.learning_rate = weights.adversary_rate
        self.betas = (0.9, 0.98)
        self.weight_decay = 0.0

    def rate(self, step: int) -> float:
        """See `Side.rate`."""
        return self.learning_rate

    def terms(self, batch: Batch, step: int, shared: dict[str, Any]) -> dict[str, Term]:
        """See `Side.terms`."""
        swapped: Swapped = shared["swapped"]
        mask = length_mask(batch.motion_lengths, batch.motion.shape[1])
        real, fake = self.model.normalised(batch.motion), self.model.normalised(swapped.motion)
        terms: dict[str, Term] = {}
        if self.critics.style is not None:
            critic = self.critics.style
            says = critic(real, mask, batch.identities)
            loss = losses.critic_loss(says, [critic(fake, mask, swapped.identities)])
            terms["style_critic"] = Term(loss, 1.0)
        if self.critics.sync is not None:
            least = round(OUT_OF_SYNC_S * self.model.config.motion.fps)
            late = shifted_in_time(real, batch.motion_lengths, least)
            says, of_fake, of_late = (
                self.critics.sync(motion, swapped.speech, mask) for motion in (real, fake, late)
            )
            terms["sync_critic"] = Term(losses.critic_loss(says, [of_fake, of_late]), 1.0)
        return terms
