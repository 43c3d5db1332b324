"""Which latents matter: prior variances from conjugate statistics, and a score that no rescaling of a latent moves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.algorithms import ClosedUpdate
from jensen.core import InputError, PRNGKey, Scalar, scalar_field
from jensen.vae.model import LatentModel
from jensen.vae.priors import RelevancePrior

NAME = "prior.log_scale"


class Relevance(ClosedUpdate):
    """v_l <- (b + 1/2 sum_i z_il^2) / (a + n/2), z_i a draw of q(z | x_i) of each of n `rows`, under N(0, diag v).

    The precision of axis l has the prior Gamma(a, b), `shape` a and `rate` b, and v_l is its posterior's b_n / a_n.
    With the precision integrated out a latent is Student's t with 2 a_n degrees of freedom, a Gaussian for many. `rows`
    should not be among those that are trained on. `every`: steps from one update to the next, an epoch, say. For a
    model whose prior is a `RelevancePrior`.

    Raises `InputError` for another prior, rows that are no matrix, or a or b below zero.

    Source: Saha, Joshi and Whitaker (2025), ARD-VAE: a statistical formulation to find the relevant latent dimensions.
    """

    rows: Float[Array, "rows n"]
    every: int = eqx.field(static=True, default=100)
    shape: Scalar = scalar_field(0.0)
    rate: Scalar = scalar_field(0.0)

    def __check_init__(self):
        if not (self.shape >= 0 and self.rate >= 0 and self.every >= 1):
            raise InputError(
                "A Gamma prior of precisions wants shape and rate >= 0, and updates at least a step apart, got "
                f"{self.shape}, {self.rate} and every = {self.every}"
            )

    def names(self, target: Any) -> tuple[str, ...]:
        prior = getattr(getattr(target, "model", None), "prior", None)
        if not isinstance(prior, RelevancePrior):
            raise InputError(
                f"Relevance sets the variances of a RelevancePrior, and the prior is {type(prior).__name__}"
            )
        return (NAME,)

    def update(self, key: PRNGKey, z: Float[Array, " d"], conditional: Any, target: Any) -> dict[str, Array]:
        def square(key: PRNGKey, row: Float[Array, " n"]) -> Float[Array, " k"]:
            return conditional.given(row).sample(key) ** 2

        n = len(self.rows)
        total = jnp.sum(jax.vmap(square)(jax.random.split(key, n), self.rows), 0)
        return {NAME: 0.5 * jnp.log((self.rate + 0.5 * total) / (self.shape + 0.5 * n))}


def relevance(
    model: LatentModel, conditional: Any, X: Float[Array, "rows n"], variances: Float[Array, " k"]
) -> Float[Array, " k"]:
    """r_l = v_l sum_p (mean over rows of |d E[x_p | z] / d z_l|)^2 at the means of q: what axis l does to the rows.

    `variances`: v of the prior. Free of the scale of z_l, unlike v_l itself: a latent that is not used keeps whatever
    v_l it has. Units of the columns, squared.

    Source: Saha, Joshi and Whitaker (2025).
    """
    return _scores(model, conditional, X, variances)


@eqx.filter_jit
def _scores(model: LatentModel, conditional: Any, X: Array, variances: Array) -> Array:
    means = jax.vmap(lambda x: conditional.given(x).mean_and_cov()[0])(X)
    slopes = jnp.mean(jnp.abs(jax.vmap(jax.jacfwd(model.reconstruct))(means)), 0)
    return variances * jnp.sum(slopes**2, 0)


def relevant_axes(scores: Float[Array, " k"] | np.ndarray, share: float = 0.99) -> Int[np.ndarray, " m"]:
    """The fewest axes whose scores make up more than `share` of the sum, the most relevant first.

    Raises `InputError` for a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise InputError(f"share must lie between 0 and 1, got {share}")
    values = np.asarray(scores, float)
    order = np.argsort(-values)
    return order[: 1 + int(np.sum(np.cumsum(values[order]) <= share * values.sum()))]
