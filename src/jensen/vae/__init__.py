"""Variational autoencoders: prior, decoder, likelihood, encoder and posterior family as parts, trained by `run`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jensen.vae import likelihoods
    from jensen.vae.bounds import log_likelihood_bound
    from jensen.vae.estimator import VAE
    from jensen.vae.heads import FullRank, MeanField
    from jensen.vae.linear import (
        ProbabilisticPCA,
        closed_bound,
        fit_linear,
        linear_vae,
        posterior_collapse,
        probabilistic_pca,
    )
    from jensen.vae.model import LatentModel, LatentRows, RowTarget, latent_rows, row_target
    from jensen.vae.monitors import LatentUse, latent_use
    from jensen.vae.networks import (
        ConvolutionalDecoder,
        ConvolutionalEncoder,
        Decoder,
        LinearDecoder,
        PerceptronDecoder,
        PerceptronEncoder,
        SharedScale,
        convolutional_decoder,
        convolutional_encoder,
        perceptron_decoder,
        perceptron_encoder,
    )
    from jensen.vae.objectives import BetaElbo, ClosedGaussianElbo, SampledLikelihoodElbo
    from jensen.vae.priors import MixturePrior, StandardNormal, closed_divergence, mixture_prior
    from jensen.vae.training import Trained, train

_MODULES = {
    "BetaElbo": "objectives",
    "ClosedGaussianElbo": "objectives",
    "ConvolutionalDecoder": "networks",
    "ConvolutionalEncoder": "networks",
    "Decoder": "networks",
    "FullRank": "heads",
    "LatentModel": "model",
    "LatentRows": "model",
    "LatentUse": "monitors",
    "LinearDecoder": "networks",
    "MeanField": "heads",
    "MixturePrior": "priors",
    "PerceptronDecoder": "networks",
    "PerceptronEncoder": "networks",
    "ProbabilisticPCA": "linear",
    "RowTarget": "model",
    "SampledLikelihoodElbo": "objectives",
    "SharedScale": "networks",
    "StandardNormal": "priors",
    "Trained": "training",
    "VAE": "estimator",
    "closed_bound": "linear",
    "closed_divergence": "priors",
    "convolutional_decoder": "networks",
    "convolutional_encoder": "networks",
    "fit_linear": "linear",
    "latent_rows": "model",
    "latent_use": "monitors",
    "linear_vae": "linear",
    "log_likelihood_bound": "bounds",
    "mixture_prior": "priors",
    "perceptron_decoder": "networks",
    "perceptron_encoder": "networks",
    "posterior_collapse": "linear",
    "probabilistic_pca": "linear",
    "row_target": "model",
    "train": "training",
}

__all__ = [
    "VAE",
    "BetaElbo",
    "ClosedGaussianElbo",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "Decoder",
    "FullRank",
    "LatentModel",
    "LatentRows",
    "LatentUse",
    "LinearDecoder",
    "MeanField",
    "MixturePrior",
    "PerceptronDecoder",
    "PerceptronEncoder",
    "ProbabilisticPCA",
    "RowTarget",
    "SampledLikelihoodElbo",
    "SharedScale",
    "StandardNormal",
    "Trained",
    "closed_bound",
    "closed_divergence",
    "convolutional_decoder",
    "convolutional_encoder",
    "fit_linear",
    "latent_rows",
    "latent_use",
    "likelihoods",
    "linear_vae",
    "log_likelihood_bound",
    "mixture_prior",
    "perceptron_decoder",
    "perceptron_encoder",
    "posterior_collapse",
    "probabilistic_pca",
    "row_target",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "likelihoods":
        return importlib.import_module("jensen.vae.likelihoods")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
