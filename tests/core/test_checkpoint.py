"""Checkpoints: a round trip, and every way a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from core.checkpoint import load_checkpoint, load_weights, save_checkpoint
from core.errors import IdiolectError


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {
        "model.w": torch.randn(3, 2),
        "model.n": torch.tensor(4),
        "styles.calm": torch.ones(2),
    }
    save_checkpoint(path, tensors, {"model": {"size": 3}}, {"name": "ä"})
    loaded = load_checkpoint(path)
    assert loaded.config == {"model": {"size": 3}} and loaded.metadata == {"name": "ä"}
    torch.testing.assert_close(loaded.part("model")["w"], tensors["model.w"])
    assert loaded.part("model")["n"] == 4 and loaded.part("model")["n"].dtype == torch.int64
    assert list(loaded.part("styles")) == ["calm"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_half_precision_is_stored_and_widened(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"w": torch.full((1000,), 1 / 3)}, {}, half=True)
    assert path.stat().st_size < 3000
    assert load_checkpoint(path).tensors["w"].dtype == torch.float32


def test_tied_weights_are_saved_as_two(tmp_path: Path) -> None:
    shared = torch.randn(4)
    save_checkpoint(tmp_path / "a.safetensors", {"a": shared, "b": shared}, {})
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    torch.testing.assert_close(loaded.tensors["a"], loaded.tensors["b"])


def test_nan_is_never_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"w": torch.ones(1)}, {})
    with pytest.raises(IdiolectError, match="'w' holds values that are not finite"):
        save_checkpoint(path, {"w": torch.tensor([float("nan")])}, {})
    assert load_checkpoint(path).tensors["w"] == 1.0


@pytest.mark.parametrize("content", [b"", b"no tensors here", b"\x80\x04." + bytes(40)])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(IdiolectError, match=r"bad\.safetensors") as caught:
        load_checkpoint(path)
    assert caught.value.code == "checkpoint_damaged" and caught.value.hint


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_checkpoint(path, {"w": torch.randn(1000)}, {})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(IdiolectError, match="damaged"):
        load_checkpoint(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(IdiolectError) as caught:
        load_checkpoint(tmp_path / "none.safetensors")
    assert caught.value.code == "checkpoint_missing"
    path = tmp_path / "foreign.safetensors"
    save_file({"w": torch.ones(1)}, str(path))
    with pytest.raises(IdiolectError, match="expected idiolect-checkpoint-1, found no format"):
        load_checkpoint(path)


def test_names_and_shapes_must_agree() -> None:
    module = nn.Linear(3, 2)
    good = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    load_weights(module, good, Path("m"))
    assert module.bias[0] == 1.0
    for change, said in (
        ({"bias": torch.ones(3)}, r"'bias' has shape \(3,\), expected \(2,\)"),
        ({"extra": torch.ones(3)}, "'extra' is not expected"),
    ):
        with pytest.raises(IdiolectError, match=said):
            load_weights(module, {**good, **change}, Path("m"))
    with pytest.raises(IdiolectError, match=r"m does not fit.*'bias' is missing"):
        load_weights(module, {"weight": good["weight"]}, Path("m"))
