"""The rungs, from cheap to dear."""

from jensen._ladder.state import WEIGHED, Ascent, Rung, khat_of
from jensen.algorithms import NUTS, BatchMatch, GradientVI, Laplace, LaplaceMixture, TemperedSMC
from jensen.algorithms.nuts import Dense, Diagonal
from jensen.certificate.modes import MAX_DIMENSION
from jensen.core import Algorithm, DensityPosterior
from jensen.families import FlowBuilder
from jensen.families.bijective import Bijective

BAD_KHAT = 1.0  # a Gaussian whose weights are worse (no finite mean) is no preconditioner: a flow is
HESSIAN_DIMENSION = 500
CHAINS = 4
SMC_DIMENSION = 100
DENSE = 50  # up to here the sampler learns a dense metric


def _laplace(ascent: Ascent) -> Algorithm | None:
    d = ascent.target.space.dimension
    if d > HESSIAN_DIMENSION:
        return None
    return Laplace(num_starts=8 if d <= 50 else 4 if d <= MAX_DIMENSION else 2)


def _mixture(ascent: Ascent) -> Algorithm | None:
    return LaplaceMixture(Laplace(num_starts=16)) if ascent.several_modes else None


def _gaussian(ascent: Ascent) -> Algorithm | None:
    algorithm = BatchMatch()
    if ascent.several_modes or ascent.target.space.dimension > 2 * algorithm.batch_size:
        return None
    return algorithm


def _flow(ascent: Ascent) -> Algorithm | None:
    if ascent.several_modes or ascent.target.space.dimension > WEIGHED:
        return None
    return GradientVI(family=FlowBuilder(), learning_rate=3e-3)


def _smc(ascent: Ascent) -> Algorithm | None:
    return TemperedSMC(num_particles=2000) if ascent.target.space.dimension <= SMC_DIMENSION else None


def _gaussian_sampler(ascent: Ascent) -> Algorithm | None:
    """NUTS in the coordinates of a Gaussian, where that is near enough to be of help."""
    if ascent.best is None:
        return None
    if ascent.target.space.dimension <= WEIGHED and khat_of(ascent.best) > BAD_KHAT:
        return None
    return _nuts(ascent, 0.95)


def _flow_sampler(ascent: Ascent) -> Algorithm:
    """NUTS in the coordinates of the best bijective family so far, from dispersed points where there is none."""
    return _nuts(ascent, 0.95)


def _nuts(ascent: Ascent, acceptance: float) -> Algorithm:
    best = ascent.start
    transport = best.q if isinstance(best, DensityPosterior) and isinstance(best.q, Bijective) else None
    metric = Dense() if ascent.target.space.dimension <= DENSE else Diagonal()
    return NUTS(
        chains=CHAINS, transport=transport, metric=metric, warmup=0.3, target_acceptance=acceptance, max_doublings=8
    )


LADDER = (
    Rung("Laplace", _laplace),
    Rung("mixture", _mixture),
    Rung("Gaussian", _gaussian, 100),
    Rung("NUTS", _gaussian_sampler, 1200),
    Rung("flow", _flow, 3000),
    Rung("flow NUTS", _flow_sampler, 2000),
    Rung("SMC", _smc, repeats=4),
)
