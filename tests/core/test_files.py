import os
import stat

import pytest

from core.errors import IdiolectError
from core.files import atomic_path, cache_dir


def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_finished_block_replaces_the_file_with_usual_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    with atomic_path(tmp_path / "deep" / "a.txt") as temporary:
        temporary.write_text("new")
    target = tmp_path / "deep" / "a.txt"
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IdiolectError) as caught, atomic_path(tmp_path / "file" / "a.txt"):
        pass
    assert caught.value.code == "unwritable_file"
    assert caught.value.hint


def test_the_cache_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("IDIOLECT_CACHE", str(tmp_path / "cache"))
    assert cache_dir() == tmp_path / "cache"
    assert os.access(cache_dir(), os.W_OK)
