"""Which speech backbone a model listens through, as configuration, and how to build it."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.errors import IdiolectError
from core.model.config import SpeechConfig
from core.model.paired_backbone import PairedBackbone
from core.model.speech import (
    PROSODY_CHANNELS,
    CompactBackbone,
    CompactBackboneConfig,
    SpeechBackbone,
    Wav2Vec2Backbone,
)
from core.phones import PHONES


@dataclass(frozen=True)
class BackboneConfig:
    """The speech backbone."""

    kind: str = "compact"
    """"compact" (weights inside the checkpoint) or "wav2vec2" (weights by `source`)."""
    source: str = ""
    """For wav2vec2: a folder, or a name on the Hugging Face hub."""
    finetune: bool = False
    """wav2vec2 only: its transformer learns with the model, its convolutions never (Mimic)."""
    architecture: str = ""
    """Of a wav2vec2 that has learnt, the JSON of its configuration: its weights then lie in the
    checkpoint, and `source` is not asked for. Written by the training."""
    compact: CompactBackboneConfig = field(default_factory=CompactBackboneConfig)
    """Sizes of the compact one."""
    second: CompactBackboneConfig | None = None
    """Sizes of a second compact one that is asked for its opinion on phones; None = there is
    none."""
    second_share: float = 0.5
    """What the second's opinion counts, between 0 and 1."""

    @property
    def in_checkpoint(self) -> bool:
        """Whether the checkpoint holds its weights."""
        return self.kind == "compact" or bool(self.architecture)


def build_backbone(config: BackboneConfig) -> SpeechBackbone:
    """Build the backbone; the compact one still wants its weights.

    Raises:
        IdiolectError: The kind is unknown, or wav2vec weights cannot be loaded.
    """
    if config.kind == "compact":
        if config.second:
            return PairedBackbone(config.compact, config.second, config.second_share)
        return CompactBackbone(config.compact)
    if config.kind == "wav2vec2":
        return Wav2Vec2Backbone(config.source, config.architecture)
    raise IdiolectError(
        f"unknown speech backbone '{config.kind}'",
        hint="Use 'compact' or 'wav2vec2'.",
        code="config_invalid",
        setting="backbone.kind",
    )


def track_sizes(backbone: SpeechBackbone, speech: SpeechConfig) -> dict[str, int]:
    """Widths of the tracks that the speech encoder reads, by their names in `SpeechTracks`.

    Raises:
        IdiolectError: The encoder wants phone posteriors and the backbone has none.
    """
    if speech.posteriors and not backbone.phone_logits_available:
        raise IdiolectError(
            "this speech backbone gives no phones, but the speech encoder wants them",
            hint="Set speech.posteriors = false.",
            code="config_invalid",
            setting="model.speech.posteriors",
        )
    return {
        "hidden": backbone.feature_dim,
        "posteriors": len(PHONES),
        "prosody": len(PROSODY_CHANNELS),
    }
