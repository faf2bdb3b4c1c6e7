"""Configurations: strict, and the same after a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import IdiolectError
from core.model.config import ModelConfig, dump_toml, from_dict, load_toml, to_dict


def test_round_trip_through_dictionaries_and_toml(tmp_path: Path) -> None:
    config = from_dict(ModelConfig, {"decoder": {"blocks": 7}, "motion": {"fps": 25}})
    assert config.decoder.blocks == 7 and config.motion.fps == 25.0
    assert from_dict(ModelConfig, to_dict(config)) == config
    path = tmp_path / "model.toml"
    path.write_text(dump_toml(config))
    assert load_toml(ModelConfig, path) == config


def test_unknown_key_names_the_closest() -> None:
    with pytest.raises(IdiolectError) as caught:
        from_dict(ModelConfig, {"decoder": {"blokcs": 2}}, source="x.toml")
    assert "'decoder.blokcs' in x.toml" in caught.value.message
    assert caught.value.hint == "Did you mean 'decoder.blocks'?"
    assert caught.value.setting == "decoder.blokcs"


@pytest.mark.parametrize("value", ["two", 2.5, True, None])
def test_wrong_type_is_refused(value: object) -> None:
    with pytest.raises(IdiolectError, match=r"decoder\.blocks"):
        from_dict(ModelConfig, {"decoder": {"blocks": value}})


def test_overrides_win_and_are_strict(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text("[decoder]\nblocks = 2\n")
    config = load_toml(ModelConfig, path, ["decoder.blocks=5", "motion.space=flame"])
    assert config.decoder.blocks == 5 and config.motion.space == "flame"
    with pytest.raises(IdiolectError, match=r"unknown setting .decoder\.block."):
        load_toml(ModelConfig, path, ["decoder.block=5"])
    with pytest.raises(IdiolectError, match=r"decoder\.blocks"):
        load_toml(ModelConfig, path, ["decoder.blocks"])


def test_missing_and_broken_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(IdiolectError, match=r"nothing\.toml"):
        load_toml(ModelConfig, tmp_path / "nothing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("decoder = [")
    with pytest.raises(IdiolectError, match="not valid TOML"):
        load_toml(ModelConfig, broken)
