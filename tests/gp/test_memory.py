"""No program of the sparse representations holds an array of n x n numbers, nor does its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from jensen.algorithms import CVI, EP, SiteLaplace
from jensen.gp import Collapsed, Kalman, LatentModel, VecchiaRegression, likelihoods, priors
from jensen.gp._site_evidence import site_evidence
from jensen.gp.kernels import RBF, Matern32
from jensen.gp.priors.vecchia import nearest_neighbours

N, M, NEIGHBOURS = 4000, 10, 5
RNG = np.random.default_rng(0)
LINE, PLANE = np.sort(RNG.uniform(0, 10, N))[:, None], RNG.uniform(0, 1, (N, 2))
NEAREST, WAVES = nearest_neighbours(PLANE, NEIGHBOURS, np.ones(2)), priors.FourierFeatures.covering(LINE[:, 0], M)
COUNTS, Y = RNG.poisson(2.0, N), RNG.normal(size=N)


def largest(jaxpr):
    """Elements of the largest array in a program and in the programs that it calls."""
    sizes = [0]
    for eqn in jaxpr.eqns:
        sizes += [int(np.prod(v.aval.shape)) for v in eqn.outvars]
        inner = jax.tree.leaves(tuple(eqn.params.values()), is_leaf=lambda v: isinstance(v, Jaxpr | ClosedJaxpr))
        sizes += [largest(getattr(v, "jaxpr", v)) for v in inner if isinstance(v, Jaxpr | ClosedJaxpr)]
    return max(sizes)


def regression(make):
    return lambda scale: make(Matern32(scale)).log_evidence()


def sites(make, rule):
    return lambda scale: site_evidence(rule, LatentModel(make(Matern32(scale)), likelihoods.Poisson(), COUNTS))


PRIORS = {
    "inducing points": lambda k: priors.Inducing(k, PLANE, PLANE[:M]),
    "decoupled": lambda k: priors.OrthogonallyDecoupled(k, PLANE, PLANE[:M], PLANE[M : 2 * M]),
    "Fourier features": lambda k: priors.Inducing(k, LINE, WAVES),
    "neighbours": lambda k: priors.Vecchia(k, PLANE, NEAREST),
    "filter": lambda k: priors.StateSpace(k, LINE),
}
PATHS = {
    "collapsed": regression(lambda k: Collapsed(k, 0.1, PLANE, Y, PLANE[:M])),
    "Kalman": regression(lambda k: Kalman(k, 0.1, LINE, Y)),
    "Vecchia regression": regression(lambda k: VecchiaRegression(k, 0.1, PLANE, Y, NEAREST)),
    **{f"{name}, CVI": sites(make, CVI()) for name, make in PRIORS.items()},
    "inducing points, EP": sites(PRIORS["inducing points"], EP()),
    "filter, Laplace": sites(PRIORS["filter"], SiteLaplace()),
}


@pytest.mark.parametrize("name", PATHS)
def test_values_and_gradients_hold_nothing_of_the_size_of_the_covariance(name):
    program = jax.make_jaxpr(jax.value_and_grad(PATHS[name]))(jnp.asarray(0.5))
    assert largest(program.jaxpr) < N * N / 4  # half of a triangle


def test_the_covariance_would_be_seen():
    program = jax.make_jaxpr(lambda s: jnp.sum(RBF(s)(PLANE, PLANE)))(jnp.asarray(0.5))
    assert largest(program.jaxpr) >= N * N
