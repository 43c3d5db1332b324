"""Children's test scores: six regressions. Gelman and Hill (2007), ch. 3 and 4."""

import numpyro.distributions as dist
from jaxtyping import Array, Float

from jensen.targets._posteriordb.models._common import gaussian, latent, regress

Column = Float[Array, " n"]


def _sigma() -> Float[Array, ""]:
    return latent("sigma", dist.HalfCauchy(2.5))


def kidscore_momhs(kid_score: Column, mom_hs: Column) -> None:
    """kid_score ~ N(beta_1 + beta_2 mom_hs, sigma^2), sigma ~ half-Cauchy(2.5)."""
    gaussian("kid_score", kid_score, _sigma(), mom_hs)


def kidscore_momiq(kid_score: Column, mom_iq: Column) -> None:
    """kid_score ~ N(beta_1 + beta_2 mom_iq, sigma^2), sigma ~ half-Cauchy(2.5)."""
    gaussian("kid_score", kid_score, _sigma(), mom_iq)


def kidscore_momhsiq(kid_score: Column, mom_hs: Column, mom_iq: Column) -> None:
    """kid_score ~ N(beta_1 + beta_2 mom_hs + beta_3 mom_iq, sigma^2), sigma ~ half-Cauchy(2.5)."""
    gaussian("kid_score", kid_score, _sigma(), mom_hs, mom_iq)


def kidscore_interaction(kid_score: Column, mom_hs: Column, mom_iq: Column) -> None:
    """kid_score ~ N(beta . (1, mom_hs, mom_iq, mom_hs mom_iq), sigma^2), sigma ~ half-Cauchy(2.5)."""
    gaussian("kid_score", kid_score, _sigma(), mom_hs, mom_iq, mom_hs * mom_iq)


def kidscore_interaction_c(kid_score: Column, mom_hs: Column, mom_iq: Column) -> None:
    """The interaction model with both predictors centred at their means and a flat prior on sigma."""
    hs, iq = mom_hs - mom_hs.mean(), mom_iq - mom_iq.mean()
    regress("kid_score", kid_score, hs, iq, hs * iq)


def kidscore_interaction_c2(kid_score: Column, mom_hs: Column, mom_iq: Column) -> None:
    """The interaction model with the predictors centred at 0.5 and 100 and a flat prior on sigma."""
    hs, iq = mom_hs - 0.5, mom_iq - 100.0
    regress("kid_score", kid_score, hs, iq, hs * iq)
