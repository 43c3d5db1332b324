"""Parts of a variational autoencoder from words and sizes, begun where the data are."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.amortised import Encoded
from jensen.core import Density, InputError, PRNGKey, UnknownName
from jensen.vae import likelihoods
from jensen.vae.flexible_posteriors import flow_posterior, implicit_posterior
from jensen.vae.heads import FullRank, MeanField, SizedHead
from jensen.vae.likelihoods import Likelihood
from jensen.vae.model import LatentModel
from jensen.vae.networks import (
    convolutional_decoder,
    convolutional_encoder,
    perceptron_decoder,
    perceptron_encoder,
)
from jensen.vae.priors import StandardNormal, mixture_prior
from jensen.vae.vamp import PseudoInputs

LIKELIHOODS: dict[str, Callable[[np.ndarray], Likelihood]] = {
    "bernoulli": lambda X: likelihoods.Bernoulli(),
    "categorical": lambda X: likelihoods.Categorical(int(np.max(X)) + 1),
    "continuous_bernoulli": lambda X: likelihoods.ContinuousBernoulli(),
    "discretised_logistic": lambda X: likelihoods.DiscretisedLogistic(),
    "gaussian": lambda X: likelihoods.gaussian(),
    "heteroscedastic_gaussian": lambda X: likelihoods.HeteroscedasticGaussian(),
    "multinomial": lambda X: likelihoods.Multinomial(max(1, round(float(np.mean(np.sum(X, 1)))))),
    "poisson": lambda X: likelihoods.Poisson(),
}
POSTERIORS: dict[str, Callable[[PRNGKey, int], SizedHead]] = {
    "flow": flow_posterior,
    "full_rank": lambda key, size: FullRank(size),
    "implicit": implicit_posterior,
    "mean_field": lambda key, size: MeanField(size),
}
HEAD = 2  # folds the key of the posterior's own networks out of that of the parts
PRIORS = ("mixture", "standard_normal", "vamp")


def chosen_likelihood(wanted: Any, X: np.ndarray) -> Likelihood:
    """The likelihood by name or as it is; `auto` takes bernoulli for 0 and 1 alone, else gaussian.

    Raises `UnknownName`, and `InputError` for values outside its support.
    """
    if isinstance(wanted, Likelihood):
        found = wanted
    else:
        name = wanted
        if wanted == "auto":
            name = "bernoulli" if np.all((X == 0) | (X == 1)) else "gaussian"
        if name not in LIKELIHOODS:
            raise UnknownName("likelihood", str(wanted), (*LIKELIHOODS, "auto"))
        if name == "categorical" and not np.all((X >= 0) & (np.round(X) == X)):
            likelihoods.Categorical(2).check(X)
        found = LIKELIHOODS[name](X)
    found.check(X)
    return found


def chosen_prior(key: PRNGKey, wanted: Any, dimension: int, components: int) -> Density | PseudoInputs:
    """The prior by name or as it is. Raises `UnknownName`, and `InputError` for another dimension."""
    if wanted == "vamp":
        return PseudoInputs(key, dimension, components)
    if wanted == "standard_normal":
        return StandardNormal(dimension)
    if wanted == "mixture":
        return mixture_prior(key, dimension, components)
    if not isinstance(wanted, Density):
        raise UnknownName("prior", str(wanted), PRIORS)
    if wanted.dimension != dimension:
        raise InputError(f"The prior has dimension {wanted.dimension}, latent_dim is {dimension}: make them equal")
    return wanted


def build(
    key: PRNGKey,
    X: np.ndarray,
    likelihood: Likelihood,
    prior: Density | PseudoInputs,
    posterior: str,
    hidden: tuple[int, ...],
    image_shape: tuple[int, int, int] | None,
    channels: tuple[int, ...],
) -> tuple[LatentModel, Encoded]:
    """The untrained parts. Raises `UnknownName` and `InputError` for names and sizes that do not fit."""
    if posterior not in POSTERIORS:
        raise UnknownName("posterior family", str(posterior), POSTERIORS)
    if posterior == "implicit" and isinstance(prior, PseudoInputs):
        raise InputError(
            "The vamp prior is made of densities of q(z | x), and an implicit posterior has none: take "
            "posterior='flow', or another prior"
        )
    head: Any = POSTERIORS[posterior](jax.random.fold_in(key, HEAD), prior.dimension)
    key_encoder, key_decoder = jax.random.split(key)
    real = jnp.result_type(float)
    spread = np.where(np.ptp(X, 0) > 0, np.std(X, 0), 1.0)  # the deviation of a constant is rounding, not zero
    centre, spread = jnp.asarray(np.mean(X, 0), real), jnp.asarray(spread, real)
    start = jnp.asarray(likelihood.initial(X), real)
    if image_shape is None:
        encoder = perceptron_encoder(key_encoder, centre, spread, hidden, head.context)
        decoder = perceptron_decoder(key_decoder, prior.dimension, hidden, start)
    else:
        if np.prod(image_shape) != X.shape[1]:
            raise InputError(f"Images of shape {image_shape} have {np.prod(image_shape)} values, X has {X.shape[1]}")
        encoder = convolutional_encoder(key_encoder, image_shape, centre, spread, channels, head.context)
        decoder = convolutional_decoder(key_decoder, prior.dimension, image_shape, channels, start)
    conditional = Encoded(encoder, head)
    if isinstance(prior, PseudoInputs):
        prior = prior.at(conditional, jnp.asarray(X, real))
    return LatentModel(prior, decoder, likelihood), conditional
