"""Autoencoders of functions: encoders and decoders that take any points, and the bound in function space."""

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.amortised import Encoder
from jensen.core import Density, InputError, PRNGKey, Scalar, scalar_field
from jensen.vae.likelihoods import Likelihood
from jensen.vae.model import LatentModel
from jensen.vae.networks import Decoder, perceptron


def function_rows(values: Any, points: Any, weights: Any = None) -> Float[Array, "rows c"]:
    """Functions u seen at m points of [0, 1]^d, as rows of m (2 + d) numbers: values, weights, points.

    `values`: (rows, m). `points`: (m, d), or (rows, m, d) where each function has its own. `weights`: (m,) or (rows,
    m), of the quadrature integral f = sum_j w_j f(x_j); equal ones, 1 / m, where None. A point with weight zero is not
    there, so that functions seen at different numbers of points fit one shape.

    Raises `InputError` for shapes that do not agree, numbers that are not finite, or negative weights.
    """
    values, points = np.asarray(values, float), np.asarray(points, float)
    fits = values.ndim == 2 and points.ndim in (2, 3) and points.shape[-2] == values.shape[1]
    if not fits or (points.ndim == 3 and len(points) != len(values)):
        raise InputError(
            f"Functions want values (rows, m) at points (m, d) or (rows, m, d), got {values.shape} and {points.shape}"
        )
    rows, m = values.shape
    weights = np.full(m, 1 / m) if weights is None else np.asarray(weights, float)
    if weights.shape not in ((m,), (rows, m)) or not np.all(weights >= 0) or not np.any(weights > 0):
        raise InputError(f"Weights must not be negative, of shape ({m},) or ({rows}, {m}), got {weights.shape}")
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(points))):
        raise InputError("Values and points must be finite: give what was not seen any value and weight zero")
    points = np.broadcast_to(points, (rows, *points.shape[-2:])).reshape(rows, -1)
    whole = np.concatenate([values, np.broadcast_to(weights, values.shape), points], 1)
    return jnp.asarray(whole, jnp.result_type(float))


def _parted(row: Float[Array, " c"], d: int) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, "m d"]]:
    m = row.shape[0] // (2 + d)
    return row[:m], row[m : 2 * m], row[2 * m :].reshape(m, d)


class Waves(eqx.Module):
    """x -> (sin 2 pi k x_j, cos 2 pi k x_j) for k = 1 .. `number`, j = 1 .. d, besides x itself where not `periodic`.

    A network of coordinates alone learns slow functions first and fast ones hardly at all.
    """

    size: int = eqx.field(static=True)
    number: int = eqx.field(static=True, default=8)
    periodic: bool = eqx.field(static=True, default=False)

    @property
    def outputs(self) -> int:
        """Numbers that come out."""
        return 2 * self.number * self.size + (0 if self.periodic else self.size)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " f"]:
        angles = 2 * math.pi * jnp.outer(jnp.arange(1, self.number + 1), x).ravel()
        waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])
        return waves if self.periodic else jnp.concatenate([x, waves])


class QuadratureEncoder(Encoder):
    """c = network(sum_j w_j u(x_j) e(x_j)), e a network of `waves`(x): integrals of u against learned functions.

    The same function at other points gives the same context, up to the error of the quadrature.
    """

    waves: Waves
    basis: eqx.nn.MLP | eqx.nn.Linear
    network: eqx.nn.MLP | eqx.nn.Linear

    def __call__(self, data: Float[Array, " c"]) -> Float[Array, " c2"]:
        values, weights, points = _parted(data, self.waves.size)
        return self.network((weights * values) @ jax.vmap(lambda x: self.basis(self.waves(x)))(points))


class FunctionDecoder(eqx.Module):
    """A trainable map from latents to functions."""

    @abc.abstractmethod
    def at(self, z: Float[Array, " k"], points: Float[Array, "m d"]) -> Float[Array, " m"]:
        """D(z)(x) at each point."""


class LinearFunctions(FunctionDecoder):
    """D(z)(x) = sum_k z_k tau_k(x), tau a network of `waves`(x): principal functions, at any points."""

    waves: Waves
    network: eqx.nn.MLP | eqx.nn.Linear

    def at(self, z: Float[Array, " k"], points: Float[Array, "m d"]) -> Float[Array, " m"]:
        return jax.vmap(lambda x: self.network(self.waves(x)))(points) @ z


class PointwiseFunctions(FunctionDecoder):
    """D(z)(x) = network(z, `waves`(x)): one network of latents and coordinates, evaluated point by point."""

    waves: Waves
    network: eqx.nn.MLP

    def at(self, z: Float[Array, " k"], points: Float[Array, "m d"]) -> Float[Array, " m"]:
        return jax.vmap(lambda x: self.network(jnp.concatenate([z, self.waves(x)]))[0])(points)


class _AtPoints(Decoder):
    """D(z) at the points of one row."""

    decoder: FunctionDecoder
    points: Float[Array, "m d"]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "m 1"]:
        return self.decoder.at(z, self.points)[:, None]


class WhiteNoise(Likelihood):
    """log dP/dV = (<D, u> - |D|^2 / 2) / s^2 of u = D + s xi against V, the law of s xi; xi white noise on the domain.

    Inner products by the row's quadrature, so that it has a limit as points are added: white noise has no square norm,
    and the log density of the values has none. s = `scale` is not learned: laws of different s have no density against
    each other. At finitely many points, values are averages over cells of size w_j: noise of variance s^2 / w_j.

    Source: Cameron and Martin; in autoencoders: Seidman, Kissas, Pappas and Perdikaris (2023), Variational autoencoding
    neural operators.
    """

    weights: Float[Array, " m"]
    scale: Scalar = scalar_field()

    def log_prob(self, x: Float[Array, " m"], raw: Float[Array, "m 1"]) -> Float[Array, ""]:
        decoded = raw[:, 0]
        return jnp.sum(self.weights * decoded * (x - 0.5 * decoded)) / self.scale**2

    def mean(self, raw: Float[Array, "m 1"]) -> Float[Array, " m"]:
        return raw[:, 0]

    def sample(self, key: PRNGKey, raw: Float[Array, "m 1"]) -> Float[Array, " m"]:
        noise = self.scale * jax.random.normal(key, self.weights.shape, raw.dtype)
        return raw[:, 0] + noise / jnp.sqrt(self.weights)

    def initial(self, X: np.ndarray) -> np.ndarray:
        return np.mean(X, 0)[:, None]


class FunctionModel(eqx.Module):
    """u = D(z) + s xi, z ~ prior: functions on [0, 1]^d, of which each row is what was seen at its points.

    Bounds on the evidence are on the log of dP/dV (see `WhiteNoise`), in nats: of one s they can be compared, whatever
    the points. Train by `train` on `function_rows`; with `LinearFunctions` and the estimator `SigmaPoints` the ELBO has
    no noise. `scale`: s, kept.
    """

    prior: Density
    decoder: FunctionDecoder
    scale: Scalar = scalar_field()
    size: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if not isinstance(self.scale, jax.core.Tracer) and not float(self.scale) > 0:
            raise InputError(f"The scale of the noise must be positive, got {float(self.scale):g}")

    def partition(self) -> tuple["FunctionModel", "FunctionModel"]:
        """(trainable, rest): the scale stays."""
        prior, prior_rest = self.prior.partition()
        decoder, decoder_rest = eqx.partition(self.decoder, eqx.is_inexact_array)
        trainable = eqx.tree_at(lambda m: (m.prior, m.decoder, m.scale), self, (prior, decoder, None))
        return trainable, eqx.tree_at(lambda m: (m.prior, m.decoder), self, (prior_rest, decoder_rest))

    def seen(self, row: Float[Array, " c"]) -> tuple[LatentModel, Float[Array, " m"]]:
        """(the model of the values at this row's points, those values)."""
        values, weights, points = _parted(row, self.size)
        return LatentModel(self.prior, _AtPoints(self.decoder, points), WhiteNoise(weights, self.scale)), values

    def draw(self, key: PRNGKey, points: Float[Array, "m d"]) -> Float[Array, " m"]:
        """D(z) of a z drawn from the prior, at points."""
        return self.decoder.at(self.prior.sample(key), points)


def quadrature_encoder(
    key: PRNGKey, waves: Waves, integrals: int, out: int, hidden: tuple[int, ...] = ()
) -> QuadratureEncoder:
    """An encoder by so many `integrals`; `hidden` widths are of both networks, none make them linear."""
    key_basis, key_network = jax.random.split(key)
    basis = perceptron(key_basis, waves.outputs, hidden, integrals)
    return QuadratureEncoder(waves, basis, perceptron(key_network, integrals, hidden, out))


def linear_functions(key: PRNGKey, waves: Waves, latent: int, hidden: tuple[int, ...] = ()) -> LinearFunctions:
    """A linear decoder; `hidden` widths are of the network of coordinates."""
    return LinearFunctions(waves, perceptron(key, waves.outputs, hidden, latent))


def pointwise_functions(key: PRNGKey, waves: Waves, latent: int, hidden: tuple[int, ...]) -> PointwiseFunctions:
    """A nonlinear decoder. Raises `InputError` without a hidden layer."""
    if not hidden:
        raise InputError("A pointwise decoder of no hidden layer would add latents and coordinates: give hidden=(64,)")
    network: Any = perceptron(key, latent + waves.outputs, hidden, 1)
    return PointwiseFunctions(waves, network)
