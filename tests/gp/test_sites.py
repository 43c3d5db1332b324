"""Update rules over sites against exact answers: Gaussian likelihoods, orthant probabilities, quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from jensen import gp
from jensen._run import drive
from jensen.algorithms import ADF, CVI, EP, SequentialEP, SiteLaplace
from jensen.core import InputError, MissingCapability, Sites, divergence
from jensen.gp import likelihoods
from jensen.gp.exact import Collapsed, Exact
from jensen.gp.kernels import RBF, Matern52
from jensen.gp.priors import Dense, Inducing

KERNEL = Matern52(1.0, 2.0)


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def fitted(rule, likelihood, y, prior):
    """(q, log evidence) at the rule's fixed point."""
    outcome = drive(rule, gp.LatentModel(prior, likelihood, y), key=jax.random.key(0), progress=False)
    assert outcome.run.stop.name == "CONVERGED"
    return outcome.posterior.q, float(outcome.run.history.scalars["log_evidence"][-1])


def inputs(n=8, seed=0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(-3, 3, n))[:, None], rng


@pytest.mark.parametrize("rule", [CVI(), SiteLaplace(), EP(), EP(power=0.5), SequentialEP(), ADF()], ids=repr)
def test_gaussian_sites_are_exact(rule):
    # iterations end when marginals move by less than 1e-6 standard deviations
    x, rng = inputs()
    y, noise = rng.normal(size=8), 0.3
    k = np.asarray(KERNEL(x, x))
    q, found = fitted(rule, likelihoods.Gaussian(noise), y, Dense(KERNEL, x))
    assert found == pytest.approx(multivariate_normal(np.zeros(8), k + noise * np.eye(8)).logpdf(y), abs=1e-7)
    at = q.marginals()
    gain = k @ np.linalg.inv(k + noise * np.eye(8))
    np.testing.assert_allclose(at.mean[:, 0], gain @ y, atol=2e-6)
    np.testing.assert_allclose(at.cov[:, 0, 0], np.diag(k - gain @ k), atol=2e-6)
    new = np.linspace(-4, 4, 5)[:, None]
    mean, cov = q.predict(new)
    exact = Exact(KERNEL, noise, x, y)
    np.testing.assert_allclose(mean[:, 0], exact.predict(new)[0], atol=2e-6)
    np.testing.assert_allclose(cov[:, 0, 0], exact.predict(new)[1], atol=2e-6)


def test_probit_evidence_against_the_orthant_probability():
    x, rng = inputs(10)
    y = (rng.normal(size=10) > 0).astype(float)
    s = 2 * y - 1
    cov = np.eye(10) + s[:, None] * np.asarray(KERNEL(x, x)) * s
    truth = np.log(multivariate_normal.cdf(np.zeros(10), cov=cov, maxpts=200_000, abseps=1e-7, rng=0))
    prior, likelihood = Dense(KERNEL, x), likelihoods.BernoulliProbit()
    _, elbo = fitted(CVI(), likelihood, y, prior)
    q, ep = fitted(EP(), likelihood, y, prior)
    by_sequence, same = fitted(SequentialEP(), likelihood, y, prior)
    _, laplace = fitted(SiteLaplace(), likelihood, y, prior)
    assert elbo < truth
    assert abs(ep - truth) < min(0.05, abs(elbo - truth), abs(laplace - truth))
    assert same == pytest.approx(ep, abs=1e-6)
    np.testing.assert_allclose(by_sequence.sites.linear, q.sites.linear, atol=1e-4)


REAL = {
    "BernoulliLogit": (likelihoods.BernoulliLogit(), (1.0, 0.0)),
    "BernoulliProbit": (likelihoods.BernoulliProbit(), (1.0, 1.0)),
    "Gaussian": (likelihoods.Gaussian(0.4), (0.7, -0.2)),
    "NegativeBinomial": (likelihoods.NegativeBinomial(3.0), (4.0, 0.0)),
    "Ordinal": (likelihoods.Ordinal([1.0, 1.5]), (3.0, 1.0)),
    "Poisson": (likelihoods.Poisson(2.0), (3.0, 1.0)),
    "StudentT": (likelihoods.StudentT(0.5, 4.0), (0.3, 1.5)),
}


@pytest.mark.parametrize("name", REAL)
def test_two_sites_against_quadrature(name):
    likelihood, y = REAL[name]
    x = np.array([[0.0], [0.7]])
    k = np.asarray(KERNEL(x, x))
    axis = np.linspace(-9, 9, 601)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    each = [np.asarray(jax.vmap(lambda f, o=o: likelihood.log_prob(o, f[None]))(jnp.asarray(axis))) for o in y]
    log_joint = multivariate_normal(np.zeros(2), k).logpdf(grid) + np.add.outer(*each).ravel()
    truth = logsumexp(log_joint) + 2 * np.log(axis[1] - axis[0])
    weights = np.exp(log_joint - logsumexp(log_joint))
    mean = weights @ grid
    variance = weights @ (grid - mean) ** 2
    prior = Dense(KERNEL, x)
    q, ep = fitted(EP(), likelihood, np.array(y), prior)
    assert ep == pytest.approx(truth, abs=0.02)
    at = q.marginals()
    # EP's marginals are off by its own approximation, of third order in the skewness, not by quadrature
    np.testing.assert_allclose(at.mean[:, 0], mean, atol=0.05)
    np.testing.assert_allclose(at.cov[:, 0, 0], variance, rtol=0.1)
    q, elbo = fitted(CVI(), likelihood, np.array(y), prior)
    assert truth - 0.5 < elbo < truth + 1e-6
    # the ELBO is E log p - KL, computed otherwise
    at = q.marginals()
    model = gp.LatentModel(prior, likelihood, np.array(y))
    by_parts = jnp.sum(model.expected(at.mean, at.cov)) - divergence(q.sites, at)
    assert float(by_parts) == pytest.approx(elbo, abs=1e-6)


@pytest.mark.parametrize("k", [2, 3])
def test_a_single_site_of_several_values_is_exact_for_ep(k):
    x = np.zeros((1, 1))
    likelihood, y = (likelihoods.Heteroscedastic(), 0.8) if k == 2 else (likelihoods.Softmax(3), 1.0)
    prior = Dense([RBF(1.0, 0.5)] * k, x)
    axis = np.linspace(-4.5, 4.5, 91)
    grid = np.stack(np.meshgrid(*[axis] * k, indexing="ij"), -1).reshape(-1, k)
    terms = np.asarray(jax.vmap(lambda f: likelihood.log_prob(y, f))(jnp.asarray(grid)))
    terms = terms + multivariate_normal(np.zeros(k), 0.5 * np.eye(k)).logpdf(grid)
    truth = logsumexp(terms) + k * np.log(axis[1] - axis[0])
    q, ep = fitted(EP(), likelihood, np.array([y]), prior)
    _, elbo = fitted(CVI(), likelihood, np.array([y]), prior)
    accuracy = 1e-4 if k == 2 else 5e-3  # quasi-Monte Carlo with 512 points for three values
    assert ep == pytest.approx(truth, abs=accuracy)
    assert elbo < truth + accuracy
    weights = np.exp(terms - logsumexp(terms))
    np.testing.assert_allclose(q.marginals().mean[0], weights @ grid, atol=10 * accuracy)


def test_small_powers_lead_to_the_variational_fixed_point():
    x, rng = inputs(6)
    y = rng.poisson(2.0, 6)
    prior, likelihood = Dense(KERNEL, x), likelihoods.Poisson()
    variational, elbo = fitted(CVI(), likelihood, y, prior)
    q, evidence = fitted(EP(power=0.01), likelihood, y, prior)
    assert evidence == pytest.approx(elbo, abs=2e-3)
    np.testing.assert_allclose(q.marginals().mean, variational.marginals().mean, atol=2e-3)


def test_inducing_points_at_the_inputs_are_the_exact_prior_and_fewer_give_the_collapsed_bound():
    x, rng = inputs(12)
    counts = rng.poisson(2.0, 12)
    _, dense = fitted(CVI(), likelihoods.Poisson(), counts, Dense(KERNEL, x))
    _, same = fitted(CVI(), likelihoods.Poisson(), counts, Inducing(KERNEL, x, x))
    assert same == pytest.approx(dense, abs=1e-6)
    y = rng.normal(size=12)
    q, bound = fitted(CVI(), likelihoods.Gaussian(0.2), y, Inducing(KERNEL, x, x[::3]))
    collapsed = Collapsed(KERNEL, 0.2, x, y, x[::3])
    assert bound == pytest.approx(float(collapsed.log_evidence()), abs=1e-7)
    new = np.linspace(-3, 3, 7)[:, None]
    np.testing.assert_allclose(q.predict(new)[0][:, 0], collapsed.predict(new)[0], atol=1e-6)
    np.testing.assert_allclose(q.predict(new)[1][:, 0, 0], collapsed.predict(new)[1], atol=1e-6)
    exact = float(Exact(KERNEL, 0.2, x, y).log_evidence())
    assert bound < exact
    assert float(Collapsed(KERNEL, 0.2, x, y, x).log_evidence()) == pytest.approx(exact, abs=1e-5)


def test_the_posterior_is_the_gaussian_that_its_marginals_say():
    x, rng = inputs(5)
    prior = Dense(KERNEL, x)
    q, _ = fitted(CVI(), likelihoods.Poisson(), rng.poisson(2.0, 5), prior)
    mean, cov = q.mean_and_cov()
    centre, _ = prior.from_white(mean)
    weights = np.asarray(jax.jacfwd(lambda z: prior.from_white(z)[0][:, 0])(mean))
    at = q.marginals()
    np.testing.assert_allclose(centre, at.mean, atol=1e-8)
    np.testing.assert_allclose(np.diag(weights @ np.asarray(cov) @ weights.T), at.cov[:, 0, 0], atol=1e-8)


def test_a_repeated_input_is_one_latent_value():
    x = np.array([[0.0], [0.0], [1.0]])
    q, evidence = fitted(CVI(), likelihoods.Gaussian(0.1), np.array([1.0, 2.0, 0.0]), Dense(KERNEL, x))
    k = np.asarray(KERNEL(x, x)) + 0.1 * np.eye(3)
    assert evidence == pytest.approx(multivariate_normal(np.zeros(3), k).logpdf([1, 2, 0]), abs=1e-6)
    np.testing.assert_allclose(q.marginals().mean[0], q.marginals().mean[1], atol=1e-6)


@pytest.mark.parametrize(
    ("likelihood", "y", "words"),
    [
        (likelihoods.Poisson(), [1.0, -2.0], r"y\[1\] is"),
        (likelihoods.NegativeBinomial(), [0.5, 1.0], r"y\[0\] is"),
        (likelihoods.BernoulliLogit(), [1.0, 2.0], "labels 0 to 1"),
        (likelihoods.Ordinal([1.0]), [0.0, 3.0], "labels 0 to 2"),
        (likelihoods.Gaussian(), [0.0, np.nan], "finite"),
        (likelihoods.Gaussian(), [0.0, 1.0, 2.0], "2 sites and y has 3"),
        (likelihoods.Heteroscedastic(), [0.0, 1.0], "give it 2 kernels"),
    ],
)
def test_wrong_observations_are_met_at_the_door(likelihood, y, words):
    with pytest.raises(InputError, match=words):
        gp.LatentModel(Dense(KERNEL, np.array([0.0, 1.0])), likelihood, np.array(y))


def test_a_target_without_sites_is_refused():
    import jensen as jn

    target = jn.targets.from_log_density(lambda z: -jnp.sum(z**2), np.zeros(2))
    with pytest.raises(MissingCapability, match="LatentGaussian"):
        jn.run(CVI(), target, key=jax.random.key(0))


@pytest.mark.parametrize("settings", [{"power": 0.0}, {"power": 1.5}, {"rate": 0.0}])
def test_powers_and_rates_lie_in_the_unit_interval(settings):
    with pytest.raises(InputError, match="must lie in"):
        EP(**settings)


def test_expectations_of_sites_are_those_of_a_quadratic():
    rng = np.random.default_rng(0)
    sites = Sites(jnp.asarray(rng.normal(size=(1, 2))), jnp.asarray([[[2.0, 0.3], [0.3, 1.0]]]))
    mean, cov = jnp.asarray(rng.normal(size=(1, 2))), jnp.asarray([[[0.5, 0.1], [0.1, 0.4]]])
    f = rng.multivariate_normal(mean[0], cov[0], 400_000)
    logs = f @ np.asarray(sites.linear[0]) - 0.5 * np.einsum("ni,ij,nj->n", f, np.asarray(sites.precision[0]), f)
    error = logs.std() / np.sqrt(len(logs))
    assert float(sites.expected_log(mean, cov)[0]) == pytest.approx(logs.mean(), abs=5 * error)
