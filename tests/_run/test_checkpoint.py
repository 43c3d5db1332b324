"""Checkpoints: whole at whatever operation a process dies, never trusted when damaged, and no dearer as a run grows."""

import dataclasses
import json
import random

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests._run.breaking import Dead, Disk
from tests._run.walk import CHUNK, STEPS, TARGET, Walk, assert_same, walk
from tests.killing import killed_at_save

from jensen._run.checkpoint import Checkpoints, OtherRun
from jensen._run.saved import Saved
from jensen.core import StopCode, StorageError
from jensen.core.sealed import seal, unseal

IDENTITY = {"Jensen": "0.1.0", "algorithm": "Walk"}
RECORDS = [{"objective": np.arange(5.0) + 10 * i, "draw": np.full((5, 2), i, np.float32)} for i in range(8)]


@pytest.fixture(scope="module")
def unbroken():
    return walk()


def save(store, number: int) -> None:
    """The save of this number, counted from 0: state and step belong to it, and so many blocks of records."""
    store.save({"state": jnp.full(3, float(number))}, {"t": 5 * number, "notes": []}, RECORDS[:number])


def saved(folder, numbers=range(4)):
    with Checkpoints(folder, IDENTITY) as store:
        for number in numbers:
            save(store, number)


def check(found: Saved) -> int:
    """The number of a checkpoint, all of whose parts must belong together."""
    number = found.meta["t"] // 5
    np.testing.assert_array_equal(found.arrays("state")[0], np.full(3, float(number)))
    assert len(found.records) == number
    for block, want in zip(found.records, RECORDS, strict=False):
        np.testing.assert_array_equal(block[0], want["draw"])
        np.testing.assert_array_equal(block[1], want["objective"])
    return number


def test_the_newest_is_loaded_and_two_are_kept(tmp_path):
    saved(tmp_path)
    with Checkpoints(tmp_path, IDENTITY) as store:
        assert check(store.load()) == 3
        assert store.notes == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lock", "records-a", "records-b", "state-a", "state-b"]
    (tmp_path / "state-b").unlink()
    with Checkpoints(tmp_path, IDENTITY) as store:
        assert check(store.load()) == 2


def test_killed_at_any_operation_the_last_save_that_returned_is_there(tmp_path, monkeypatch):
    """The whole list of moments: after each write (half of it done), flush, rename and removal of three saves."""
    with monkeypatch.context() as m:
        disk = Disk(m)
        saved(tmp_path / "all", range(3))
        operations = disk.count
    assert operations > 30
    for at in range(operations):
        folder, done = tmp_path / str(at), -1
        with monkeypatch.context() as m:
            Disk(m, at)
            try:
                with Checkpoints(folder, IDENTITY) as store:
                    for number in range(3):
                        save(store, number)
                        done = number
            except Dead:
                pass
        with Checkpoints(folder, IDENTITY) as store:
            found = store.load()
            assert store.notes == []
            if done >= 0:
                assert check(found) in (done, done + 1)
            for number in range(check(found) + 1 if found else 0, 5):
                save(store, number)
        with Checkpoints(folder, IDENTITY) as store:
            assert check(store.load()) == 4


def test_any_flipped_byte_of_the_newest_is_found_and_the_one_before_is_taken(tmp_path):
    saved(tmp_path)
    rng = random.Random(0)
    for name in ("state-b", "records-b"):  # the newest: saves alternate, and the fourth went there
        data = (tmp_path / name).read_bytes()
        for i in [0, 8, 16, len(data) - 1, *rng.sample(range(len(data)), 40)]:
            changed = bytearray(data)
            changed[i] ^= 1 << rng.randrange(8)
            (tmp_path / name).write_bytes(bytes(changed))
            with Checkpoints(tmp_path, IDENTITY) as store, pytest.warns(RuntimeWarning, match=name):
                assert check(store.load()) == 2
            assert "fell back to the other checkpoint, of step 10" in store.notes[0]
        for cut in (0, 10, len(data) // 2, len(data) - 1):
            (tmp_path / name).write_bytes(data[:cut])
            with Checkpoints(tmp_path, IDENTITY) as store, pytest.warns(RuntimeWarning, match="truncated"):
                assert check(store.load()) == 2
        (tmp_path / name).write_bytes(data)


def test_what_follows_a_damage_repairs_it(tmp_path):
    saved(tmp_path)
    (tmp_path / "records-b").write_bytes(b"")
    with Checkpoints(tmp_path, IDENTITY) as store:
        with pytest.warns(RuntimeWarning, match="records-b is truncated"):
            store.load()
        save(store, 3)
    (tmp_path / "state-a").write_bytes(b"")
    with Checkpoints(tmp_path, IDENTITY) as store, pytest.warns(RuntimeWarning, match="state-a is truncated"):
        assert check(store.load()) == 3


def test_two_damaged_copies_are_an_error_and_stay_where_they_are(tmp_path):
    saved(tmp_path)
    for name in ("state-a", "records-b"):
        (tmp_path / name).write_bytes(b"\0" * 100)
    with Checkpoints(tmp_path, IDENTITY) as store, pytest.raises(StorageError, match=r"No checkpoint .* is whole"):
        store.load()
    assert (tmp_path / "state-a").read_bytes() == b"\0" * 100


def test_a_log_of_another_run_is_not_taken_for_its_own(tmp_path):
    """Whole by itself, but not what the state was written with."""
    saved(tmp_path / "one")
    with Checkpoints(tmp_path / "two", IDENTITY) as store:
        for number in range(4):
            records = [jax.tree.map(lambda leaf: leaf + 1, r) for r in RECORDS[:number]]
            store.save({"state": jnp.full(3, float(number))}, {"t": 5 * number}, records)
    (tmp_path / "one" / "records-b").write_bytes((tmp_path / "two" / "records-b").read_bytes())
    with Checkpoints(tmp_path / "one", IDENTITY) as store, pytest.warns(RuntimeWarning, match="is not the log"):
        assert check(store.load()) == 2


def test_crafted_states_are_one_error(tmp_path):
    saved(tmp_path, range(1))
    meta, _, _ = unseal((tmp_path / "state-a").read_bytes())
    for change in (
        {"log_size": -5},
        {"log_size": "x"},
        {"log_blocks": -1},
        {"log_chain": 3},
        {"saves": None},
        {"t": []},
    ):
        (tmp_path / "state-a").write_bytes(b"".join(seal(meta | change, {})))
        with Checkpoints(tmp_path, IDENTITY) as store, pytest.raises(StorageError):
            store.load()


def test_a_save_costs_no_more_as_the_run_grows(tmp_path, monkeypatch):
    """Bytes written: the state, and two blocks a save, for each log gets what the other one got before it."""
    written = []
    with Checkpoints(tmp_path, IDENTITY) as store:
        for number in range(60):
            with monkeypatch.context() as m:
                disk = Disk(m)
                store.save({"state": jnp.zeros(100)}, {"t": 5 * number}, RECORDS[:1] * number)
                written.append(disk.bytes)
    assert max(written[10:]) - min(written[10:]) < 20  # digits of numbers in the header
    assert written[-1] < 4 * 10**3


def test_keys_and_narrow_floats_come_back(tmp_path):
    tree = {"key": jax.random.split(jax.random.key(3)), "half": jnp.arange(3, dtype=jnp.bfloat16), "host": np.arange(2)}
    with Checkpoints(tmp_path, IDENTITY) as store:
        store.save({"state": tree}, {"t": 0}, [])
    with Checkpoints(tmp_path, IDENTITY) as store:
        back = store.load().fill("state", jax.tree.map(lambda leaf: leaf, tree))
    assert back["half"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(back["half"], tree["half"])
    np.testing.assert_array_equal(jax.random.key_data(back["key"]), jax.random.key_data(tree["key"]))
    assert isinstance(back["host"], np.ndarray)
    with pytest.raises(StorageError, match="another structure"):
        Saved({}, {"state/0": np.zeros(2)}).fill("state", jnp.zeros(3))


@pytest.mark.parametrize("number", [1, 2, 5, 9])
def test_a_killed_run_ends_with_the_same_bits(tmp_path, monkeypatch, unbroken, number):
    killed_at_save(monkeypatch, number)
    with pytest.raises(SystemExit):
        walk(tmp_path)
    monkeypatch.undo()
    got = walk(tmp_path)
    assert_same(got, unbroken)
    assert got.run.notes == ()
    assert_same(walk(tmp_path), unbroken)  # finished: nothing is done again


def test_a_damaged_run_goes_on_from_the_one_before_and_says_so(tmp_path, monkeypatch, unbroken):
    killed_at_save(monkeypatch, 4)
    with pytest.raises(SystemExit):
        walk(tmp_path)
    monkeypatch.undo()
    data = bytearray((tmp_path / "state-b").read_bytes())
    data[-1] ^= 1
    (tmp_path / "state-b").write_bytes(bytes(data))
    with pytest.warns(RuntimeWarning, match=r"state-b was changed .* fell back to the other checkpoint, of step 10"):
        got = walk(tmp_path)
    assert_same(got, unbroken)
    assert "its SHA-256 differs" in got.run.notes[0]


class Wider(Walk):
    """Another class with the same settings."""


def other_density(z, x):
    return -0.6 * jnp.sum((z - x) ** 2)


def test_another_run_is_refused_with_the_difference_named(tmp_path, monkeypatch):
    walk(tmp_path)
    data = jax.tree.map(lambda leaf: leaf + 1 if eqx.is_inexact_array(leaf) else leaf, TARGET)
    code = dataclasses.replace(TARGET, fn=other_density)
    for change, words in (
        ({"steps": STEPS + 1}, "steps 40 vs 41"),
        ({"key": jax.random.key(1)}, r"key \[0, 0\] vs \[0, 1\]"),
        ({"algorithm": Walk(rate=2.0)}, r"rate 1\.0 vs 2\.0"),
        ({"algorithm": Walk(width=2)}, "width 1 vs 2"),
        ({"algorithm": Wider()}, r"algorithm .*Walk.* vs .*Wider"),
        ({"target": data}, r"the data differ: leaf \.\S+ of \w+"),
        ({"target": code}, r"target\.fn .*lambda.* vs .*other_density"),
    ):
        with pytest.raises(OtherRun, match="belongs to another run: " + words):
            walk(tmp_path, **change)
    monkeypatch.setattr("jensen._run.identity._version", lambda name: "0.2.0" if name == "jensen" else "9")
    with pytest.raises(OtherRun, match=r"Jensen 0\.1\.0 .* wrote it, this is 0\.2\.0"):
        walk(tmp_path)


def test_length_of_chunks_limits_and_progress_are_no_difference(tmp_path, unbroken):
    stopped = walk(tmp_path, time_limit=1e-9)
    assert (stopped.run.stop, stopped.run.steps) == (StopCode.TIME, CHUNK)  # one chunk is always run
    assert_same(walk(tmp_path, chunk=7, progress=False), unbroken)


def test_a_checkpoint_of_an_older_jensen_is_named(tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes(b"")
    with pytest.raises(StorageError, match="older Jensen"):
        walk(tmp_path)


def test_state_files_are_plain_data(tmp_path):
    walk(tmp_path)
    meta, arrays, _ = unseal((tmp_path / "state-a").read_bytes())
    json.dumps(meta)
    assert meta["t"] in (STEPS, STEPS - 5)
    assert all(a.dtype.kind in "fiubc" for a in arrays.values())
