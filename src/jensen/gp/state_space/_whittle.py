"""Hyperparameters of a stationary process on a regular grid from its periodogram, in O(n log n)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import GaussianPrior, PRNGKey, Sites


def flat(n: int) -> Float[Array, " n"]:
    """The taper that weighs all times alike, 1 / sqrt(n)."""
    return jnp.full(n, n**-0.5)


def hann(n: int) -> Float[Array, " n"]:
    """sin^2 from end to end, of unit norm.

    Without a taper the jump from the last value to the first leaks a tail w^-2 into every periodogram, which drowns the
    tails of smooth processes, and with them what they tell of the lengthscale.
    """
    weights = jnp.sin(jnp.pi * (jnp.arange(n) + 0.5) / n) ** 2
    return weights / jnp.linalg.norm(weights)


def periodogram(x: Float[Array, " n"], taper: Float[Array, " n"]) -> Float[Array, " m"]:
    """I(w) = |sum_t a_t x_t exp(-i w t)|^2 at the n // 2 + 1 frequencies of the real Fourier transform, a the taper."""
    return jnp.abs(jnp.fft.rfft(taper * x)) ** 2


def expected_periodogram(kernel: Any, gap: Any, taper: Float[Array, " n"]) -> Float[Array, " m"]:
    """E[I(w)] of f ~ GP(0, kernel) at n times `gap` apart: the sum over lags of k(lag gap) r(lag) cos(w lag).

    r(lag) = sum_t a_t a_{t + lag}. Leakage and aliasing are in it, which the spectral density itself lacks.
    """
    n = taper.shape[0]
    at_lag = jax.vmap(lambda lag: kernel.evaluate(jnp.zeros(()), lag * gap))(jnp.arange(n, dtype=taper.dtype))
    overlap = jnp.fft.irfft(jnp.abs(jnp.fft.rfft(taper, 2 * n)) ** 2, 2 * n)[:n]
    seen = overlap * at_lag
    return 2 * jnp.fft.fft(seen).real[: n // 2 + 1] - seen[0]


def whittle(kernel: Any, observed: Float[Array, " m"], gap: Any, taper: Float[Array, " n"]) -> Float[Array, ""]:
    """The debiased Whittle log likelihood of a kernel, -1/2 sum_w [log S(w) + I(w) / S(w)], in nats up to a constant.

    The sum is over all n frequencies; S is the expected periodogram under the same taper.

    `observed`: the periodogram I of n values `gap` apart, or its expectation under a posterior of the values (then this
    is the E-step's bound for expectation maximisation; that of the posterior mean alone lacks the posterior variance,
    and over-smooths). `taper`: `hann(n)`; `flat(n)` for rough processes, of which it wastes fewer values.

    Source: Whittle (1953); Sykulski et al. (2019), The debiased Whittle likelihood; for posteriors of latent
    trajectories Dowling, Zhao and Park (2023).
    """
    n = taper.shape[0]
    spectrum = jnp.maximum(expected_periodogram(kernel, gap, taper), jnp.finfo(observed.dtype).tiny)
    # frequencies but the ends stand for themselves and their mirror image
    copies = jnp.full(observed.shape, 2.0).at[0].set(1.0).at[-1].set(1.0 if n % 2 == 0 else 2.0)
    return -0.5 * jnp.sum(copies * (jnp.log(spectrum) + observed / spectrum))


def posterior_draw(key: PRNGKey, prior: GaussianPrior, sites: Sites) -> Float[Array, "n k"]:
    """One draw of the latent values at all sites from q = prior times sites, at the cost of one conditioning.

    A draw f0 of the prior plus the posterior mean for what it leaves unexplained: f0 + E[f | l - Pi f0 - Pi^(1/2) eps]
    (pathwise conditioning, Matheron's rule). For priors without residual, and sites of semi-definite precision.

    Source: Hoffman and Ribak (1991); Wilson et al. (2020), Efficiently sampling functions from Gaussian process
    posteriors.
    """
    for_prior, for_sites = jax.random.split(key)
    centre = prior.from_white(jnp.zeros(prior.dimension, sites.linear.dtype))[0]
    drawn = prior.from_white(jax.random.normal(for_prior, (prior.dimension,), sites.linear.dtype))[0] - centre
    value, vector = jnp.linalg.eigh(sites.precision)
    noise = jax.random.normal(for_sites, sites.linear.shape, sites.linear.dtype)
    scattered = jnp.einsum("nij,nj->ni", vector * jnp.sqrt(jnp.maximum(value, 0.0))[:, None], noise)
    left = sites.linear - jnp.einsum("nij,nj->ni", sites.precision, drawn) - scattered
    return drawn + prior.condition(Sites(left, sites.precision)).mean
