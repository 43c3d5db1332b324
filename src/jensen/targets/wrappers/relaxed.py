"""A target between its whole numbers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Space, Target
from jensen.targets._numpyro import NumPyroTarget


class Relaxed(Target):
    """log p(z) with the coins and one-hot vectors of a NumPyro model at values between their vertices, not rounded.

    Of a coin log p(x = z) = z log p(x = 1) + (1 - z) log p(x = 0), z in [0, 1]; of a one-hot vector log p(x = z) =
    sum_k z_k log p_k, z on the simplex; the rest of the model as it is written, evaluated at z: for
    `gradient_estimators.sites.GumbelSoftmax`. At the vertices it is `target`; between them it is no density, and an
    objective under it is no bound. The model must be defined there: no indexing by x.

    Raises `InputError` if the target is no NumPyro model, has no discrete unknown, or one that is neither a Bernoulli
    site nor one of one-hot vectors (`targets.OneHotCategorical`).
    """

    target: Any

    def __check_init__(self):
        if not isinstance(self.target, NumPyroTarget):
            raise InputError(f"Relaxed takes a NumPyro model (targets.from_numpyro), got {type(self.target).__name__}")
        if not self.target.space.discrete_names:
            raise InputError("The target has no discrete unknown: there is nothing to relax")
        for name, kind in _kinds(self.target).items():
            if kind.startswith("Categorical"):
                raise InputError(
                    f"Site {name!r} is a {kind}, an index, which has nothing between its whole numbers: write it as "
                    "jensen.targets.OneHotCategorical and the rest of the model in terms of the vector (x @ w for w[x])"
                )
            if kind not in ("BernoulliProbs", "BernoulliLogits"):
                raise InputError(
                    f"Site {name!r} is a {kind}, neither a coin nor a one-hot vector, so that it has no relaxation: "
                    "give it another estimator (gradient_estimators.sites)"
                )

    @property
    def space(self) -> Space:
        return self.target.space

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        import numpyro

        inner: NumPyroTarget = self.target
        model = dataclasses.replace(inner.model, relaxed=True)
        with numpyro.validation_enabled(False):  # it takes values between whole numbers for impossible ones
            return dataclasses.replace(inner, model=model).log_density(z)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.target.start(key)

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        return self.target.predict(key, z)

    def observed(self) -> dict[str, Array]:
        return self.target.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.target.diagnose(z)


def _kinds(target: NumPyroTarget) -> dict[str, str]:
    """Of each discrete unknown that is no one-hot vector the name of its site's distribution. Nothing is computed."""
    found: dict[str, str] = {}
    wanted = [v.name for v in target.space.variables if v.support.discrete and v.support.kind != "one_hot"]

    def abstract(z: Array) -> None:
        trace = target.model.trace_at(target.space.split(z))
        for name in wanted:
            fn = trace[name]["fn"]
            while type(fn).__name__ in ("Independent", "ExpandedDistribution"):
                fn = fn.base_dist
            found[name] = type(fn).__name__

    jax.eval_shape(abstract, jax.ShapeDtypeStruct((target.space.dimension,), jnp.result_type(float)))
    return found
