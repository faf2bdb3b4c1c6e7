"""What a run teaches: who learns, and whether the losses and the model's parts fit each other.

Mimic's whole loss is its equation 10; PSE adds velocity, durations and discriminators. Every term
has a weight (`core.learning.losses.LossWeights`), and one of weight 0 is not computed.
"""

from __future__ import annotations

from core.errors import IdiolectError
from core.learning import losses
from core.learning.critics import Critics, CriticsSide
from core.learning.face import FaceMeasures
from core.learning.losses import LossWeights
from core.learning.model_side import ModelSide, Readers
from core.learning.optim import OptimConfig
from core.learning.sides import Side
from core.model.model import IdiolectModel
from core.model.speech import SpeechBackbone
from core.model.style import IdentityStyles


def sides_for(
    model: IdiolectModel,
    *,
    identities: int,
    traits: int,
    face: FaceMeasures,
    optim: OptimConfig,
    weights: LossWeights,
    backbone: SpeechBackbone | None = None,
) -> list[Side]:
    """Everybody who learns in a run.

    Args:
        model: What is taught.
        identities: Number of people in the training split.
        traits: Number of traits known of each; 0 for captured people.
        face: The face that the motion drives.
        optim: How weights move.
        weights: What counts how much.
        backbone: The speech backbone, where it learns as well.

    Raises:
        IdiolectError: A term asks for a part that the model does not have.
    """
    _check(model, weights)
    critics = Critics(model, identities, weights) if weights.has_adversaries else None
    readers = Readers(model, identities, traits)
    model_side = ModelSide(model, readers, critics, face, optim, weights, backbone)
    return (
        [model_side]
        if critics is None
        else [model_side, CriticsSide(model, critics, optim, weights)]
    )


def _check(model: IdiolectModel, weights: LossWeights) -> None:
    parts = model.config.duration
    by_identity = isinstance(model.style_encoder, IdentityStyles)
    wanted = {
        "model.content.code": weights.uses_content and model.content_encoder is None,
        "model.duration.phone_head": weights.phones > 0.0 and not parts.phone_head,
        "model.duration.predictor": weights.durations > 0.0 and not parts.predictor,
        "model.emotion.encoder": weights.emotion_reading > 0.0 and model.emotion_encoder is None,
        "model.style.kind": weights.style_cycle > 0.0 and by_identity,
    }
    for setting, missing in wanted.items():
        if missing:
            raise IdiolectError(
                f"the losses ask for a part that the model does not have: {setting}",
                hint="Switch the part on, or give the terms that need it the weight 0.",
                code="config_invalid",
                setting=setting,
            )
    losses.inverse_identity_weight(weights.identity_schedule, 0.0)
