"""How the discrete unknowns of a target are summed out: jointly, or cell by cell of the plates that they share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, MissingCapability, PRNGKey, Target, Variable
from jensen.targets._numpyro import NumPyroTarget
from jensen.targets._sums import Sums

MAX_EVALUATIONS = 4096  # of the model, that one density may take
_TRIALS = 16

Range = tuple[int, int]


def sums_of(target: Target) -> Sums:
    """The sums over a target's discrete unknowns, by cells of their common plates where that is exact.

    Raises `InputError` if there is nothing to sum, a support is not finite or not known, or the joint support is too
    large; `MissingCapability` if nothing continuous is left.
    """
    discrete = [v for v in target.space.variables if v.support.discrete]
    if not discrete:
        raise InputError("The target has no discrete unknown: there is nothing to sum out")
    if len(discrete) == len(target.space.variables):
        names = ", ".join(repr(v.name) for v in discrete)
        raise MissingCapability(
            f"All unknowns ({names}) are discrete, so that nothing would be left after summing them out: use "
            "GradientVI(family=jensen.families.program(guide))"
        )
    ranges = {v.name: _ranges(v) for v in discrete}
    everything = [r for v in discrete for r in ranges[v.name]]
    cells = _by_cells(target, discrete, ranges)
    if cells is not None and _independent(cells):
        return cells
    joint = joint_sums(target, MAX_EVALUATIONS)
    if joint is not None:
        return joint
    names = ", ".join(repr(v.name) for v in discrete)
    why = "" if cells is None else " (and over the cells of their plates they are not independent)"
    raise InputError(
        f"The joint support of {names} has {_number(_size(everything))} values, more than the {MAX_EVALUATIONS} that "
        f"can be summed out{why}: use GradientVI(family=jensen.families.program(guide)) with "
        "gradient_estimators.ScoreFunction sites, or sum within the model"
    )


def joint_sums(target: Target, most: int) -> Sums | None:
    """The joint table of a target's discrete unknowns; None where it has more than `most` rows, or no end."""
    try:
        ranges = [r for v in target.space.variables if v.support.discrete for r in _ranges(v)]
    except InputError:
        return None
    if _size(ranges) > most * (1 + 1e-9):
        return None
    return Sums(target, None, _product(ranges), jnp.zeros((1, 0), jnp.result_type(float)), (), ())


def _ranges(v: Variable) -> list[Range]:
    """Lowest and highest value of each coordinate, in order."""
    if v.support.kind != "integer" or any(bool(np.any(np.isnan(b))) for b in v.support.bounds):
        raise InputError(
            f"{v.name!r} has no finite support that is known beforehand, so that it cannot be summed out: use "
            "GradientVI(family=jensen.families.program(guide)) with a score-function or measure-valued site"
        )
    low, high = (np.broadcast_to(np.asarray(b), v.shape).astype(int).ravel() for b in v.support.bounds)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _size(ranges: list[Range]) -> float:
    logs = [np.log(high - low + 1.0) for low, high in ranges]
    return float(np.exp(min(np.sum(logs), 700.0)))


def _number(size: float) -> str:
    return f"{size:.0f}" if size < 1e9 else f"{size:.1e}"


def _product(ranges: list[Range]) -> Float[Array, "k n"]:
    """All combinations, a row each."""
    grids = np.meshgrid(*(np.arange(low, high + 1) for low, high in ranges), indexing="ij")
    rows = np.stack([g.ravel() for g in grids], axis=1) if grids else np.zeros((1, 0))
    return jnp.asarray(rows, jnp.result_type(float))


def _by_cells(target: Target, discrete: list[Variable], ranges: dict[str, list[Range]]) -> Sums | None:
    """The sums by cells of the plates that all plated discrete unknowns share; None where that is no plan at all."""
    model: Any = target if isinstance(target, NumPyroTarget) else getattr(target, "full", None)
    if not isinstance(model, NumPyroTarget):
        return None
    sites = _plates(model, target)
    plated = [v for v in discrete if sites[v.name]]
    shared = [name for name in sites[plated[0].name] if all(name in sites[v.name] for v in plated)] if plated else []
    if not shared:
        return None
    layout, inner, outer = [], [], []
    for v in discrete:
        if v not in plated:
            outer += ranges[v.name]
            continue
        axes = tuple(sites[v.name][name][0] for name in shared)
        grid = np.array(ranges[v.name]).reshape(*v.shape, 2)
        grid = np.moveaxis(grid, axes, range(len(axes))).reshape(
            -1, *(n for i, n in enumerate(v.shape) if i not in axes), 2
        )
        low, high = grid[..., 0].min(0).ravel(), grid[..., 1].max(0).ravel()
        inner += list(zip(low.tolist(), high.tolist(), strict=True))
        layout.append((v.name, axes))
    plates = tuple((name, sites[plated[0].name][name][1]) for name in shared)
    if _size(outer + inner) > MAX_EVALUATIONS:
        return None
    return Sums(target, model, _product(outer), _product(inner), plates, tuple(layout))


def _plates(model: NumPyroTarget, target: Target) -> dict[str, dict[str, tuple[int, int]]]:
    """Of each site its plates: name to (axis of the site's value, size)."""
    found: dict[str, dict[str, tuple[int, int]]] = {}

    def abstract(z: Array) -> None:
        for name, (_, site) in model.site_arrays(z).items():
            batch = len(site["fn"].batch_shape)
            found[name] = {f.name: (batch + f.dim, f.size) for f in site["cond_indep_stack"]}

    jax.eval_shape(abstract, jax.ShapeDtypeStruct((target.space.dimension,), jnp.result_type(float)))
    return found


@Compiled
def _trials(sums: Sums, keys: Array) -> tuple[Array, Array, Array]:
    return jax.lax.map(lambda key: _trial(sums, key), keys)


def _trial(sums: Sums, key: PRNGKey) -> tuple[Array, Array, Array]:
    """(log p(z, d), the same put together from the cells, its size) at random z and d, other values in each cell."""
    key_z, key_outer, key_inner = jax.random.split(key, 3)
    keep = np.flatnonzero(~np.array(sums.space.discrete))
    z = sums.target.start(key_z)[keep]
    i = jax.random.randint(key_outer, (), 0, sums.outer.shape[0])
    j = jax.random.randint(key_inner, sums.cells, 0, sums.inner.shape[0])
    together = sums.target.log_density(sums.fill(z, sums.outer[i], sums.inner[j]))

    def alone(row: Array) -> tuple[Array, Array]:
        return sums.terms(sums.fill(z, sums.outer[i], sums.everywhere(row)))

    outside, inside = jax.lax.map(alone, sums.inner)
    picked = jnp.take_along_axis(inside, j[None], axis=0)[0]
    size = jnp.abs(outside[0]) + jnp.sum(jnp.abs(picked))
    return together, outside[0] + jnp.sum(picked), size


def _independent(sums: Sums) -> bool:
    """Whether the model is a product over the cells, found at random values: a dependence would show in all of them."""
    keys = jax.random.split(jax.random.key(0), _TRIALS)
    together, apart, size = (np.asarray(x) for x in _trials(sums, keys))
    finite = np.isfinite(together) & np.isfinite(apart)
    both = np.where(finite, True, together == apart)
    close = np.abs(together - apart) <= np.sqrt(np.finfo(together.dtype).eps) * (1.0 + size)
    return bool(np.all(both) and np.any(finite) and np.all(close[finite]))
