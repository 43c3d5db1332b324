import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from jensen.core import _plain, sample_many
from jensen.core._pack_posterior import family_classes, pack_family, unpack_family
from jensen.families import MultivariateStudentT, NormalScaleMixture

MEAN, TRIL = jnp.array([1.0, -2.0]), jnp.array([[0.5, 0.0], [0.3, 2.0]])
COV = np.asarray(TRIL @ TRIL.T)
T = MultivariateStudentT(MEAN, TRIL, jnp.log(5.0))
MIXTURE = NormalScaleMixture(MEAN, TRIL, jnp.log(jnp.array([0.5, 2.0, 4.0])), jnp.log(jnp.array([2.0, 1.0, 1.0])))


def test_density_of_the_student_t_is_that_of_scipy(key):
    z = 3 * jax.random.normal(key, (10, 2))
    truth = scipy.stats.multivariate_t(np.asarray(MEAN), COV, df=5.0).logpdf(np.asarray(z))
    np.testing.assert_allclose(jax.vmap(T.log_prob)(z), truth, rtol=1e-12)


def test_density_of_the_mixture_is_the_sum_of_its_parts(key):
    z = 3 * jax.random.normal(key, (10, 2))
    parts = [scipy.stats.multivariate_normal(np.asarray(MEAN), s * COV).pdf(np.asarray(z)) for s in (0.5, 2.0, 4.0)]
    truth = np.log(np.array([0.5, 0.25, 0.25]) @ np.array(parts))
    np.testing.assert_allclose(jax.vmap(MIXTURE.log_prob)(z), truth, rtol=1e-12)


def test_draws_are_of_the_distribution(key):
    """|L^-1 (z - m)|^2 / d is F(d, nu) for the t; for the mixture a mixture of scaled chi-squares."""
    chi2 = scipy.stats.chi2(2)
    laws = [
        (T, lambda s: scipy.stats.f(2, 5.0).cdf(s / 2)),
        (MIXTURE, lambda s: 0.5 * chi2.cdf(s / 0.5) + 0.25 * chi2.cdf(s / 2.0) + 0.25 * chi2.cdf(s / 4.0)),
    ]
    for q, cdf in laws:
        white = np.linalg.solve(np.asarray(TRIL), np.asarray(sample_many(key, q, 5000) - MEAN).T)
        square = np.sum(white**2, 0)
        assert scipy.stats.kstest(square, cdf).pvalue > 1e-6
        assert scipy.stats.kstest(square, lambda s, cdf=cdf: cdf(s / 1.2)).pvalue < 1e-6
        angle = np.arctan2(*white)
        assert scipy.stats.kstest(angle, scipy.stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-6


def test_moments():
    np.testing.assert_allclose(T.mean_and_cov()[1], 5 / 3 * COV, rtol=1e-12)
    np.testing.assert_allclose(MIXTURE.mean_and_cov()[1], (0.25 + 0.5 + 1.0) * COV, rtol=1e-12)
    assert MultivariateStudentT(MEAN, TRIL, jnp.log(2.0)).mean_and_cov()[1][0, 0] == jnp.inf


def test_both_are_rebuilt_bit_for_bit():
    for q in (T, MIXTURE):
        arrays = {}
        spec = _plain.loads(_plain.dumps(pack_family(q, "q", arrays)))
        again = unpack_family(spec, "q", arrays, family_classes(), 2)
        assert jax.tree.structure(again) == jax.tree.structure(q)
        assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(q), strict=True))
