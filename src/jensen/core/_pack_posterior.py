"""Spaces, families and posteriors as plain data and arrays, and back: classes come from a fixed list of names."""

import importlib
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import _plain
from jensen.core.family import Density, Family
from jensen.core.posterior import (
    DensityPosterior,
    DrawsPosterior,
    PointPosterior,
    Posterior,
    WeightedPosterior,
    constrain_many,
)
from jensen.core.random import POSTERIOR, stream
from jensen.core.space import Space, Variable
from jensen.core.stored import StoredPosterior
from jensen.core.support import Support

NUM_STORED = 4000
_MAX_BYTES = 2**28  # of stored values: models with large deterministic sites store fewer draws
_MAX_SIZE = 2**40
MIN_SIZE = 100  # sizes and settings up to here are plausible, however small the arrays

Arrays = dict[str, np.ndarray]


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def family_classes(extra: tuple[type, ...] = ()) -> dict[str, type[Family]]:
    """The classes that a saved family may be of: the public ones of two modules, and `extra`."""
    modules = [importlib.import_module(f"jensen.{name}") for name in ("amortised", "families")]
    public = [getattr(module, name) for module in modules for name in module.__all__]
    known = [c for c in (*public, *extra) if isinstance(c, type) and issubclass(c, Family)]
    return {c.__name__: c for c in known}


def as_shape(value: Any) -> tuple[int, ...]:
    """A shape from untrusted plain data. Raises `ValueError` unless it is a list of sizes of a credible product."""
    if not isinstance(value, list) or len(value) > 32 or not all(type(n) is int and n >= 0 for n in value):
        raise ValueError(f"{value!r} is not a shape")
    if math.prod(value) > _MAX_SIZE:
        raise ValueError(f"the shape {value!r} is too large")
    return tuple(value)


def take(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...] | None, kinds: str) -> np.ndarray:
    """An array of the archive, checked: `shape` has None where any size will do, `kinds` are letters of dtypes."""
    if name not in arrays:
        raise ValueError(f"array {name!r} is missing")
    array = arrays[name]
    if array.dtype.kind not in kinds:
        raise ValueError(f"array {name!r} has dtype {array.dtype}")
    wrong = shape is not None and (
        len(shape) != array.ndim or any(s is not None and s != n for s, n in zip(shape, array.shape, strict=True))
    )
    if wrong:
        raise ValueError(f"array {name!r} has shape {array.shape}, expected {shape}")
    return array


def pack_space(space: Space, arrays: Arrays) -> list[dict[str, Any]]:
    """The variables as plain data; bounds go into `arrays`."""
    out = []
    for i, v in enumerate(space.variables):
        for j, bound in enumerate(v.support.bounds):
            arrays[f"space/{i}/{j}"] = np.asarray(bound)
        support = {"kind": v.support.kind, "event_dim": v.support.event_dim, "bounds": len(v.support.bounds)}
        out.append({"name": v.name, "shape": list(v.shape), **support})
    return out


def unpack_space(spec: Any, arrays: Arrays) -> Space:
    variables = []
    for i, v in enumerate(spec):
        bounds = tuple(jnp.asarray(take(arrays, f"space/{i}/{j}", None, "f")) for j in range(int(v["bounds"])))
        support = Support(str(v["kind"]), bounds, int(v["event_dim"]))
        variables.append(Variable(str(v["name"]), as_shape(v["shape"]), support))
    return Space(tuple(variables))


def pack_family(q: Family, name: str, arrays: Arrays) -> dict[str, Any]:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(q) if _is_array(leaf)]
    arrays.update({f"{name}/{i}": leaf for i, leaf in enumerate(leaves)})
    return {"class": type(q).__name__, "config": q.config(), "leaves": len(leaves)}


def unpack_family(spec: Any, name: str, arrays: Arrays, known: Mapping[str, type[Family]], dimension: int) -> Density:
    """The family of `spec`: built by `from_config`, abstractly where it can be, then filled with the saved leaves."""
    cls, config = known[spec["class"]], spec["config"]
    check_sizes(config, sum(a.size for n, a in arrays.items() if n.startswith(f"{name}/")))
    try:
        like = eqx.filter_eval_shape(cls.from_config, config)
    except jax.errors.JAXTypeError:  # it looks at the values of its placeholders
        like = cls.from_config(config)
    leaves, structure = jax.tree.flatten(like)
    places = [i for i, leaf in enumerate(leaves) if _is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)]
    if len(places) != spec["leaves"]:
        raise ValueError(f"a {cls.__name__} of {spec['config']!r} has {len(places)} arrays, the file {spec['leaves']}")
    for at, i in enumerate(places):
        saved = take(
            arrays, f"{name}/{at}", leaves[i].shape, "f" if leaves[i].dtype.kind == "f" else leaves[i].dtype.kind
        )
        leaves[i] = jnp.asarray(saved)
    q = jax.tree.unflatten(structure, leaves)
    if q.dimension != dimension:
        raise ValueError(f"the family has dimension {q.dimension}, the space {dimension}")
    return q


def check_sizes(config: Any, entries: int) -> None:
    """Raise `ValueError` for a size in a `config` that its arrays cannot have: a family of it would be built first."""
    if isinstance(config, dict | list):
        for part in config.values() if isinstance(config, dict) else config:
            check_sizes(part, entries)
    elif isinstance(config, int | float) and not abs(config) <= max(entries, MIN_SIZE):
        raise ValueError(f"{config!r} is no shape or size of a family with {entries} entries")


def _rebuilds(q: Family, known: Mapping[str, type[Family]]) -> bool:
    """Whether loading will be able to build `q` again: better found out now than when the model is gone."""
    if known.get(type(q).__name__) is not type(q):
        return False
    arrays: Arrays = {}
    try:
        spec = _plain.loads(_plain.dumps(pack_family(q, "q", arrays)))
        unpack_family(spec, "q", arrays, known, q.dimension)
    except (TypeError, ValueError, KeyError, NotImplementedError, AttributeError):
        return False
    return True


def pack_posterior(posterior: Posterior, seed: int, arrays: Arrays) -> dict[str, Any]:
    """The posterior as plain data and arrays; what cannot be rebuilt without the model is stored as draws."""
    known, out = family_classes(), {}
    match posterior:
        case StoredPosterior():
            return _pack_stored(posterior, arrays)
        case DensityPosterior():
            q = posterior.q.stored()
        case WeightedPosterior():
            q = posterior.proposal
            arrays |= {"z": np.asarray(posterior.z), "log_weights": np.asarray(posterior.log_weights)}
        case DrawsPosterior():
            q, out = None, {"independent": posterior.independent}
            arrays["chains"] = np.asarray(posterior.chains)
            if posterior.diverging is not None:
                arrays["diverging"] = np.asarray(posterior.diverging)
        case PointPosterior():
            q = None
            arrays["z"] = np.asarray(posterior.z)
            if posterior.others is not None:
                arrays["others"] = np.asarray(posterior.others)
        case _:
            q = None
    standard = type(posterior) in (DensityPosterior, WeightedPosterior, DrawsPosterior, PointPosterior)
    foreign = q is not None and not _rebuilds(q, known)
    if posterior.space.program is not None or not standard or foreign:
        for name in ("z", "log_weights", "chains", "diverging", "others"):
            arrays.pop(name, None)
        return _pack_stored(_stored(posterior, None if foreign else q, seed), arrays)
    family = None if q is None else pack_family(q, "q", arrays)
    return {"class": type(posterior).__name__, "family": family, **out}


def unpack_posterior(spec: Any, space: Space, arrays: Arrays, extra: tuple[type, ...]) -> Posterior:
    d, family, known = space.dimension, spec["family"], family_classes(extra)
    q = None if family is None else unpack_family(family, "q", arrays, known, d)

    def optional(name: str, shape: tuple[int | None, ...], kinds: str) -> Any:
        return jnp.asarray(take(arrays, name, shape, kinds)) if name in arrays else None

    match spec["class"]:
        case "DensityPosterior" if q is not None:
            return DensityPosterior(space, q)
        case "WeightedPosterior":
            z = take(arrays, "z", (None, d), "f")
            weights = take(arrays, "log_weights", z.shape[:1], "f")
            return WeightedPosterior(space, jnp.asarray(z), jnp.asarray(weights), q)
        case "DrawsPosterior":
            chains = take(arrays, "chains", (None, None, d), "f")
            diverging = optional("diverging", chains.shape[:2], "b")
            return DrawsPosterior(space, jnp.asarray(chains), diverging, bool(spec["independent"]))
        case "PointPosterior":
            return PointPosterior(space, jnp.asarray(take(arrays, "z", (d,), "f")), optional("others", (None, d), "f"))
        case "StoredPosterior":
            z = take(arrays, "z", (None, d), "f")
            names, chains = [str(n) for n in spec["values"]], int(spec["chains"])
            if not z.shape[0] or chains < 1 or z.shape[0] % chains:
                raise ValueError(f"{z.shape[0]} draws are not {chains} chains")
            values = {n: jnp.asarray(take(arrays, f"values/{i}", None, "fiubc")) for i, n in enumerate(names)}
            if any(v.ndim < 1 or v.shape[0] != z.shape[0] for v in values.values()):
                raise ValueError("values and draws differ in number")
            diverging = optional("diverging", z.shape[:1], "b")
            return StoredPosterior(space, jnp.asarray(z), values, diverging, q, chains, str(spec["origin"]))
    raise ValueError(f"unknown class of posterior {spec['class']!r}")


def _pack_stored(p: StoredPosterior, arrays: Arrays) -> dict[str, Any]:
    arrays["z"] = np.asarray(p.z)
    arrays.update({f"values/{i}": np.asarray(v) for i, v in enumerate(p.values.values())})
    if p.diverging is not None:
        arrays["diverging"] = np.asarray(p.diverging)
    family = None if p.q is None else pack_family(p.q, "q", arrays)
    plain = {"values": list(p.values), "chains": p.chains, "origin": p.origin}
    return {"class": "StoredPosterior", "family": family, **plain}


def _stored(posterior: Posterior, q: Any, seed: int) -> StoredPosterior:
    """Up to 4,000 draws with their values; of chains, evenly spaced ones, so that they stay chains."""
    space, chains, diverging = posterior.space, 1, None
    n = _affordable(space)
    if isinstance(posterior, DrawsPosterior):
        keep = posterior.chains
        chains = 1 if posterior.independent else keep.shape[0]
        length = keep.size // (chains * keep.shape[-1])
        rows = np.linspace(0, length - 1, min(length, max(1, n // chains))).astype(int)
        z = keep.reshape(chains, length, -1)[:, rows].reshape(-1, space.dimension)
        if posterior.diverging is not None:
            diverging = posterior.diverging.reshape(chains, length)[:, rows].reshape(-1)
    elif isinstance(posterior, PointPosterior):
        z = posterior.z[None]
    else:
        z = posterior.sample_z(stream(jax.random.key(seed), POSTERIOR), n)
    return StoredPosterior(space.plain(), z, constrain_many(space, z), diverging, q, chains, type(posterior).__name__)


def _affordable(space: Space) -> int:
    shapes = eqx.filter_eval_shape(space.constrain, jnp.zeros(space.dimension, jnp.result_type(float)))
    size = sum(math.prod(s.shape) * s.dtype.itemsize for s in jax.tree.leaves(shapes))
    return int(min(NUM_STORED, max(100, _MAX_BYTES // max(size, 1))))
