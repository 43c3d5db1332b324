"""A folder replaced as a whole, its writer killed at each operation on the disk in turn."""

import fcntl
import os

import pytest
from tests._run.breaking import Dead, Disk

from jensen.core import StorageError, folders
from jensen.core.folders import mend, replace_folder

OLD = {"fit.json": b"old " * 50, "arrays.npz": b"1" * 99}
NEW = {"fit.json": b"new " * 70, "arrays.npz": b"2" * 88, "progress.jsonl": b"{}"}


def written(path, files):
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)


def found(path):
    return {p.name: p.read_bytes() for p in path.iterdir()} if path.exists() else None


def disk(monkeypatch, at, exchange):
    """A disk that dies at an operation, those that only replacing a folder needs included."""
    broken = Disk(monkeypatch, at)
    for name in ("rename", "mkdir", "unlink", "rmdir"):
        broken._wrap(monkeypatch, os, name)
    if exchange:
        broken._wrap(monkeypatch, folders, "_exchange")
    else:
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    return broken


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("before", [OLD, None])
def test_killed_at_any_operation_the_old_or_the_new_one_is_there_and_nothing_beside_it(
    tmp_path, monkeypatch, exchange, before
):
    ends, at, gaps = [], 0, 0
    while True:
        place = tmp_path / str(at)
        place.mkdir()
        path = place / "a.fit [1]"
        if before is not None:
            written(path, before)
        with monkeypatch.context() as patch:
            broken = disk(patch, at, exchange)
            try:
                replace_folder(path, NEW)
                ended = True
            except Dead:
                ended = False
        gaps += before is not None and not path.exists()
        assert ended == (broken.count <= at)
        mend(path)
        ends.append(found(path))
        assert ends[-1] in (before, NEW)
        assert [p.name for p in place.iterdir()] == ([] if ends[-1] is None else [path.name])
        if ended:
            break
        at += 1
    assert at > 10
    assert ends[0] == before
    assert ends[-1] == NEW
    assert ends == sorted(ends, key=lambda end: end == NEW)  # never back
    assert (gaps > 0) == (before is not None and not exchange)


def test_this_system_exchanges_two_names_at_once(tmp_path):
    written(tmp_path / "a", OLD), written(tmp_path / "b", NEW)
    assert folders._exchange(tmp_path / "a", tmp_path / "b")
    assert (found(tmp_path / "a"), found(tmp_path / "b")) == (NEW, OLD)
    assert not folders._exchange(tmp_path / "a", tmp_path / "missing")
    assert found(tmp_path / "a") == NEW


def test_a_failure_puts_the_old_one_back_and_clears_up(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "fit", os.rename, []
    written(path, OLD)

    def rename(a, b):
        calls.append(b)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(a, b)

    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(StorageError, match="no space is left"):
        replace_folder(path, NEW)
    assert found(path) == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_at_work_and_folders_of_others_are_left_alone(tmp_path):
    path = tmp_path / "fit"
    written(path, OLD)
    busy, foreign = tmp_path / ".fit.0123456789ab.new", tmp_path / ".fit.backup.old"
    written(busy, NEW), written(foreign, OLD), written(tmp_path / ".fit2.0123456789ab.old", OLD)
    handle = os.open(busy, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    mend(path)
    assert found(busy) == NEW
    os.close(handle)
    mend(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".fit.backup.old", ".fit2.0123456789ab.old", "fit"]


def test_reading_and_asking_for_the_folder_of_a_killed_save_mends_it(tmp_path):
    from jensen.core.storage import check_folder, load_fit

    written(tmp_path / ".fit.0123456789ab.old", OLD), written(tmp_path / ".fit.0123456789ab.new", NEW)
    with pytest.raises(StorageError, match="not JSON"):  # it is there, and no fit
        load_fit(tmp_path / "fit")
    assert found(tmp_path / "fit") == NEW
    written(tmp_path / ".fit.0123456789ab.old", OLD)
    with pytest.raises(StorageError, match="already holds a fit"):
        check_folder(tmp_path / "fit")
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]
