import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.integrate import quad

from jensen.amortised import Bars, quantile_edges
from jensen.core import InputError, sample_many

EDGES = jnp.array([-2.0, -1.0, -0.5, 0.2, 1.0, 3.0])
Q = Bars(EDGES, jnp.array([[0.1, 1.0, -0.5, 0.3, 0.9], [1.0, 0.0, 0.0, 0.0, 1.0]]))


def margin(i):
    return Bars(EDGES, Q.logits[i : i + 1])


def test_margins_integrate_to_one_and_have_their_moments():
    mean, cov = Q.mean_and_cov()
    for i in range(2):
        density = jax.jit(lambda z, i=i: jnp.exp(margin(i).log_prob(z[None])))
        points = [float(e) for e in EDGES]
        moments = [
            quad(lambda z, k=k, f=density: z**k * float(f(jnp.asarray(z))), -15, 25, points=points, limit=200)[0]
            for k in range(3)
        ]
        np.testing.assert_allclose(moments[0], 1, atol=1e-7)
        np.testing.assert_allclose(moments[1], mean[i], atol=1e-6)
        np.testing.assert_allclose(moments[2] - moments[1] ** 2, cov[i, i], atol=1e-6)


def test_half_of_a_tail_lies_within_its_bar():
    q = margin(1)
    tail = quad(lambda z: float(jnp.exp(q.log_prob(jnp.asarray([z])))), -2, -1)[0]
    np.testing.assert_allclose(tail, 0.5 * jax.nn.softmax(Q.logits[1])[0], rtol=1e-6)


def test_draws_are_of_the_density():
    z = np.asarray(sample_many(jax.random.key(0), Q, 20_000))
    mean, cov = Q.mean_and_cov()
    error = np.sqrt(np.diag(cov) / len(z))
    assert np.all(np.abs(z.mean(0) - mean) < 5 * error)
    counts = np.histogram(z[:, 0], np.concatenate([[-np.inf], EDGES[1:-1], [np.inf]]))[0]
    assert scipy.stats.chisquare(counts, len(z) * np.asarray(jax.nn.softmax(Q.logits[0]))).pvalue > 1e-6


def test_edges_hold_equal_mass():
    edges = quantile_edges(jax.random.normal(jax.random.key(0), (50_000,)), 4)
    np.testing.assert_allclose(edges[1:-1], scipy.stats.norm.ppf([0.25, 0.5, 0.75]), atol=0.05)
    with pytest.raises(InputError, match="At least 3 bars"):
        quantile_edges(jnp.zeros(5), 4)


def test_a_saved_one_has_the_same_arrays():
    made = Bars.from_config(Q.config())
    assert [a.shape for a in jax.tree.leaves(made)] == [a.shape for a in jax.tree.leaves(Q)]
