"""Puts two speech backbones that were trained apart into one file.

    python -m training.pair_backbones FIRST SECOND --out FILE [--share 0.75]

The features are those of the first, phones are heard by both (`core.model.paired_backbone`). FILE
is for `training.train --set backbone_weights=FILE`; a model whose decoder knows the first already
is given the second by `training.bundle --backbone FILE`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from core.checkpoint import load_checkpoint, save_checkpoint
from core.errors import IdiolectError
from core.model.backbones import BackboneConfig, build_backbone
from core.model.config import to_dict
from core.model.paired_backbone import PairedBackbone
from core.model.speech import CompactBackbone
from training.backbone import load_backbone
from training.command import command


def pair(first: Path, second: Path, out: Path, share: float = 0.5) -> None:
    """Writes the pair.

    Args:
        first: a file of `training.backbone`, or a model's.
        second: another one.
        out: file to write.
        share: what the second's opinion counts.

    Raises:
        IdiolectError: one of them is missing, damaged, no single compact backbone, or does not fit.
    """
    one, two = _single(first), _single(second)
    config = replace(BackboneConfig(), compact=one.config, second=two.config, second_share=share)
    both = build_backbone(config)
    assert isinstance(both, PairedBackbone)
    both.first.load_state_dict(one.state_dict())
    both.second.load_state_dict(two.state_dict())
    tensors = {f"backbone.{name}": value for name, value in both.state_dict().items()}
    facts = {
        name: load_checkpoint(path).metadata.get("training", {})
        for name, path in (("first", first), ("second", second))
    }
    save_checkpoint(out, tensors, {"backbone": to_dict(config)}, {"training": facts})


def _single(path: Path) -> CompactBackbone:
    backbone = load_backbone(path)
    if not isinstance(backbone, CompactBackbone):
        raise IdiolectError(
            f"{path} is a pair of backbones already",
            hint="Give the files of the two that were trained apart.",
            code="backbone_kind",
        )
    return backbone


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path, help="its features are what the decoder hears")
    parser.add_argument("second", type=Path, help="it is asked for phones only")
    parser.add_argument("--share", type=float, default=BackboneConfig.second_share,
                        help="what the second's opinion counts (default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    pair(options.first, options.second, options.out, options.share)
    return 0


if __name__ == "__main__":
    sys.exit(main())
