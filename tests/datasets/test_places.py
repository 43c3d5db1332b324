"""Downloads: pinned, checked, limited, atomic."""

import email.message
import hashlib
import http.client
import io
import urllib.request
import urllib.response
from dataclasses import replace

import pytest

from jensen.datasets import _places
from jensen.datasets._places import Bundled, DatasetError, Download, cache_folder, download, https_opener

DATA = b"a,b\n1,2\n"
PLACE = Download("https://example.org/x.csv", hashlib.sha256(DATA).hexdigest(), len(DATA))


class Response(io.BytesIO):
    def __init__(self, data, url):
        super().__init__(data)
        self.url, self.headers = url, {}

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
    monkeypatch.setattr(_places, "open_https", serve(b"rotten too"))
    with pytest.raises(DatasetError, match="not the pinned file"):
        PLACE.find()
    assert not list(file.parent.iterdir())  # the damaged copy is gone, and nothing stands in its place
    monkeypatch.setattr(_places, "open_https", serve(DATA))
    file.write_bytes(b"rotten")
    assert PLACE.find() == file
    assert file.read_bytes() == DATA


class Server(urllib.request.HTTPSHandler):
    """Answers of https addresses without a network, under urllib's own machinery for redirects and errors."""

    handler_order = 100

    def __init__(self, answers):
        super().__init__()
        self.answers, self.asked = answers, []

    def https_open(self, req):
        self.asked.append(req.full_url)
        code, headers, data = self.answers[req.full_url]
        message = email.message.Message()
        for name, value in headers.items():
            message[name] = value
        response = urllib.response.addinfourl(io.BytesIO(data), message, req.full_url, code)
        response.msg = ""
        return response


def opened(answers):
    server, opener = Server(answers), https_opener()
    opener.add_handler(server)
    return server, lambda url, timeout: opener.open(url, timeout=timeout)


def test_redirects_to_https_are_followed(tmp_path):
    mirror = "https://mirror.example.org/x.csv"
    server, open_url = opened({PLACE.url: (302, {"Location": mirror}, b""), mirror: (200, {}, DATA)})
    download(PLACE, tmp_path / "x.csv", open_url)
    assert server.asked == [PLACE.url, mirror]


@pytest.mark.parametrize(
    "address",
    ["http://mirror.example.org/x.csv", "ftp://mirror.example.org/x.csv", "file:///etc/passwd", "data:,x"],
)
def test_other_redirects_are_refused_before_they_are_asked(tmp_path, address):
    server, open_url = opened({PLACE.url: (302, {"Location": address}, b"")})
    with pytest.raises(DatasetError, match=r"which is not https|cannot be downloaded"):
        download(PLACE, tmp_path / "x.csv", open_url)
    assert server.asked == [PLACE.url]
    assert not list(tmp_path.iterdir())


def test_a_chain_of_redirects_may_not_pass_through_http(tmp_path):
    first, last = "http://plain.example.org/x.csv", "https://mirror.example.org/x.csv"
    answers = {PLACE.url: (301, {"Location": first}, b""), first: (301, {"Location": last}, b""), last: (200, {}, DATA)}
    server, open_url = opened(answers)
    with pytest.raises(DatasetError, match="redirects to http://plain"):
        download(PLACE, tmp_path / "x.csv", open_url)
    assert server.asked == [PLACE.url]


@pytest.mark.parametrize("scheme", ["http", "ftp", "file", "data"])
def test_the_opener_knows_no_other_scheme(scheme):
    with pytest.raises(OSError, match=f"unknown url type: {scheme}"):
        https_opener().open(f"{scheme}://example.org/x", timeout=1)


def test_a_wrong_length_is_refused_before_anything_is_read(tmp_path):
    class Unread(io.BytesIO):
        def read(self, *args):
            raise AssertionError("read")

    def serve_unread(url, timeout):
        message = email.message.Message()
        message["Content-Length"] = str(10**12)
        return urllib.response.addinfourl(Unread(), message, url, 200)

    with pytest.raises(DatasetError, match="not the pinned file"):
        download(PLACE, tmp_path / "x.csv", serve_unread)
    assert not list(tmp_path.iterdir())


def test_a_download_that_breaks_off_leaves_nothing(tmp_path):
    class Broken(Response):
        def read(self, size):
            if self.tell():
                raise http.client.IncompleteRead(b"")
            return super().read(2)

    with pytest.raises(DatasetError, match="cannot be downloaded"):
        download(PLACE, tmp_path / "x.csv", lambda url, timeout: Broken(DATA, url))
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_not_installed_has_no_file():
    assert Bundled("no_such_package_at_all", "x.csv").find() is None
    assert Bundled("jensen", "no/such/file").find() is None
