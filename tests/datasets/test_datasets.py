"""Data sets by name."""

import sys

import numpy as np
import pytest

from jensen import datasets
from jensen.core import InputError, UnknownName
from jensen.datasets._places import Bundled, Download, Shared
from jensen.datasets._registry import ENTRIES


def test_radon_needs_neither_network_nor_folder(monkeypatch):
    monkeypatch.delenv("JENSEN_DATA", raising=False)
    table = datasets.load("radon")
    assert {name: column.shape for name, column in table.items()} == dict.fromkeys(
        ("log_radon", "floor", "county", "log_uranium"), (919,)
    )
    assert len(np.unique(table["county"])) == 85
    # Gelman and Hill (2006): the first houses are of Aitkin county, with activities 2.2, 2.2, 2.9 and 1.0.
    np.testing.assert_allclose(np.exp(table["log_radon"][:4]), [2.2, 2.2, 2.9, 1.0], rtol=1e-6)


def test_packages_are_located_without_importing_them():
    before = set(sys.modules)
    datasets.load("radon")
    assert not {"arviz", "sklearn"} & (set(sys.modules) - before)


def test_rows_of_the_registry_are_complete_and_pinned():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) > 50
    for entry in ENTRIES:
        assert entry.description
        assert entry.licence
        assert entry.source
        assert entry.places
        for place in entry.places:
            assert isinstance(place, Bundled) or len(place.sha256) == 64
            assert not isinstance(place, Download) or (place.url.startswith("https://") and place.size > 0)


def test_describe_says_what_where_and_under_which_licence():
    words = datasets.describe("radon")
    assert "85 Minnesota counties" in words
    assert "Apache-2.0" in words
    assert "the package arviz" in words


def test_wrong_names_options_and_places(monkeypatch):
    with pytest.raises(UnknownName, match="Did you mean 'radon'"):
        datasets.load("radn")
    with pytest.raises(InputError, match="has no options, got 'rows'"):
        datasets.load("radon", rows=3)
    monkeypatch.delenv("JENSEN_DATA", raising=False)
    with pytest.raises(datasets.DatasetError, match="JENSEN_DATA"):
        datasets.load("mnist")


def test_a_file_in_the_folder_is_checked(monkeypatch, tmp_path):
    entry = next(e for e in ENTRIES if e.name == "oil_flow")
    place = entry.places[0]
    assert isinstance(place, Shared)
    file = tmp_path / place.path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"other")
    monkeypatch.setenv("JENSEN_DATA", str(tmp_path))
    with pytest.raises(datasets.DatasetError, match="damaged or of another version"):
        datasets.load("oil_flow")
