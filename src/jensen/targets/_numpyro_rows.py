"""NumPyro models whose observations lie in one subsampled plate, as targets of rows."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen.core import PRNGKey, Space, Target
from jensen.targets._numpyro import Model, NumPyroTarget


class NumPyroRows(Target):
    """log p(z) = log_prior(z) + N/B sum over the rows seen by the plate of log_likelihood(z)_i.

    `full`: the model as a target, whose one subsampled `plate` sees all N rows or those of a minibatch; `row_sites`:
    the observed sites inside the plate. The factor N/B is the plate's own.
    """

    full: NumPyroTarget
    plate: str = eqx.field(static=True)
    num_rows: int = eqx.field(static=True)
    row_sites: tuple[str, ...] = eqx.field(static=True)

    @property
    def space(self) -> Space:
        return self.full.space

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.full.log_density(z)

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        terms = self.full.site_terms(z)
        return sum((v for name, v in terms.items() if name not in self.row_sites), start=jnp.zeros((), z.dtype))

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " batch"]:
        trace = self.full.model.trace_at(self.space.split(z))
        total = jnp.zeros((), z.dtype)
        for name in self.row_sites:
            site = trace[name]
            frame = next(f for f in site["cond_indep_stack"] if f.name == self.plate)
            log_prob = jnp.asarray(site["fn"].log_prob(site["value"]), z.dtype)
            scale = 1.0 if site.get("scale") is None else site["scale"] * frame.size / self.num_rows
            rows = jnp.moveaxis(scale * log_prob, log_prob.ndim + frame.dim, 0)
            total = total + jnp.sum(rows.reshape(rows.shape[0], -1), axis=1)
        return total

    def minibatch(self, rows: Int[Array, " batch"]) -> "NumPyroRows":
        model = self.full.model
        seen = Model(model.fn, model.args, model.kwargs, model.plates, {self.plate: rows})
        full = NumPyroTarget(self.full.space, seen, self.full.observed_names)
        return type(self)(full, self.plate, self.num_rows, self.row_sites)  # pyright: ignore[reportCallIssue]

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        return self.full.predict(key, z)

    def observed(self) -> dict[str, Array]:
        return self.full.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.full.diagnose(z)


def with_rows(target: NumPyroTarget, trace: dict[str, Any]) -> Target:
    """`target` with rows if its one subsampled plate holds observed sites and no latent one; else itself."""
    if len(target.model.plates) != 1:
        return target
    ((plate, size),) = target.model.plates
    inside = [
        (name, site["is_observed"])
        for name, site in trace.items()
        if site["type"] == "sample" and any(f.name == plate for f in site["cond_indep_stack"])
    ]
    if not inside or not all(observed for _, observed in inside):
        return target
    sites = tuple(name for name, _ in inside)
    return NumPyroRows(target, plate, size, sites)  # pyright: ignore[reportCallIssue]


def rows_of_plate(target: NumPyroTarget, size: int) -> Target:
    """`target` with rows if its observed sites lie in one plate of `size`, subsampled or not; else itself."""
    trace: dict[str, Any] = {}
    jax.eval_shape(
        lambda z: trace.update(target.model.trace_at(target.space.split(z))), target.start(jax.random.key(0))
    )
    frames = [{f.name for f in site["cond_indep_stack"] if f.size == size} for site in trace.values() if _data(site)]
    shared = set.intersection(*frames) if frames else set()
    if len(shared) != 1:
        return target
    model = target.model
    seen = Model(model.fn, model.args, model.kwargs, ((shared.pop(), size),))
    return with_rows(NumPyroTarget(target.space, seen, target.observed_names), trace)


def _data(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and site["is_observed"] and type(site["fn"]).__name__ not in ("Unit", "Delta")
