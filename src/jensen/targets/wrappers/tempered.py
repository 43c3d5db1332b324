"""A target raised to a power."""

from jaxtyping import Array, Float

from jensen.core import PRNGKey, Scalar, Space, Target, scalar_field


class Tempered(Target):
    """log p_beta(z) = beta log p(z): flatter for beta < 1, sharper for beta > 1.

    The power is taken of the density of the unconstrained z, Jacobian included. An ELBO under it is no bound on the
    evidence of `target`: its normaliser is another.
    """

    target: Target
    beta: Scalar = scalar_field()

    @property
    def space(self) -> Space:
        return self.target.space

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return self.beta.astype(z.dtype) * self.target.log_density(z)

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.target.start(key)

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        return self.target.predict(key, z)

    def observed(self) -> dict[str, Array]:
        return self.target.observed()

    def diagnose(self, z: Float[Array, " d"]) -> str:
        return self.target.diagnose(z)
