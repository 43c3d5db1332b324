"""Conditional autoencoders: rows (x, y) of which y is explained by latents, given x."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey
from jensen.vae.likelihoods import Gaussian, Likelihood
from jensen.vae.linear import linear_vae
from jensen.vae.model import LatentModel
from jensen.vae.networks import Decoder, LinearDecoder, perceptron


class ConditionalDecoder(eqx.Module):
    """A trainable map from x, of `inputs` values, to decoders of latents."""

    inputs: eqx.AbstractVar[int]

    @abc.abstractmethod
    def given(self, x: Float[Array, " m"]) -> Decoder:
        """The decoder at x."""


class LinearGiven(ConditionalDecoder):
    """raw = W z + V x + b, one number a value of y."""

    weight: Float[Array, "n k"]
    slope: Float[Array, "n m"]
    bias: Float[Array, " n"]

    @property
    def inputs(self) -> int:
        return self.slope.shape[1]

    def given(self, x: Float[Array, " m"]) -> LinearDecoder:
        return LinearDecoder(self.weight, self.slope @ x + self.bias)


class Joined(Decoder):
    """raw = start + network(z, x) at one x."""

    start: Float[Array, "n p"]
    network: eqx.nn.MLP | eqx.nn.Linear
    x: Float[Array, " m"]

    def __call__(self, z: Float[Array, " k"]) -> Float[Array, "n p"]:
        return self.start + self.network(jnp.concatenate([z, self.x])).reshape(self.start.shape)


class PerceptronGiven(ConditionalDecoder):
    """raw = start + network(z, x), x taken in as it is: scale the columns beforehand."""

    start: Float[Array, "n p"]
    network: eqx.nn.MLP | eqx.nn.Linear
    inputs: int = eqx.field(static=True)

    def given(self, x: Float[Array, " m"]) -> Joined:
        return Joined(self.start, self.network, x)


def perceptron_given(
    key: PRNGKey, inputs: int, latent: int, hidden: tuple[int, ...], start: Float[Array, "n p"]
) -> PerceptronGiven:
    """A decoder of `latent` numbers and `inputs` values of x that begins near `start`."""
    make: Any = PerceptronGiven
    return make(start, perceptron(key, latent + inputs, hidden, start.size), inputs)


class ConditionalModel(eqx.Module):
    """p(y, z | x) = prior(z) likelihood(y | decoder(z, x)), rows being (x, y) side by side, x first.

    Takes the place of a `LatentModel` in `train`, `latent_rows` and `log_likelihood_bound`, which then is of log
    p(y | x). The encoder sees the whole row. The prior does not know x: what x tells of y, the decoder takes from x
    itself, and latents are left with the rest; see `conditional_collapse`.

    Source: Sohn, Lee and Yan (2015), Learning structured output representation.
    """

    prior: Density
    decoder: ConditionalDecoder
    likelihood: Likelihood

    def given(self, x: Float[Array, " m"]) -> LatentModel:
        """The latent model of y at x."""
        make: Any = LatentModel
        return make(self.prior, self.decoder.given(x), self.likelihood)

    def seen(self, row: Float[Array, " n"]) -> tuple[LatentModel, Float[Array, " m"]]:
        """The latent model that explains this row, and what it explains of it."""
        return self.given(row[: self.decoder.inputs]), row[self.decoder.inputs :]

    def partition(self) -> tuple["ConditionalModel", "ConditionalModel"]:
        """(trainable, rest), as each part says of itself."""
        (prior, prior_rest), (likelihood, likelihood_rest) = self.prior.partition(), self.likelihood.partition()
        decoder, decoder_rest = eqx.partition(self.decoder, eqx.is_inexact_array)
        make: Any = ConditionalModel
        return make(prior, decoder, likelihood), make(prior_rest, decoder_rest, likelihood_rest)

    def sample(self, key: PRNGKey, x: Float[Array, " m"]) -> Float[Array, " n"]:
        """A y at x."""
        return self.given(x).sample(key)


def conditional_collapse(X: np.ndarray | Array, Y: np.ndarray | Array, noise: float, weight: float = 1.0) -> np.ndarray:
    """Squared singular values max(0, eigenvalues of S_y|x - beta s) of W in an optimal linear conditional autoencoder.

    S_y|x = S_yy - S_yx S_xx^-1 S_xy, the covariance of what the best linear map of x leaves of y; s = `noise`, held
    fixed; beta = `weight`. The better x predicts y, the fewer latents are used.

    Raises `InputError` for different numbers of rows.

    Source: Dang, Tran, Nguyen and Ho (2024), Beyond vanilla variational autoencoders.
    """
    X, Y = np.asarray(X, float), np.asarray(Y, float)
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y):
        raise InputError(f"X and Y must be matrices with as many rows, got shapes {X.shape} and {Y.shape}")
    X, Y = X - X.mean(0), Y - Y.mean(0)
    left = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    return np.maximum(0.0, np.linalg.eigvalsh(left.T @ left / len(Y))[::-1] - weight * noise)


def linear_conditional_vae(key: PRNGKey, inputs: int, columns: int, k: int, noise: float) -> tuple[Any, Any]:
    """A linear conditional autoencoder of rows (x, y) with a fixed noise variance, and its linear encoder."""
    key_model, key_encoder = jax.random.split(key)
    model, _ = linear_vae(key_model, columns, k)
    _, conditional = linear_vae(key_encoder, inputs + columns, k)
    decoder: Any = model.decoder
    slope = jnp.zeros((columns, inputs), decoder.weight.dtype)
    likelihood = Gaussian(jnp.asarray(0.5 * np.log(noise), slope.dtype), False)
    make: Any = ConditionalModel
    given: Any = LinearGiven
    return make(model.prior, given(decoder.weight, slope, decoder.bias), likelihood), conditional
