"""Readers meet a few hundred inputs from strangers; `jensen bench fuzz --inputs N` tries many more."""

import pytest
from jensen_bench.fuzz import fuzz

INPUTS = {"csv": 100, "parquet": 80, "npz": 100, "fit": 100, "checkpoint": 40, "formula": 60}


@pytest.mark.parametrize("reader", INPUTS)
def test_only_documented_errors_come_out(reader):
    row = fuzz(reader, INPUTS[reader], number=1)
    assert row["read"] + row["refused"] == INPUTS[reader]
    if reader == "checkpoint":  # one damaged file of two copies never stops a run
        assert row["refused"] == 0
    else:
        assert row["refused"] > 0


def test_the_fuzz_sees_an_error_that_is_not_documented(monkeypatch):
    from jensen.datasets import _tables

    monkeypatch.setattr(_tables, "_check_header", lambda *args: [][1])
    with pytest.raises(IndexError):
        fuzz("csv", 50)
