"""How the discrete unknowns of a target are summed out: jointly, or cell by cell of the plates that they share."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, InputError, MissingCapability, PRNGKey, Target, Variable
from jensen.targets._numpyro import NumPyroTarget
from jensen.targets._sums import Sums

MAX_EVALUATIONS = 4096  # of the model, that one density may take
_TRIALS = 16


class Choice(NamedTuple):
    """The values of a coordinate, low..high; with `width` those of so many coordinates together, one-hot vectors."""

    low: int
    high: int
    width: int = 0

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def values(self) -> np.ndarray:
        """(size, coordinates)."""
        return np.eye(self.width) if self.width else np.arange(self.low, self.high + 1.0)[:, None]


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
    choices = {v.name: _choices(v) for v in discrete}
    everything = [c for v in discrete for c in choices[v.name]]
    cells = _by_cells(target, discrete, choices)
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
        choices = [c for v in target.space.variables if v.support.discrete for c in _choices(v)]
    except InputError:
        return None
    if _size(choices) > most * (1 + 1e-9):
        return None
    return Sums(target, None, _product(choices), jnp.zeros((1, 0), jnp.result_type(float)), (), ())


def _choices(v: Variable) -> list[Choice]:
    """What each coordinate, or one-hot vector of them, may be, in order."""
    if v.support.kind == "one_hot":
        return [Choice(1, v.shape[-1], v.shape[-1])] * math.prod(v.shape[:-1])
    if v.support.kind != "integer" or any(bool(np.any(np.isnan(b))) for b in v.support.bounds):
        raise InputError(
            f"{v.name!r} has no finite support that is known beforehand, so that it cannot be summed out: use "
            "GradientVI(family=jensen.families.program(guide)) with a score-function or measure-valued site"
        )
    low, high = (np.broadcast_to(np.asarray(b), v.shape).astype(int).ravel() for b in v.support.bounds)
    return [Choice(*pair) for pair in zip(low.tolist(), high.tolist(), strict=True)]


def _size(choices: list[Choice]) -> float:
    logs = [np.log(float(c.size)) for c in choices]
    return float(np.exp(min(np.sum(logs), 700.0)))


def _number(size: float) -> str:
    return f"{size:.0f}" if size < 1e9 else f"{size:.1e}"


def _product(choices: list[Choice]) -> Float[Array, "k n"]:
    """All combinations, a row each."""
    grids = np.meshgrid(*(np.arange(c.size) for c in choices), indexing="ij")
    parts = [c.values()[g.ravel()] for c, g in zip(choices, grids, strict=True)]
    rows = np.concatenate(parts, axis=1) if parts else np.zeros((1, 0))
    return jnp.asarray(rows, jnp.result_type(float))


def _by_cells(target: Target, discrete: list[Variable], choices: dict[str, list[Choice]]) -> Sums | None:
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
            outer += choices[v.name]
            continue
        axes = tuple(sites[v.name][name][0] for name in shared)
        inner += _in_a_cell(choices[v.name], v.shape[:-1] if v.support.kind == "one_hot" else v.shape, axes)
        layout.append((v.name, axes))
    plates = tuple((name, sites[plated[0].name][name][1]) for name in shared)
    if _size(outer + inner) > MAX_EVALUATIONS:
        return None
    return Sums(target, model, _product(outer), _product(inner), plates, tuple(layout))


def _in_a_cell(choices: list[Choice], shape: tuple[int, ...], axes: tuple[int, ...]) -> list[Choice]:
    """Of an array of choices, of `shape`, what one cell of its `axes` may hold: any of what the cells may."""
    grid = np.array(choices).reshape(*shape, 3)
    rest = [n for i, n in enumerate(shape) if i not in axes]
    grid = np.moveaxis(grid, axes, range(len(axes))).reshape(-1, math.prod(rest), 3)
    return [Choice(*c) for c in zip(grid[..., 0].min(0).tolist(), *grid[..., 1:].max(0).T.tolist(), strict=True)]


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
