"""Tables from files, good and bad."""

import numpy as np
import polars as pl
import pytest

from jensen.core import InputError
from jensen.datasets import read_table

GOOD = 'y,x,c\n1.5,2,a\n,3,b\nNA,inf,"b, c"\n'


def write(tmp_path, data, name="data.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("data", [GOOD, b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n")])
def test_csv(tmp_path, data):
    frame = read_table(write(tmp_path, data))
    assert frame.columns == ["y", "x", "c"]
    assert frame["y"].to_list() == [1.5, None, None]
    assert frame["x"].to_list() == [2.0, 3.0, np.inf]
    assert frame["c"].to_list() == ["a", "b", "b, c"]


def test_types_come_from_the_whole_file(tmp_path):
    rows = "\n".join(["1"] * 2000 + ["0.5"])
    assert read_table(write(tmp_path, "x\n" + rows + "\n"))["x"].dtype == pl.Float64


def test_tabs(tmp_path):
    assert read_table(write(tmp_path, "y\tx\n1\t2\n", "data.tsv")).to_dict(as_series=False) == {"y": [1], "x": [2]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        ("y,x\n", "a header and no rows"),
        ("y,x\n1,2\n3\n", "line 3: 1 fields where the header has 2"),
        ("y,x\n1,2,3\n", "line 2: 3 fields where the header has 2"),
        ("y,x,y\n1,2,3\n", "two columns named 'y'"),
        ("y,,x\n1,2,3\n", "column 2 has no name"),
        ("y;x\n1;2\n", "separated by ';'"),
        ("y,x\n1,caf\u00e9\n".encode("latin1"), "byte 0xe9 at offset 9, line 2.*iconv"),
        ("y,x\n1,2\n".encode("utf-16"), "is UTF-16"),
        (b"y,x\n1,\x002\n", "zero bytes, first on line 2"),
    ],
)
def test_bad_csv(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        read_table(write(tmp_path, data))


def test_parquet_whole_truncated_and_foreign(tmp_path):
    path = tmp_path / "data.parquet"
    frame = pl.DataFrame({"y": [1.0, 2.0], "c": ["a", None]})
    frame.write_parquet(path)
    assert read_table(path).equals(frame)
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1):
        with pytest.raises(InputError, match="is truncated"):
            read_table(write(tmp_path, whole[:cut], "cut.parquet"))
    with pytest.raises(InputError, match="is not a Parquet file"):
        read_table(write(tmp_path, GOOD, "text.parquet"))
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_table(write(tmp_path, b"PAR1" + whole[4:-12] + b"\xff" * 8 + b"PAR1", "rotten.parquet"))


def test_files_that_are_none(tmp_path):
    write(tmp_path, GOOD, "survey.csv")
    with pytest.raises(InputError, match=r"There is no file .* Did you mean 'survey.csv'"):
        read_table(tmp_path / "survy.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(InputError, match=r"neither \.csv"):
        read_table(write(tmp_path, GOOD, "data.xlsx"))
