import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.gp.priors.rules import by_every_rule
from tinygp.transforms import Subspace

from jensen.core import InputError, Sites, divergence
from jensen.gp import likelihoods
from jensen.gp.kernels import RBF, Matern32, Matern52
from jensen.gp.priors import Dense, Grid

RNG = np.random.default_rng(0)
AXES = (np.sort(RNG.uniform(0, 3, 6)), np.linspace(0, 2, 5))
CELLS = np.stack(np.meshgrid(*AXES, indexing="ij"), -1).reshape(-1, 2)
KERNELS = (Matern52(1.0, 1.3), Matern32(0.8, 0.7))
PRODUCT = Subspace(0, KERNELS[0]) * Subspace(1, KERNELS[1])
NEW = jnp.asarray([[0.3, 0.4], [1.5, 1.9], [-1.0, 0.5], [4.0, 3.0]])


def some_sites(n, spread=1.0):
    rng = np.random.default_rng(1)
    return Sites(jnp.asarray(rng.normal(size=(n, 1))), jnp.asarray(np.exp(spread * rng.normal(size=(n, 1, 1)))))


def trend(x):
    return 0.5 * x[:, 0] - x[:, 1]


condition = eqx.filter_jit(lambda prior, sites: prior.condition(sites))


def agree(ours, dense, sites):
    a, b = ours.condition(sites), condition(dense, sites)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-7)
    np.testing.assert_allclose(a.cov, b.cov, atol=1e-7)
    np.testing.assert_allclose(a.log_normaliser, b.log_normaliser, atol=1e-6)
    for x, y in zip(
        (*ours.predict(sites, NEW), *ours.joint(sites, NEW)),
        (*dense.predict(sites, NEW), *dense.joint(sites, NEW)),
        strict=True,
    ):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_one_precision_on_all_cells_is_exact_at_any_rank():
    sites = some_sites(30, 0.0)
    for rank in (1, 7):
        agree(Grid(KERNELS, AXES, rank=rank, mean=trend), Dense(PRODUCT, CELLS, mean=trend), sites)


def test_cells_left_out_or_repeated_are_exact_at_full_rank():
    cells = np.array([3, 4, 4, 9, 17, 28, 11, 0])
    agree(Grid(KERNELS, AXES, cells), Dense(PRODUCT, CELLS[cells]), some_sites(8))
    seen = RNG.random((6, 5)) < 0.5
    np.testing.assert_array_equal(Grid(KERNELS, AXES, seen).cells, np.flatnonzero(seen))


def test_below_that_the_mean_is_exact_and_the_normaliser_a_bound_that_rises():
    sites, dense = some_sites(30, 1.5), Dense(PRODUCT, CELLS)
    truth = condition(dense, sites)
    bounds = []
    for rank in (1, 5, 15, 30):
        found = Grid(KERNELS, AXES, rank=rank).condition(sites)
        np.testing.assert_allclose(found.mean, truth.mean, atol=1e-7)
        assert float(divergence(sites, found)) > 0
        bounds.append(found.log_normaliser)
    assert np.all(np.diff(bounds) > 0)
    np.testing.assert_allclose(bounds[-1], truth.log_normaliser, atol=1e-6)
    assert truth.log_normaliser - bounds[1] > 1e-3


def test_every_rule_agrees_with_the_dense_prior():
    counts = RNG.poisson(np.exp(np.sin(2 * CELLS[::2, 0]) * CELLS[::2, 1]))
    ours = by_every_rule(Grid(KERNELS, AXES, np.arange(0, 30, 2)), likelihoods.Poisson(), counts, NEW)
    theirs = by_every_rule(Dense(PRODUCT, CELLS[::2]), likelihoods.Poisson(), counts, NEW)
    for (evidence, at, (mean, cov)), (truth, dense, (centre, spread)) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(evidence, truth, atol=1e-6)
        np.testing.assert_allclose(at.mean, dense.mean, atol=1e-6)
        np.testing.assert_allclose(at.cov, dense.cov, atol=1e-6)
        np.testing.assert_allclose(mean, centre, atol=1e-6)
        np.testing.assert_allclose(cov, spread, atol=1e-6)


def test_the_bound_is_differentiable_in_the_kernels():
    """At a rank where the eigenvectors matter, and with equal eigenvalues on the two axes."""
    sites, axes = some_sites(64, 1.5), (np.linspace(0, 2, 8),) * 2

    @jax.jit
    def bound(lengthscale):
        return Grid((RBF(lengthscale), RBF(1.0)), axes, rank=6).condition(sites).log_normaliser

    step = 1e-4
    slope = (bound(1.0 + step) - bound(1.0 - step)) / (2 * step)
    np.testing.assert_allclose(eqx.filter_jit(jax.grad(bound))(1.0), slope, rtol=1e-5)


def test_white_coordinates_have_the_product_covariance():
    prior = Grid(KERNELS, AXES, mean=trend)
    weights = jax.jacobian(lambda z: prior.from_white(z)[0][:, 0])(jnp.zeros(prior.dimension))
    np.testing.assert_allclose(weights @ weights.T, PRODUCT(CELLS, CELLS), atol=1e-8)
    np.testing.assert_allclose(prior.from_white(jnp.zeros(30))[0][:, 0], trend(CELLS))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernels": KERNELS[:1]}, "One kernel an axis"),
        ({"cells": np.ones((5, 6), bool)}, r"a grid of shape \(6, 5\)"),
        ({"cells": [0, 30]}, "numbers 0 to 29"),
        ({"cells": np.zeros((6, 5), bool)}, "one or more"),
        ({"rank": 0}, "rank must be 1"),
    ],
)
def test_what_does_not_fit_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        Grid(**{"kernels": KERNELS, "axes": AXES, **change})


def test_new_inputs_of_another_width_are_refused():
    with pytest.raises(InputError, match=r"New inputs must be \(m, 2\)"):
        Grid(KERNELS, AXES).predict(some_sites(30), NEW[:, :1])
