"""Autoencoders of functions: quadrature, the bound in function space, and its independence of the grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.amortised import Encoded
from jensen.core import InputError
from jensen.gradient_estimators import SigmaPoints
from jensen.vae import (
    FunctionModel,
    MeanField,
    SampledLikelihoodElbo,
    StandardNormal,
    Waves,
    WhiteNoise,
    function_rows,
    linear_functions,
    log_likelihood_bound,
    pointwise_functions,
    quadrature_encoder,
    row_target,
    train,
)

WAVES = Waves(1, 3, periodic=True)
SCALE = 0.3


def grid(m):
    return (np.arange(m)[:, None] + 0.5) / m


def wave(m):
    """Three functions of frequencies up to three."""
    x = grid(m)[:, 0]
    return np.stack([np.sin(2 * np.pi * x), np.cos(4 * np.pi * x) - 0.5, np.sin(6 * np.pi * x + 1)])


@pytest.fixture(scope="module")
def parts():
    keys = jax.random.split(jax.random.key(0), 2)
    model = FunctionModel(StandardNormal(2), linear_functions(keys[0], WAVES, 2), SCALE)
    head = MeanField(2)
    return model, Encoded(quadrature_encoder(keys[1], WAVES, 4, head.context), head)


def test_the_density_is_the_ratio_of_those_of_cell_averages():
    rng = np.random.default_rng(0)
    weights, x, decoded = (
        jnp.asarray(rng.uniform(0.1, 0.3, 6)),
        jnp.asarray(rng.normal(size=6)),
        jnp.asarray(rng.normal(size=(6, 1))),
    )
    noise = WhiteNoise(weights, SCALE)
    spread = SCALE / np.sqrt(weights)
    normal = jax.scipy.stats.norm.logpdf
    ratio = jnp.sum(normal(x, decoded[:, 0], spread) - normal(x, 0.0, spread))
    np.testing.assert_allclose(noise.log_prob(x, decoded), ratio, rtol=1e-10)


def test_contexts_and_bounds_do_not_depend_on_the_grid(parts):
    """Of functions that the quadrature integrates exactly: to rounding; points of weight zero are not there."""
    model, conditional = parts
    elbo = SampledLikelihoodElbo(SigmaPoints())

    @jax.jit
    def losses(rows):
        def one(row):
            return elbo.loss(jax.random.key(0), conditional.given(row), row_target(model, row)).value

        return jax.vmap(one)(rows)

    found = [losses(function_rows(wave(m), grid(m))) for m in (16, 50)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    values = np.concatenate([wave(16), np.full((3, 2), 7.0)], 1)
    points, weights = np.concatenate([grid(16), [[0.1], [0.2]]]), np.append(np.full(16, 1 / 16), [0.0, 0.0])
    np.testing.assert_allclose(losses(function_rows(values, points, weights)), found[0], rtol=1e-9)


def test_the_bound_of_linear_functions_is_exact_by_sigma_points(parts):
    """(<T m, u> - (|T m|^2 + sum_k s_k^2 |tau_k|^2) / 2) / sigma^2, by the grid."""
    model, conditional = parts
    row = function_rows(wave(40), grid(40))[1]
    q = conditional.given(row)
    tau = np.stack([model.decoder.at(jnp.eye(2)[k], jnp.asarray(grid(40))) for k in range(2)])
    decoded = np.asarray(q.mean) @ tau
    spread = np.sum(np.exp(2 * np.asarray(q.log_scale)) * np.mean(tau**2, 1))
    truth = (np.mean(decoded * wave(40)[1]) - 0.5 * (np.mean(decoded**2) + spread)) / SCALE**2
    target = row_target(model, row)
    found = SigmaPoints().expectation(jax.random.key(0), q, lambda _, z: target.log_likelihood(z)).value
    np.testing.assert_allclose(found, truth, rtol=1e-9)


def test_training_raises_the_bound_with_each_function_at_points_of_its_own(parts):
    """A nonlinear decoder, functions of one phase at random points; the scale is kept."""
    rng = np.random.default_rng(1)
    points = rng.random((60, 20, 1))
    values = np.sin(2 * np.pi * (points[..., 0] + rng.random((60, 1))))
    rows = function_rows(values, points)
    decoder = pointwise_functions(jax.random.key(1), WAVES, 2, (16,))
    model = FunctionModel(StandardNormal(2), decoder, SCALE)
    before = log_likelihood_bound(jax.random.key(2), model, parts[1], rows, 20)
    trained = train(jax.random.key(3), model, parts[1], rows, epochs=40, batch_size=20, learning_rate=1e-2)
    after = log_likelihood_bound(jax.random.key(2), trained.model, trained.conditional, rows, 20)
    assert float(jnp.mean(after)) > float(jnp.mean(before)) + 0.5
    assert float(trained.model.scale) == pytest.approx(SCALE)
    assert trained.model.draw(jax.random.key(0), jnp.asarray(grid(7))).shape == (7,)


def test_bad_input():
    for values, points, weights, words in (
        (np.zeros(3), grid(3), None, "want values"),
        (np.zeros((2, 3)), grid(4), None, "want values"),
        (np.zeros((2, 3)), grid(3), -np.ones(3), "not be negative"),
        (np.full((2, 3), np.nan), grid(3), None, "finite"),
    ):
        with pytest.raises(InputError, match=words):
            function_rows(values, points, weights)
    with pytest.raises(InputError, match="hidden"):
        pointwise_functions(jax.random.key(0), WAVES, 2, ())
    with pytest.raises(InputError, match="positive"):
        FunctionModel(StandardNormal(2), linear_functions(jax.random.key(0), WAVES, 2), 0.0)
