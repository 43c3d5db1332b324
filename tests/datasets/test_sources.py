"""Rows on disk: the same in every format, and bad ones refused with their place."""

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import zarr

from jensen.core import InputError, UnknownName
from jensen.datasets import generate_rows, join_rows, open_rows

N = 53
RNG = np.random.default_rng(0)
DATA = {"a": RNG.normal(size=N), "b": RNG.normal(size=N).astype(np.float32), "y": RNG.integers(0, 9, N)}
PARTS = [slice(0, 20), slice(20, 21), slice(21, 53)]


def parquet(folder, part, i):
    pq.write_table(pa.table(part), folder / f"p{i}.parquet", row_group_size=7)


def arrow(folder, part, i):
    table = pa.table(part)
    with pa.ipc.new_file(str(folder / f"p{i}.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=7)


def feather(folder, part, i):
    from pyarrow import feather

    feather.write_feather(pa.table(part), str(folder / f"p{i}.feather"), compression="lz4", chunksize=7)


def npz(folder, part, i):
    np.savez_compressed(folder / f"p{i}.npz", **part)


def zarrs(folder, part, i):
    group = zarr.open_group(str(folder / f"p{i}.zarr"), mode="w")
    for name, values in part.items():
        group.create_array(name, data=values, chunks=(7,))


WRITERS = {"parquet": parquet, "arrow": arrow, "feather": feather, "npz": npz, "zarr": zarrs}


@pytest.fixture(params=WRITERS)
def folder(request, tmp_path):
    path = tmp_path / "rows"
    path.mkdir()
    for i, rows in enumerate(PARTS):
        WRITERS[request.param](path, {name: values[rows] for name, values in DATA.items()}, i)
    return path


def whole(source):
    parts = [source.read(b) for b in range(len(source.blocks))]
    return {name: np.concatenate([part[name] for part in parts]) for name in source.columns}


def test_every_format_gives_the_same_rows_in_parts_too(folder):
    source = open_rows(folder, columns=["y", "a"])
    rows = whole(source)
    assert source.num_rows == N
    assert set(rows) == {"a", "y"}
    for name, values in rows.items():
        np.testing.assert_array_equal(values, DATA[name])
    at = source.blocks[0] // 2
    np.testing.assert_array_equal(source.read(0, at, at + 2)["a"], rows["a"][at : at + 2])
    assert len(set(source.units)) == 3
    assert source.where(len(source.blocks) - 1, 0).startswith(f"row {32 - source.blocks[-1]} of")


@pytest.mark.parametrize("limit", [0, 14, 20, 1000])
def test_neighbouring_blocks_of_a_shard_are_read_as_one(folder, limit):
    source = open_rows(folder)
    runs = source.runs(range(len(source.blocks)), limit)
    assert [b for first, count in runs for b in range(first, first + count)] == list(range(len(source.blocks)))
    at = 0
    for first, count in runs:
        size = sum(source.blocks[first : first + count])
        assert len(set(source.units[first : first + count])) == 1  # never across files
        assert size <= limit or count == 1
        for low, high in ((0, size), (size // 2, size), (max(0, size - 2), max(1, size - 1))):
            for name, values in source.read(first, low, high, count).items():
                np.testing.assert_array_equal(values, DATA[name][at + low : at + high])
        at += size
    if limit == 1000:
        assert len(runs) == 3


def test_the_place_of_a_bad_row_is_told_in_joined_blocks_too(tmp_path):
    table = pa.table({"a": np.where(np.arange(20) == 13, np.nan, 1.0)})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=4)
    source = open_rows(tmp_path)
    with pytest.raises(InputError, match=r"NaN, null or infinite at row 13 of .*p\.parquet"):
        source.read(1, count=3)


def test_columns_are_renamed_and_stacked(folder):
    source = open_rows(folder, columns={"x": ["a", "b", "y"], "label": "y"})
    assert source.columns["x"].shape == (3,)
    np.testing.assert_array_equal(whole(source)["x"], np.stack([DATA["a"], DATA["b"], DATA["y"]], 1))


def test_the_mark_knows_the_data_again(folder):
    mark = open_rows(folder).mark
    assert open_rows(folder).mark == mark
    assert open_rows(folder, columns=["a"]).mark != mark
    last = sorted(folder.iterdir())[-1]
    if last.is_dir():
        group = zarr.open_group(str(last), mode="a")
        group.create_array("c", data=np.ones(32))
    else:
        writer = {".parquet": parquet, ".arrow": arrow, ".feather": feather, ".npz": npz}[last.suffix]
        writer(folder, {n: v[PARTS[2]] + (n == "a") for n, v in DATA.items()}, 2)
    assert open_rows(folder).mark != mark


def test_chunks_of_zeros_that_zarr_left_out_are_not_taken_on_trust(tmp_path):
    path = str(tmp_path / "a.zarr")
    for always in (False, True):
        with zarr.config.set({"array.write_empty_chunks": always}):
            zarr.open_group(path, mode="w").create_array("y", data=np.repeat([0.0, 1.0], 7), chunks=(7,))
        if always:
            np.testing.assert_array_equal(whole(open_rows(path))["y"], np.repeat([0.0, 1.0], 7))
        else:
            with pytest.raises(InputError, match=r"lacks 1 of its 2 chunks.*write_empty_chunks"):
                open_rows(path)


def test_vectors_are_columns_too(tmp_path):
    x = RNG.normal(size=(10, 4)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 4)
    pq.write_table(pa.table({"x": vectors}), tmp_path / "x.parquet", row_group_size=3)
    np.savez(tmp_path / "x.npz", x=x)
    for name in ("x.parquet", "x.npz"):
        np.testing.assert_array_equal(whole(open_rows(tmp_path / name))["x"], x)


def test_a_shard_that_is_cut_off_is_refused(folder):
    last = sorted(folder.iterdir())[-1]
    if last.is_dir():
        (last / "a" / "c" / "2").unlink()
        words = "lacks 1 of its 5 chunks"
    else:
        last.write_bytes(last.read_bytes()[:-40])
        words = "truncated"
    with pytest.raises(InputError, match=words) as error:
        open_rows(folder)
    assert last.name in str(error.value)


def test_a_shard_with_other_columns_or_types_is_refused(folder):
    writer = WRITERS[sorted(folder.iterdir())[0].suffix.lstrip(".")]
    part = {name: values[:5] for name, values in DATA.items()}
    writer(folder, {"a": part["a"], "b": part["b"]}, 7)
    with pytest.raises(InputError, match=r"p7.* has no column 'y', which .*p0"):
        open_rows(folder)
    assert open_rows(folder, columns=["a", "b"]).num_rows == N + 5
    writer(folder, part | {"y": part["y"].astype(float)}, 7)
    with pytest.raises(InputError, match=r"Column 'y' is float64 in .*p7.* and int64 in .*p0"):
        open_rows(folder)


def test_rows_that_are_not_finite_are_named(folder):
    writer = WRITERS[sorted(folder.iterdir())[0].suffix.lstrip(".")]
    part = {name: values[PARTS[2]].copy() for name, values in DATA.items()}
    part["a"][17] = np.nan
    writer(folder, part, 2)
    source = open_rows(folder)
    with pytest.raises(InputError, match=r"Column 'a' is NaN, null or infinite at row 17 of .*p2"):
        whole(source)


def test_nulls_text_and_categories_are_refused(tmp_path):
    pq.write_table(pa.table({"n": pa.array([1, None, 3]), "f": pa.array([1.0, None, 2.0])}), tmp_path / "n.parquet")
    with pytest.raises(InputError, match=r"Column 'n' .* holds 1 nulls, one 1 rows into"):
        whole(open_rows(tmp_path / "n.parquet", columns=["n"]))
    with pytest.raises(InputError, match="Column 'f' is NaN, null or infinite at row 1"):
        whole(open_rows(tmp_path / "n.parquet", columns=["f"]))
    table = pa.table({"x": [1.0, 2.0], "s": ["u", "v"], "c": pa.array(["u", "v"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "s.parquet")
    for name in "sc":
        with pytest.raises(InputError, match=f"Column '{name}' .* does not hold plain numbers"):
            open_rows(tmp_path / "s.parquet", columns=["x", name])
    assert open_rows(tmp_path / "s.parquet", columns=["x"]).num_rows == 2
    np.savez(tmp_path / "o.npz", x=np.asarray([{}, {}], object))
    with pytest.raises(InputError, match="plain numbers"):
        open_rows(tmp_path / "o.npz")


def test_what_is_not_a_folder_of_shards_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is nothing at"):
        open_rows(tmp_path / "none")
    with pytest.raises(InputError, match="is empty"):
        open_rows(tmp_path)
    npz(tmp_path, DATA, 0)
    parquet(tmp_path, DATA, 1)
    with pytest.raises(InputError, match=r"mixes formats: Parquet \(p1.parquet\), npz \(p0.npz\)"):
        open_rows(tmp_path)
    (tmp_path / "p1.parquet").rename(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which is of none"):
        open_rows(tmp_path)
    (tmp_path / "notes.txt").rename(tmp_path / "_notes.txt")
    assert open_rows(tmp_path).num_rows == N
    with pytest.raises(UnknownName, match="Unknown column 'z'"):
        open_rows(tmp_path, columns=["z"])
    with pytest.raises(InputError, match="got the string"):
        open_rows(tmp_path, columns="a")
    np.savez(tmp_path / "p2.npz", a=np.zeros(3), y=np.zeros(4))
    with pytest.raises(InputError, match="no common leading axis"):
        open_rows(tmp_path)


def rows(low, high):
    return {"i": np.arange(low, high, dtype=float)}


def test_generated_and_joined_rows():
    source = join_rows(generate_rows(rows, 10, block=4), generate_rows(rows, 3))
    assert source.blocks == (4, 4, 2, 3)
    np.testing.assert_array_equal(whole(source)["i"], [*range(10), *range(3)])
    assert source.where(2, 1) == "row 9 of the function"
    assert source.runs(range(4), 1000) == [(0, 1), (1, 1), (2, 1), (3, 1)]  # fn is asked for parts of blocks
    with pytest.raises(InputError, match="other columns or types"):
        join_rows(source, generate_rows(lambda a, b: {"j": np.zeros(b - a)}, 4))
    with pytest.raises(InputError, match="other rows at a second call"):
        generate_rows(lambda a, b: {"x": np.random.default_rng().normal(size=b - a)}, 5)
    with pytest.raises(InputError, match="2 rows are wanted"):
        generate_rows(lambda a, b: {"x": np.zeros(7)}, 5)
    with pytest.raises(InputError, match="at least 1"):
        generate_rows(rows, 0)
    with pytest.raises(InputError, match="dict of arrays"):
        generate_rows(lambda a, b: np.zeros(b - a), 5)  # pyright: ignore[reportArgumentType]


def test_data_that_change_under_way_are_noticed(tmp_path):
    parquet(tmp_path, DATA, 0)
    source = open_rows(tmp_path)
    npz_file = tmp_path / "p0.parquet"
    pq.write_table(pa.table({"a": [1.0]}), npz_file)
    with pytest.raises(InputError):
        whole(source)
