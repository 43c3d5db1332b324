"""Where data are found: in an installed package, in the folder $JENSEN_DATA, or at a public address."""

import hashlib
import http.client
import importlib.util
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jensen.core import JensenError

CHUNK = 2**20  # bytes


class DatasetError(JensenError, OSError):
    """Data that cannot be had: in no place, damaged, or not what was pinned; the message says what to do."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Bundled:
    """A file that an installed package ships; the package is located, not imported."""

    package: str
    path: str

    def find(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            file = Path(folder) / self.path
            if file.is_file():
                return file
        return None

    def describe(self) -> str:
        return f"the package {self.package}"


@dataclass(frozen=True)
class Shared:
    """A file below the folder $JENSEN_DATA, checked against its SHA-256."""

    path: str
    sha256: str

    def find(self) -> Path | None:
        folder = os.environ.get("JENSEN_DATA")
        file = Path(folder) / self.path if folder else None
        if file is None or not file.is_file():
            return None
        check_sha256(file, self.sha256)
        return file

    def describe(self) -> str:
        return f"$JENSEN_DATA/{self.path}"


@dataclass(frozen=True)
class Download:
    """A public original at a pinned version: an https address, its SHA-256, and its size in bytes."""

    url: str
    sha256: str
    size: int

    def find(self) -> Path | None:
        file = cache_folder() / self.sha256[:16] / self.url.rsplit("/", 1)[-1]
        if file.is_file():
            try:
                check_sha256(file, self.sha256)
                return file
            except DatasetError:  # a cache is only a copy: damaged, it goes
                file.unlink(missing_ok=True)
        download(self, file, open_https)
        return file

    def describe(self) -> str:
        return self.url


Place = Bundled | Shared | Download


def cache_folder() -> Path:
    """$JENSEN_CACHE, or `jensen` in the platform's folder for caches."""
    if own := os.environ.get("JENSEN_CACHE"):
        return Path(own)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jensen"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "jensen" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jensen"


def check_sha256(file: Path, expected: str) -> None:
    """Raise `DatasetError` unless the SHA-256 of `file` is `expected`."""
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected:
        raise DatasetError(
            f"{file} is damaged or of another version (SHA-256 {found[:16]}..., expected {expected[:16]}...): remove it"
        )


class HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https addresses only, each of them looked at before it is asked."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.lower().startswith("https://"):
            raise DatasetError(f"{req.full_url} redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https_opener() -> urllib.request.OpenerDirector:
    """An opener that knows no scheme but https: neither http, ftp nor local files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        HttpsRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def open_https(url: str, timeout: float) -> Any:
    """The response of an https address. Raises `DatasetError` for a redirect elsewhere, `OSError` as urllib does."""
    return https_opener().open(url, timeout=timeout)


def download(place: Download, file: Path, open_url: Callable[..., Any]) -> None:
    """Write what is at `place` to `file`, atomically, if it is what was pinned. Raises `DatasetError` otherwise.

    No more than the pinned size is read, nothing at all where the server announces another, and what was written of a
    file that is not the pinned one is removed.
    """
    if not place.url.startswith("https://"):
        raise DatasetError(f"{place.url} is not an https address: data are downloaded over https only")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = tempfile.NamedTemporaryFile(dir=file.parent, delete=False)  # noqa: SIM115  closed and removed below
    except OSError as error:
        raise _unwritable(file, error) from error
    part = Path(stream.name)
    try:
        with stream:
            _receive(place, stream, open_url)
        os.replace(part, file)
    except DatasetError:
        raise
    except OSError as error:
        raise _unwritable(file, error) from error
    finally:
        part.unlink(missing_ok=True)


def _unwritable(file: Path, error: OSError) -> DatasetError:
    return DatasetError(f"{file} cannot be written: {error}. Set JENSEN_CACHE to a folder that can")


def _receive(place: Download, stream: Any, open_url: Callable[..., Any]) -> None:
    wrong = DatasetError(f"{place.url} is not the pinned file ({place.size} bytes, SHA-256 {place.sha256[:16]}...)")
    digest, got = hashlib.sha256(), 0
    try:
        with open_url(place.url, timeout=60) as response:
            if not response.geturl().startswith("https://"):
                raise DatasetError(f"{place.url} redirects to {response.geturl()}, which is not https")
            announced = response.headers.get("Content-Length")
            if announced is not None and announced != str(place.size):
                raise wrong
            while got <= place.size:
                data = response.read(min(CHUNK, place.size + 1 - got))
                if not data:
                    break
                got += len(data)
                digest.update(data)
                stream.write(data)
    except DatasetError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise DatasetError(f"{place.url} cannot be downloaded: {error}") from error
    if got != place.size or digest.hexdigest() != place.sha256:
        raise wrong
