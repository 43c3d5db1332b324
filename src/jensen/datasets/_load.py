"""`load`, `names`, `describe`: data sets by name."""

from typing import Any

from jensen.core import UnknownName
from jensen.datasets._places import DatasetError
from jensen.datasets._readers import check_options
from jensen.datasets._registry import ENTRIES, Entry

_BY_NAME = {entry.name: entry for entry in ENTRIES}


def names() -> tuple[str, ...]:
    """Names of the data sets."""
    return tuple(_BY_NAME)


def describe(name: str) -> str:
    """What the data set `name` is, its licence, its source and where it is found. Raises `UnknownName`."""
    entry = _entry(name)
    places = ", then ".join(place.describe() for place in entry.places)
    return f"{entry.name}: {entry.description}\nlicence: {entry.licence}\nsource: {entry.source}\nfound in: {places}"


def load(name: str, **options: Any) -> dict[str, Any]:
    """The data set `name`, a dict of arrays.

    It is looked for in the packages that Jensen depends on, then in the folder $JENSEN_DATA, and then downloaded from
    its public original (https, a pinned version, checked against its SHA-256) into $JENSEN_CACHE or the platform's
    folder for caches. Raises `UnknownName` for an unknown name, `InputError` for an unknown option, `DatasetError`
    where the data are in none of these places or are damaged.
    """
    entry = _entry(name)
    check_options(name, options, entry.options)
    for place in entry.places:
        file = place.find()
        if file is not None:
            return entry.read(file, **options)
    places = " or ".join(place.describe() for place in entry.places)
    raise DatasetError(
        f"The data set {name!r} is not here: it is found in {places}. Install the package, or set the environment "
        f"variable JENSEN_DATA to the folder that holds the file. Source: {entry.source}"
    )


def _entry(name: str) -> Entry:
    if name not in _BY_NAME:
        raise UnknownName("data set", str(name), _BY_NAME)
    return _BY_NAME[name]
