"""The unscented autoencoder: a decoder that averages over sigma points, and posteriors near N(0, I) in Wasserstein."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, Objective, PRNGKey, Scalar, scalar_field
from jensen.families import DiagonalGaussian
from jensen.gradient_estimators.sigma_points import SigmaPoints, check_gaussian, sigma_points


def squared_wasserstein(q: Any) -> Float[Array, ""]:
    """W_2(N(m, S), N(0, I))^2 = |m|^2 + |S^1/2 - I|_F^2, for a Gaussian q, full or diagonal.

    Source: Dowson and Landau (1982), The Frechet distance between multivariate normal distributions.
    """
    if isinstance(q, DiagonalGaussian):
        return jnp.sum(q.mean**2) + jnp.sum((jnp.exp(q.log_scale) - 1) ** 2)
    mean, cov = q.mean_and_cov()
    # tr S^1/2 is the sum of the singular values of L
    singular = jnp.linalg.svd(jnp.tril(q.scale_tril), compute_uv=False)
    return jnp.sum(mean**2) + jnp.trace(cov) + len(mean) - 2 * jnp.sum(singular)


class WassersteinLoss(Objective):
    """w W_2(q, N(0, I))^2 - E_q[log p(x | z)], w = `weight`: the ELBO with another pull on q, and no bound.

    A narrow q costs at most one a unit where the divergence would grow without limit. `estimator`: of the expectation;
    sigma points by default, without noise.

    Raises `InputError` for a q that is no Gaussian.

    Source: Janjos, Rosenbaum, Dolgov and Zoellner (2023), Unscented autoencoder, their variants; the penalty on single
    posteriors is not that of Wasserstein autoencoders, which is on the aggregate.
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(1.0)
    estimator: GradientEstimator = SigmaPoints()

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        check_gaussian(self, q)
        pull = self.weight * squared_wasserstein(q)
        misfit = self.estimator.expectation(key, q, lambda _, z: -target.log_likelihood(z))
        return Estimate(pull + misfit.value, pull + misfit.surrogate, misfit.standard_error)


class UnscentedLoss(Objective):
    """-log p(x | mean_k D(z_k)) + w W_2(q, N(0, I))^2 + v sum_i |J_D(m) L_i|^2, z_k the 2 d sigma points of q.

    w = `weight`, v = `roughness`, L_i the columns of a root of q's covariance, J_D the decoder's Jacobian. The decoded
    points are averaged before they are judged: what their spread costs in an ELBO is not counted, and the decoder may
    use the points as an ensemble, its value at m alone being poor, unless the third term forbids it: keep v near one
    for rows of unit noise. No noise; no bound on the evidence. Draws from N(0, I) are poor: fit a density
    to the codes afterwards (`ex_post`). Cost: 3 d passes of the decoder.

    Raises `InputError` for a q that is no Gaussian.

    Source: Janjos, Rosenbaum, Dolgov and Zoellner (2023), Unscented autoencoder; with squared norms, where their code
    takes plain ones.
    """

    bound: ClassVar[str | None] = None
    weight: Scalar = scalar_field(1.0)
    roughness: Scalar = scalar_field(1.0)

    def loss(self, key: PRNGKey, q: Any, target: Any) -> Estimate:
        check_gaussian(self, q)
        model, d = target.model, q.dimension
        points = sigma_points(d)[0][1:]
        decoded = jnp.mean(jax.vmap(lambda eps: model.decoder(q.from_noise(eps)))(points), 0)
        misfit = -model.likelihood.log_prob(target.x, decoded)
        mean = q.from_noise(jnp.zeros(d, points.dtype))

        def slope(eps: Float[Array, " d"]) -> Array:
            return jax.jvp(model.decoder, (mean,), (q.from_noise(eps) - mean,))[1]

        rough = jnp.sum(jax.vmap(slope)(jnp.eye(d, dtype=points.dtype)) ** 2)
        value = misfit + self.weight * squared_wasserstein(q) + self.roughness * rough
        return Estimate(value, value, jnp.zeros_like(value))
