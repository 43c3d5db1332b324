"""What every algorithm makes of a Gaussian target, and whether its draws and its density are of one distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jensen.core import DensityPosterior
from jensen.families import DiagonalGaussian, Gaussian, kl_gaussian
from tests.contract.cases import CASES, DRAWS, EXACT, MEAN_FIELD, MODE, NOISY, NOISY_MEAN_FIELD, NOISY_MODE, ROUGH
from tests.contract.helpers import fitted
from tests.contract.target import correlated_gaussian

TARGET = correlated_gaussian()
MEAN, COV = np.asarray(TARGET.mean), np.asarray(TARGET.scale_tril @ TARGET.scale_tril.T)
RUNS = 12
FALSE_ALARM = 1e-6  # per comparison; five standard errors of a normal variable are 6e-7


def cases(*kinds):
    return pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.recovers in kinds])


@cases(EXACT)
def test_recovers_the_gaussian_exactly(name):
    mean, cov = fitted(name).posterior.mean_and_cov()
    target = CASES[name].target()
    np.testing.assert_allclose(mean, target.mean, atol=1e-6)
    np.testing.assert_allclose(cov, target.scale_tril @ target.scale_tril.T, atol=1e-6)


@cases(NOISY)
def test_recovers_the_gaussian_within_its_own_noise(name):
    """Means over runs within their error (Student's t, for it is estimated), which hides no error above a half."""
    moments = [fitted(name, seed).posterior.mean_and_cov() for seed in range(RUNS)]
    limit = scipy.stats.t.isf(FALSE_ALARM / 2, RUNS - 1)
    rows = np.stack([np.concatenate([mean, cov[np.tril_indices(4)]]) for mean, cov in moments])
    truth = np.concatenate([MEAN, COV[np.tril_indices(4)]])
    error = rows.std(0, ddof=1) / np.sqrt(RUNS)
    assert np.all(np.abs(rows.mean(0) - truth) < limit * error + 1e-6)
    assert np.all(limit * error < 0.5)


@cases(DRAWS)
def test_recovers_the_moments_within_five_standard_errors(name):
    from blackjax.diagnostics import effective_sample_size

    posterior = fitted(name).posterior
    z = np.asarray(posterior.pooled)
    compiled = jax.jit(effective_sample_size)  # eagerly it is a hundred programs
    effective = lambda x: np.asarray(compiled(jnp.asarray(x)))  # noqa: E731
    chains = np.asarray(posterior.chains)
    for power, truth, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0)):
        standard = ((chains - MEAN) / np.sqrt(np.diag(COV))) ** power
        size = np.full(4, len(z)) if posterior.independent else effective(standard)
        error = np.sqrt(variance / size)
        assert np.all(np.abs(standard.reshape(-1, 4).mean(0) - truth) < 5 * error)
        assert np.all(5 * error < 0.5)


@cases(ROUGH)
def test_comes_within_a_nat_of_the_gaussian(name):
    q = fitted(name).posterior.q
    assert kl_gaussian(Gaussian(q.mean, q.scale_tril), Gaussian(TARGET.mean, TARGET.scale_tril)) < 1


@cases(MEAN_FIELD)
def test_recovers_the_best_factorised_gaussian(name):
    """argmin KL(q || p) over factorised q: the mean of p, and variances 1 / diag(S^-1)."""
    mean, cov = fitted(name).posterior.mean_and_cov()
    scale = 1 / np.sqrt(np.diag(np.linalg.inv(COV)))
    np.testing.assert_allclose(mean, MEAN, atol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(cov)), scale, rtol=1e-6)


@cases(NOISY_MEAN_FIELD)
def test_recovers_the_best_factorised_gaussian_within_its_own_noise(name):
    """Mean and log scale over runs within their error (Student's t), which hides no error of a tenth in a scale."""
    moments = [fitted(name, seed).posterior.mean_and_cov() for seed in range(RUNS)]
    rows = np.stack([np.concatenate([mean, 0.5 * np.log(np.diag(cov))]) for mean, cov in moments])
    truth = np.concatenate([MEAN, -0.5 * np.log(np.diag(np.linalg.inv(COV)))])
    limit = scipy.stats.t.isf(FALSE_ALARM / 2, RUNS - 1) * rows.std(0, ddof=1) / np.sqrt(RUNS)
    assert np.all(np.abs(rows.mean(0) - truth) < limit)
    assert np.all(limit < 0.1)


@cases(MODE)
def test_finds_the_mode(name):
    np.testing.assert_allclose(fitted(name).posterior.z, MEAN, atol=1e-5)


@cases(NOISY_MODE)
def test_finds_the_mode_within_its_own_noise(name):
    """Points over runs within their error (Student's t), which hides no error above a half."""
    rows = np.stack([fitted(name, seed).posterior.z for seed in range(RUNS)])
    limit = scipy.stats.t.isf(FALSE_ALARM / 2, RUNS - 1) * rows.std(0, ddof=1) / np.sqrt(RUNS)
    assert np.all(np.abs(rows.mean(0) - MEAN) < limit)
    assert np.all(limit < 0.5)


densities = pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if issubclass(c.make().gives, DensityPosterior)]
)


@densities
def test_sample_and_log_prob_are_of_one_distribution(name):
    """E_q[phi(z) / q(z)] = 1 for densities phi narrower than q, whose weights are bounded: five standard errors."""
    posterior = fitted(name).posterior
    mean, cov = posterior.mean_and_cov()
    z = posterior.sample_z(jax.random.key(5), 20_000)
    tril = jnp.linalg.cholesky(cov)
    log_q = posterior.log_prob(z)
    for shift in [jnp.zeros(4), *0.5 * jnp.eye(4), *-0.5 * jnp.eye(4)]:
        phi = Gaussian(mean + tril @ shift, 0.7 * tril)
        weights = np.exp(jax.vmap(phi.log_prob)(z) - log_q)
        error = weights.std() / np.sqrt(len(weights))
        assert abs(weights.mean() - 1) < 5 * error
        assert 5 * error < 0.1


@densities
def test_draws_of_a_gaussian_pass_a_goodness_of_fit_test(name):
    """2 (log q(m) - log q(z)) is chi-square with d degrees of freedom for a Gaussian q: Kolmogorov-Smirnov."""
    posterior = fitted(name).posterior
    if not isinstance(posterior.q, Gaussian | DiagonalGaussian):
        return
    z = posterior.sample_z(jax.random.key(6), 5_000)
    distance = 2 * (posterior.log_prob(posterior.q.mean) - posterior.log_prob(z))
    assert scipy.stats.kstest(distance, scipy.stats.chi2(4).cdf).pvalue > FALSE_ALARM
    # a scale wrong by a tenth cannot hide
    assert scipy.stats.kstest(1.21 * distance, scipy.stats.chi2(4).cdf).pvalue < FALSE_ALARM
