"""Two compact backbones that listen to the same sound: fewer phones misheard than by either.

Networks that were trained apart err apart. Averaging what they believe of each frame is the plain
form of "deep ensembles" (Lakshminarayanan et al., NeurIPS 2017). The first one's features are what
the decoder learnt from, so they stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from core.errors import IdiolectError
from core.model.speech import (
    SAMPLES_PER_FRAME,
    CompactBackbone,
    CompactBackboneConfig,
    SpeechBackbone,
    SpeechFeatures,
)


class PairedBackbone(SpeechBackbone):
    """Hidden features of the first network, phones by both.

    Args:
        first: Sizes of the first.
        second: Sizes of the second, which must hear as many mel bands.
        share: What the second's opinion counts, 0..1; the first's counts the rest.

    Raises:
        IdiolectError: They do not, or the share is none.
    """

    phone_logits_available = True
    hears_batches = True

    def __init__(
        self, first: CompactBackboneConfig, second: CompactBackboneConfig, share: float = 0.5
    ) -> None:
        super().__init__()
        if not 0.0 < share < 1.0:
            raise IdiolectError(
                f"the second speech backbone's share must lie between 0 and 1, not {share:g}",
                code="config_invalid",
                setting="backbone.second_share",
            )
        if first.mel_bands != second.mel_bands:
            raise IdiolectError(
                f"the two speech backbones hear {first.mel_bands} and {second.mel_bands} bands",
                hint="Train both with the same number of mel bands.",
                code="config_invalid",
                setting="backbone.second.mel_bands",
            )
        self.first, self.second = CompactBackbone(first), CompactBackbone(second)
        self.share = share
        self.log_mel = self.first.log_mel
        self.feature_dim = self.first.feature_dim
        self.context_frames: int | None = max(
            network.context_frames or 0 for network in (self.first, self.second)
        )

    def features_of(self, log_mel: Tensor, lengths: Tensor | None = None) -> SpeechFeatures:
        """Scaled log-mel (B, 2 N, M) of clips with `lengths` (B,) frames to what is heard."""
        hidden, one = self.first.features_of(log_mel, lengths)
        _, two = self.second.features_of(log_mel, lengths)
        assert one is not None and two is not None  # compact backbones know phones
        believed = torch.lerp(one.softmax(-1), two.softmax(-1), self.share)
        return SpeechFeatures(hidden, believed.clamp_min(1e-8).log())

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> SpeechFeatures:
        """Level-normalised samples (B, S) at 16 kHz to S // 320 frames of features and phones."""
        if samples.shape[-1] < SAMPLES_PER_FRAME:
            return self.first(samples)
        return self.features_of(self.log_mel(samples), lengths)
