"""Posteriors of posteriordb as targets, with their reference draws. Magnusson et al. (2024), "posteriordb".

`posteriordb(name)` is the target, `posteriordb_names()` lists the 31 with reference draws, `reference(name)` holds
those and `flatten(name, draws)` puts draws of ours beside them. Data are read below $JENSEN_DATA/posteriordb.
"""

import inspect

from jensen.core import Target
from jensen.targets._numpyro import from_numpyro
from jensen.targets._posteriordb import _data
from jensen.targets._posteriordb._catalogue import NAMES, resolve
from jensen.targets._posteriordb._reference import Reference, flatten, reference

__all__ = ["Reference", "flatten", "posteriordb", "posteriordb_names", "reference"]


def posteriordb_names() -> tuple[str, ...]:
    """Names of the 31 posteriors with reference draws, in the order of the alphabet.

    `posteriordb` also knows "eight_schools-eight_schools_centered", the same posterior in harder coordinates.
    """
    return NAMES


def posteriordb(name: str) -> Target:
    """The posterior `name` of posteriordb, such as "garch-garch11", with its data.

    The density equals that of the Stan program up to a constant. Sites are named as posteriordb's parameters;
    what it calls transformed parameters are deterministic sites.
    Raises `UnknownName` (which suggests the nearest), or `DatasetError` where the data are not below $JENSEN_DATA or
    are damaged.
    """
    full, data, entry = resolve(name)
    model = entry.load(full.split("-")[1])
    fields = _data.data_set(data)
    return from_numpyro(model, **{field: fields[field] for field in inspect.signature(model).parameters})
