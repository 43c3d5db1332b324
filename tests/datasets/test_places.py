"""Downloads: pinned, checked, limited, atomic."""

import hashlib
import io
from dataclasses import replace

import pytest

from jensen.datasets._places import Bundled, DatasetError, Download, cache_folder, download

DATA = b"a,b\n1,2\n"
PLACE = Download("https://example.org/x.csv", hashlib.sha256(DATA).hexdigest(), len(DATA))


class Response(io.BytesIO):
    def __init__(self, data, url):
        super().__init__(data)
        self.url = url

    def geturl(self):
        return self.url


def serve(data, url=PLACE.url):
    return lambda address, timeout: Response(data, url)


def test_a_pinned_file_is_written(tmp_path):
    file = tmp_path / "new" / "x.csv"
    download(PLACE, file, serve(DATA))
    assert file.read_bytes() == DATA
    assert [p.name for p in file.parent.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("data", [b"a,b\n1,3\n", DATA + b"3,4\n", DATA[:-1], b""])
def test_anything_else_is_refused_and_nothing_is_written(tmp_path, data):
    with pytest.raises(DatasetError, match="not the pinned file"):
        download(PLACE, tmp_path / "x.csv", serve(data))
    assert not list(tmp_path.iterdir())


def test_no_more_than_the_size_is_read(tmp_path):
    class Endless(Response):
        def read(self, size):
            assert size == len(DATA) + 1
            return b"0" * size

    with pytest.raises(DatasetError, match="not the pinned file"):
        download(PLACE, tmp_path / "x.csv", lambda address, timeout: Endless(b"", PLACE.url))


def test_https_only_also_after_a_redirect(tmp_path):
    with pytest.raises(DatasetError, match="https only"):
        download(replace(PLACE, url="http://example.org/x.csv"), tmp_path / "x.csv", serve(DATA))
    with pytest.raises(DatasetError, match="redirects"):
        download(PLACE, tmp_path / "x.csv", serve(DATA, "http://example.org/x.csv"))


def test_no_network_is_one_clear_error(tmp_path):
    def refuse(address, timeout):
        raise OSError("no route to host")

    with pytest.raises(DatasetError, match="cannot be downloaded: no route to host"):
        download(PLACE, tmp_path / "x.csv", refuse)


def test_a_file_in_the_cache_is_found_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("JENSEN_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    file = tmp_path / PLACE.sha256[:16] / "x.csv"
    download(PLACE, file, serve(DATA))
    assert PLACE.find() == file
    file.write_bytes(b"rotten")
    with pytest.raises(DatasetError, match="damaged"):
        PLACE.find()


def test_a_package_that_is_not_installed_has_no_file():
    assert Bundled("no_such_package_at_all", "x.csv").find() is None
    assert Bundled("jensen", "no/such/file").find() is None
