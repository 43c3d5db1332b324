"""Where data are found: in an installed package, in the folder $JENSEN_DATA, or at a public address."""

import hashlib
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
            check_sha256(file, self.sha256)
        else:
            download(self, file, urllib.request.urlopen)
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


def download(place: Download, file: Path, open_url: Callable[..., Any]) -> None:
    """Write what is at `place` to `file`, atomically, if it is what was pinned. Raises `DatasetError` otherwise."""
    if not place.url.startswith("https://"):
        raise DatasetError(f"{place.url} is not an https address: data are downloaded over https only")
    try:
        with open_url(place.url, timeout=60) as response:
            if not response.geturl().startswith("https://"):
                raise DatasetError(f"{place.url} redirects to {response.geturl()}, which is not https")
            data = response.read(place.size + 1)
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"{place.url} cannot be downloaded: {error}") from error
    if len(data) != place.size or hashlib.sha256(data).hexdigest() != place.sha256:
        raise DatasetError(f"{place.url} is not the pinned file ({place.size} bytes, SHA-256 {place.sha256[:16]}...)")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
            stream.write(data)
        os.replace(stream.name, file)
    except OSError as error:
        raise DatasetError(f"{file} cannot be written: {error}. Set JENSEN_CACHE to a folder that can") from error
