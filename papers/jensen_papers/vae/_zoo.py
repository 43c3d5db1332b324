"""Variants of the autoencoder on one network, one budget and one table."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.algorithms import AmortisedVI
from jensen.core import Density
from jensen.gradient_estimators import DoublyReparameterised, Reparameterisation
from jensen.objectives import ImportanceWeighted, NegativeElbo, Renyi
from jensen.vae import (
    BetaElbo,
    LatentModel,
    MeanField,
    MovedFlow,
    NoEncoder,
    OriginLikelihood,
    RegularisedLikelihood,
    SemiImplicit,
    StandardNormal,
    TiedPrior,
    TotalCorrelationElbo,
    TransportLoss,
    UnscentedLoss,
    WassersteinLoss,
    ex_post,
    flow_posterior,
    implicit_posterior,
    latent_rows,
    log_likelihood_bound,
    mixture_prior,
    origin_latents,
    row_target,
    train,
    transported_codes,
    vamp_prior,
)
from jensen.vae.likelihoods import gaussian
from jensen_papers.vae import _images as images

LATENT, HIDDEN, NOISE, DRAWS = 8, (64,), 0.15, 100
ONE = Reparameterisation(num_draws=1)
INACTIVE = 0.8  # mean variance of q above which a latent carries nothing


@dataclasses.dataclass(frozen=True)
class Variant:
    """How one member of the table is trained: its objective, whether its noise scale is learned, prior, posterior."""

    objective: Callable[[], Any]
    learned_noise: bool = False
    prior: Callable[[Any, Any, Any], Density] = lambda key, conditional, rows: StandardNormal(LATENT)
    posterior: Callable[[Any, int], Any] = lambda key, size: MeanField(size)
    encoder: bool = True
    noisy: bool = True  # whether q's spread is trained, so that q is a posterior and bounds the evidence


ZOO: dict[str, Variant] = {
    "VAE": Variant(lambda: BetaElbo(1.0)),
    "VAE, beta 0.1": Variant(lambda: BetaElbo(0.1)),
    "VAE, beta 4": Variant(lambda: BetaElbo(4.0)),
    "VAE, learned noise": Variant(lambda: BetaElbo(1.0), learned_noise=True),
    "VAE, mixture prior": Variant(lambda: NegativeElbo(ONE), prior=lambda key, *_: mixture_prior(key, LATENT, 10)),
    "VAE, pseudo-inputs": Variant(
        lambda: TiedPrior(NegativeElbo(ONE)),
        prior=lambda key, conditional, rows: vamp_prior(key, conditional, rows, 10),
    ),
    "VAE, flow posterior": Variant(lambda: NegativeElbo(MovedFlow.estimator), posterior=flow_posterior),
    "VAE, implicit posterior": Variant(lambda: NegativeElbo(SemiImplicit.estimator), posterior=implicit_posterior),
    "IWAE, 8 weights": Variant(lambda: ImportanceWeighted(num_weights=8, estimator=DoublyReparameterised(num_draws=1))),
    "Renyi, alpha 0.5": Variant(lambda: Renyi(alpha=0.5, num_weights=8, estimator=ONE)),
    "total correlation x 4": Variant(lambda: TotalCorrelationElbo(4.0)),
    "Wasserstein, sigma points": Variant(lambda: WassersteinLoss(0.5)),
    "unscented": Variant(lambda: UnscentedLoss(0.5), noisy=False),
    "autoencoder, L2": Variant(lambda: RegularisedLikelihood(0.1), noisy=False),
    "gradient origin": Variant(lambda: OriginLikelihood(2 * NOISE**2), encoder=False, noisy=False),
    "coupled by transport": Variant(lambda: TransportLoss(num_draws=128, rounds=12), encoder=False, noisy=False),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table. NaN where a measure does not apply.

    `bound`: importance-weighted, nats a held-out row. `error`: squared error of a held-out row. `prior`, `mixture`:
    Frechet distance in 20 components of 1,000 draws from the prior, and from a mixture of ten fitted to the codes.
    `inactive`: latents of mean variance above 0.8. `variance`: mean over latents of Var(mean) + E[variance], one where
    codes have the prior's spread. `flops`: of a training step, a row, in thousands. `seconds`: of the processor, for
    training with compilation.
    """

    bound: float
    error: float
    prior: float
    mixture: float
    inactive: float
    variance: float
    flops: float
    seconds: float


@eqx.filter_jit
def _origin_codes(model: LatentModel, X: Any, step: Any) -> Any:
    return jax.vmap(lambda x: origin_latents(row_target(model, x), step))(X)


@eqx.filter_jit
def _spreads(conditional: Any, X: Any) -> Any:
    return jax.vmap(lambda x: jnp.diagonal(conditional.given(x).mean_and_cov()[1]))(X)


def step_flops(model: Any, conditional: Any, objective: Any, X: Any) -> float:
    """Floating-point operations of the gradient of a minibatch X, a row, by XLA's count before it optimises."""
    target = latent_rows(model, X)
    trainable, rest = eqx.partition(conditional, eqx.is_inexact_array)

    def loss(z: Any, trainable: Any) -> Any:
        whole = eqx.combine(trainable, rest)
        return AmortisedVI(whole, objective).estimate(jax.random.key(0), z, whole, target).surrogate

    counted: Any = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(target.theta, trainable).cost_analysis()
    return float(counted["flops"]) / len(X)


def measure(variant: Variant, seed: int, epochs: int, batch: int = 128) -> tuple[Row, np.ndarray]:
    """(the row, draws from the prior) of digits in an order of this seed, in single precision."""
    X, test = images.digits(seed)
    keys = jax.random.split(jax.random.key(seed), 8)
    rows, held = jnp.asarray(X, jnp.float32), jnp.asarray(test, jnp.float32)
    model, conditional = images.parts(
        keys[0], X, gaussian(NOISE, trained=variant.learned_noise), LATENT, HIDDEN, variant.posterior
    )
    model = eqx.tree_at(lambda m: m.prior, model, variant.prior(keys[1], conditional, rows))
    whole: Any = conditional if variant.encoder else NoEncoder(LATENT)
    objective = variant.objective()
    began = time.process_time()
    trained = train(
        keys[2],
        model,
        whole,
        rows,
        objective=objective,
        epochs=epochs,
        batch_size=batch,
        learning_rate=3e-3,
        progress=False,
    )
    seconds = time.process_time() - began
    model, bound, inactive, variance = trained.model, math.nan, math.nan, math.nan
    if variant.encoder:
        conditional = trained.conditional
        means, drawn = images.codes(keys[3], conditional, rows)
        found, _ = images.codes(keys[3], conditional, held)
        codes = drawn if variant.noisy else means
        if variant.noisy:
            spreads = _spreads(conditional, rows)
            inactive = float(jnp.sum(jnp.mean(spreads, 0) > INACTIVE))
            variance = float(jnp.mean(jnp.var(means, 0) + jnp.mean(spreads, 0)))
            bound = float(jnp.mean(log_likelihood_bound(keys[4], model, conditional, held, DRAWS)))
    elif isinstance(objective, TransportLoss):
        codes, found = (transported_codes(keys[3], model, r, 1000)[0] for r in (rows, held))
    else:
        codes, found = (_origin_codes(model, r, objective.step) for r in (rows, held))
    space = images.Components(X)
    draws = np.asarray(images.drawn(keys[5], model, 1000))
    fitted = images.drawn(keys[6], ex_post(model, codes), 1000)
    return Row(
        bound,
        float(jnp.mean(jnp.sum((images.decoded(model, found) - held) ** 2, 1))),
        space.distance(draws),
        space.distance(fitted),
        inactive,
        variance,
        step_flops(model, trained.conditional, objective, rows[:batch]) / 1000,
        seconds,
    ), draws


def floor(seed: int) -> float:
    """The Frechet distance of held-out rows themselves: what no model can be expected to beat by much."""
    X, test = images.digits(seed)
    return images.Components(X).distance(test)
