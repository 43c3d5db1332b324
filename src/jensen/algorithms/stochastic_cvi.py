"""Natural-gradient variational inference for sparse latent Gaussian models, from minibatches of rows."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.algorithms._natural import NaturalGradient
from jensen.algorithms._sites import apply
from jensen.core import (
    Clock,
    DensityPosterior,
    GaussianPrior,
    LatentGaussian,
    Posterior,
    PRNGKey,
    Scalar,
    Space,
    Step,
    make_step,
    scalar_field,
)
from jensen.families import Gaussian, WhiteGaussian


class StochasticCVIState(eqx.Module):
    """The prior of all rows, and their sites seen from z, l and P: q(z) = N(z; 0, I) exp(l z - z P z / 2)."""

    prior: GaussianPrior
    linear: Float[Array, " d"]
    precision: Float[Array, "d d"]


class StochasticCVI(NaturalGradient):
    """(l, P) <- (1 - r)(l, P) + r N/B sum_B (A_i^T (g_i - H_i A_i m), -A_i^T H_i A_i), f_i = c_i + A_i z + residual.

    The natural gradient of the ELBO over all Gaussians q(z) = N(m, S), S^-1 = I + P, estimated from B of N rows; z are
    the white inducing variables, g_i and H_i gradient and Hessian of E_q[log p(y_i | f_i)] in the mean of f_i. The
    fixed point is that of `CVI` (the same q(z), one that needs no site of each row): O(B d^2 + d^3) a step and O(d^2)
    of state, whatever N. Run it on `Minibatched(model, B)` or `Shuffled(model, B)`, model a `gp.LatentModel` on an
    inducing-point prior; on the model itself each step sees all rows.

    `rate`: r in (0, 1]. `settling`: last fraction of the run in which r = rate / (1 + rate s) after s of its steps, so
    that steps are averaged and noise falls as 1/s. With rate 1 and settling 1 all steps are averaged alike: an epoch of
    `Shuffled` is then exact for a Gaussian likelihood. A step whose precision is not positive definite (likelihoods
    that are not log-concave) is left out.

    The history holds -ELBO in nats, unbiased but from B rows, and as residual the length of the natural gradient in
    standard deviations of q, of which noise keeps some: a run on minibatches ends by its number of steps.

    Not for exact priors: z is as long as the data there, and `CVI` costs less.

    Raises `InputError` for a rate outside (0, 1].

    Source: Hensman, Fusi and Lawrence (2013), Gaussian processes for big data; Salimbeni, Eleftheriadis and Hensman
    (2018), Natural gradients in practice; Khan and Lin (2017), Conjugate-computation variational inference.
    """

    needs: ClassVar[Any] = LatentGaussian
    gives: ClassVar[type] = DensityPosterior
    exact: ClassVar[bool] = False
    rate: Scalar = scalar_field(0.2)
    settling: Scalar = scalar_field(0.5)
    tolerance: Scalar = scalar_field(1e-6)

    @property
    def default_steps(self) -> int:
        return 500

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> StochasticCVIState:
        d, real = target.prior.dimension, jnp.result_type(float)
        if isinstance(start, DensityPosterior) and isinstance(start.q, WhiteGaussian):
            precision = jnp.linalg.inv(start.q.white.cov)
            return StochasticCVIState(target.prior, precision @ start.q.white.mean, precision - jnp.eye(d, dtype=real))
        return StochasticCVIState(target.prior, jnp.zeros(d, real), jnp.zeros((d, d), real))

    def step(
        self, key: PRNGKey, state: StochasticCVIState, target: Any, clock: Clock
    ) -> tuple[StochasticCVIState, Step]:
        q = _gaussian(state)
        centre, residual, weights = _design(target.prior)
        spread = weights @ q.scale_tril
        mean, cov = centre + weights @ q.mean, spread @ jnp.swapaxes(spread, 1, 2) + residual

        def expected(mean: Array, cov: Array) -> Array:
            return jnp.sum(target.expected(mean, cov))

        value, (slope, curvature) = jax.value_and_grad(expected, (0, 1))(mean, cov)
        hessian = curvature + jnp.swapaxes(curvature, 1, 2)
        linear = jnp.einsum("nkd,nk->d", weights, slope - apply(hessian, weights @ q.mean))
        precision = -jnp.einsum("nkd,nkl,nle->de", weights, hessian, weights)

        rate = self.rate / (1 + self.rate * self.settled(clock))
        new = _moved(state, StochasticCVIState(state.prior, linear, precision), rate)
        length = _length(q, linear - state.linear, precision - state.precision)
        divergence = 0.5 * (jnp.sum(q.scale_tril**2) + q.mean @ q.mean - q.dimension) - jnp.sum(
            jnp.log(jnp.diagonal(q.scale_tril))
        )
        return new, make_step(divergence - value, length, self.verdict(length, q.dimension))

    def posterior(self, state: StochasticCVIState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, WhiteGaussian(state.prior, _gaussian(state)))


def _moved(old: StochasticCVIState, wanted: StochasticCVIState, rate: Scalar) -> StochasticCVIState:
    """(1 - rate) old + rate wanted, or old where its precision is not positive definite."""
    linear = old.linear + rate * (wanted.linear - old.linear)
    precision = old.precision + rate * (wanted.precision - old.precision)
    proper = jnp.all(jnp.isfinite(jnp.linalg.cholesky(jnp.eye(len(linear), dtype=linear.dtype) + precision)))
    take = proper | ~jnp.all(jnp.isfinite(wanted.precision))  # NaN is the loop's to see
    return StochasticCVIState(old.prior, jnp.where(take, linear, old.linear), jnp.where(take, precision, old.precision))


def _gaussian(state: StochasticCVIState) -> Gaussian:
    """N((I + P)^-1 l, (I + P)^-1), with a lower factor: that of the reversed precision, reversed back."""
    d, dtype = len(state.linear), state.linear.dtype
    reverse = jnp.linalg.cholesky((jnp.eye(d, dtype=dtype) + state.precision)[::-1, ::-1])[::-1, ::-1]
    tril = jax.scipy.linalg.solve_triangular(reverse, jnp.eye(d, dtype=dtype), lower=False).T
    return Gaussian(tril @ (tril.T @ state.linear), tril)


def _design(prior: GaussianPrior) -> tuple[Float[Array, "b k"], Float[Array, "b k k"], Float[Array, "b k d"]]:
    """c, residual and A of f = c + A z + residual."""
    zero = jnp.zeros(prior.dimension, jnp.result_type(float))
    centre, residual = prior.from_white(zero)
    return centre, residual, jax.jacfwd(lambda z: prior.from_white(z)[0])(zero)


def _length(q: Gaussian, linear: Float[Array, " d"], precision: Float[Array, "d d"]) -> Float[Array, ""]:
    """Of a change of natural parameters: of the mean, and of half the log variances, root of the sum of squares."""
    shift = q.scale_tril.T @ (linear - precision @ q.mean)
    spread = q.scale_tril.T @ precision @ q.scale_tril
    return jnp.sqrt(jnp.sum(shift**2) + 0.5 * jnp.sum(spread**2))
