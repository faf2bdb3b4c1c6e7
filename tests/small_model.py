"""A model of full shape and no training, small enough to load in no time: for all that does not
ask how the motion looks.
"""

from pathlib import Path

import torch

from core.checkpoint import save_checkpoint
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import BlockConfig, ModelConfig, SpeechConfig, StyleConfig, to_dict
from core.model.model import IdiolectModel
from core.model.speech import CompactBackboneConfig


def save_small_model(path: Path, *, seed: int = 0) -> Path:
    """Write an untrained model with the styles "neutral" and "lively"."""
    torch.manual_seed(seed)
    block = BlockConfig(blocks=1, width=32, hidden=32)
    model_config = ModelConfig(
        speech=SpeechConfig(encoder=block),
        style=StyleConfig(code=16, width=32, convolutions=2, layers=1, hidden=32),
        decoder=block,
    )
    backbone_config = BackboneConfig(compact=CompactBackboneConfig())
    backbone = build_backbone(backbone_config)
    model = IdiolectModel(model_config, track_sizes(backbone, model_config.speech))
    with torch.no_grad():
        for parameter in model.parameters():  # what begins at zero would hide styles and speech
            parameter.add_(0.05 * torch.randn_like(parameter))
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    tensors |= {"styles.neutral": torch.zeros(16), "styles.lively": torch.randn(16)}
    config = {"model": to_dict(model_config), "backbone": to_dict(backbone_config)}
    save_checkpoint(path, tensors, config, {"name": f"small {seed}"})
    return path
