"""A target between its whole numbers."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Space, Target
from jensen.core.support import describe
from jensen.targets._numpyro import NumPyroTarget


class Relaxed(Target):
    """log p(z) with the binary sites of a NumPyro model at values in [0, 1] rather than rounded to 0 or 1.

    log p(x = z) = z log p(x = 1) + (1 - z) log p(x = 0), and the rest of the model as it is written, evaluated at z:
    for `gradient_estimators.sites.GumbelSoftmax`. At whole numbers it is `target`; between them it is no density, and
    an objective under it is no bound. The model must be defined there: no indexing by x.

    Raises `InputError` if the target is no NumPyro model, has no discrete unknown, or one that is not binary.
    """

    target: Any

    def __check_init__(self):
        if not isinstance(self.target, NumPyroTarget):
            raise InputError(f"Relaxed takes a NumPyro model (targets.from_numpyro), got {type(self.target).__name__}")
        discrete = [v for v in self.target.space.variables if v.support.discrete]
        if not discrete:
            raise InputError("The target has no discrete unknown: there is nothing to relax")
        for v in discrete:
            if v.support.kind != "integer" or describe(v.support) != "integer(0, 1)":
                raise InputError(f"{v.name!r} is not binary, so that it has no relaxation: give it another estimator")

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
