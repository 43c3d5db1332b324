"""Evidence as a function of hyperparameters, and the calibration of every rule with every likelihood."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jensen import gp
from jensen.algorithms import ADF, CVI, EP, Mode, SiteLaplace
from jensen.core import InputError
from jensen.gp import EvidenceTarget, Hyperparameters, fixed_point, likelihoods, site_evidence
from jensen.gp.exact import Exact
from jensen.gp.kernels import RBF, Matern32
from jensen.gp.priors import Dense, Points

RULES = {"CVI": CVI(tolerance=1e-9), "EP": EP(tolerance=1e-9), "SiteLaplace": SiteLaplace(tolerance=1e-9)}


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", RULES)
def test_gradient_of_the_evidence_is_that_of_differences(name):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(-2, 2, (8, 1)))
    template = gp.LatentModel(Dense(RBF(), x), likelihoods.NegativeBinomial(2.0), rng.poisson(2.0, 8))
    parts = Hyperparameters({"kernel": RBF(0.8, 1.3), "likelihood": likelihoods.NegativeBinomial(2.0)})
    rule = jax.tree.map(jnp.asarray, RULES[name])

    def evidence(theta):
        tree = parts.at(theta)
        model = eqx.tree_at(lambda m: (m.prior, m.likelihood), template, (Dense(tree["kernel"], x), tree["likelihood"]))
        return site_evidence(rule, model, 300)

    assert parts.names == ("kernel.lengthscale", "kernel.variance", "likelihood.concentration")
    value = jax.jit(evidence)
    gradient = jax.jit(jax.grad(evidence))(parts.theta)
    for i, step in enumerate(1e-4 * np.eye(3)):
        slope = (value(parts.theta + step) - value(parts.theta - step)) / 2e-4
        assert float(gradient[i]) == pytest.approx(float(slope), abs=1e-6)


def test_mode_of_the_evidence_of_a_gaussian_model():
    """Against a fine grid over the lengthscale, all else fixed."""
    import jensen as jn

    rng = np.random.default_rng(1)
    x = np.linspace(0, 5, 30)[:, None]
    y = rng.multivariate_normal(np.zeros(30), np.asarray(Matern32(0.7, 1.0)(x, x)) + 0.1 * np.eye(30))

    class _OfLengthscale(eqx.Module):
        lengthscale: jax.Array

    def evidence(tree, x, y):
        return Exact(Matern32(tree.lengthscale, 1.0), 0.1, x, y).log_evidence()

    start = _OfLengthscale(jnp.asarray(1.0))
    target = EvidenceTarget(evidence, start, jnp.asarray(x), jnp.asarray(y), prior_scale=jnp.inf)
    fit = jn.run(Mode(), target, key=jax.random.key(0), certify=False, progress=False)
    found = float(jnp.exp(fit.posterior.z[0]))
    grid = np.linspace(0.1, 3, 2901)
    values = jax.jit(jax.vmap(lambda s: evidence(_OfLengthscale(s), jnp.asarray(x), jnp.asarray(y))))(jnp.asarray(grid))
    assert found == pytest.approx(grid[int(np.argmax(values))], abs=1e-3)


def test_hyperparameters_go_round_and_respect_what_is_declared():
    tree = {"kernel": Matern32([0.5, 2.0], 3.0), "z": Points([[0.0, -1.0]], [1.0, 2.0]), "l": likelihoods.Poisson(5.0)}
    parts = Hyperparameters(tree)
    assert parts.names == (
        "kernel.lengthscale[0]",
        "kernel.lengthscale[1]",
        "kernel.variance",
        "z.z[0, 0]",
        "z.z[0, 1]",
    )
    theta = parts.theta
    np.testing.assert_allclose(theta, [np.log(0.5), np.log(2), np.log(3), 0, -1])
    back = parts.at(theta + 1.0)
    np.testing.assert_allclose(back["kernel"].lengthscale, np.e * np.array([0.5, 2.0]))
    np.testing.assert_allclose(back["z"].z, [[1.0, 0.0]])
    assert float(back["l"].exposure) == 5.0  # fixed
    assert float(parts.values(theta)["kernel.variance"]) == pytest.approx(3.0)
    with pytest.raises(InputError, match=r"kernel.variance must be positive"):
        Hyperparameters({"kernel": RBF(1.0, 0.0)})


LIKELIHOODS = {
    "BernoulliLogit": likelihoods.BernoulliLogit(),
    "BernoulliProbit": likelihoods.BernoulliProbit(),
    "Gaussian": likelihoods.Gaussian(0.2),
    "Heteroscedastic": likelihoods.Heteroscedastic(),
    "NegativeBinomial": likelihoods.NegativeBinomial(3.0),
    "Ordinal": likelihoods.Ordinal([1.0, 1.0]),
    "Poisson": likelihoods.Poisson(2.0),
    "Softmax": likelihoods.Softmax(3),
    "StudentT": likelihoods.StudentT(0.4, 4.0),
}
SITES = 10


RULES = {"CVI": CVI(), "EP": EP(), "EP of power 0.5": EP(power=0.5), "ADF": ADF(), "SiteLaplace": SiteLaplace()}


@eqx.filter_jit
def coverage(rule, template, z, keys):
    """The share of values of f within 90 % intervals, a data set each."""
    prior, likelihood = template.prior, template.likelihood

    def covered(part):
        z, keys = part
        f, _ = prior.from_white(z)
        y = jax.vmap(likelihood.sample)(keys, f)
        model = eqx.tree_at(lambda m: m.y, template, y)
        at = prior.condition(fixed_point(rule, model, 60))
        sd = jnp.sqrt(jnp.diagonal(at.cov, axis1=1, axis2=2))
        return jnp.mean(jnp.abs(f - at.mean) < norm.ppf(0.95) * sd)

    return jax.lax.map(covered, (z, keys))


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("rule", RULES)
def test_intervals_cover_on_data_from_the_model(name, rule):
    """90 % intervals of f over many data sets: within four standard errors, and 0.03 that the rule itself may be off.

    The standard error is that over data sets, for sites of one set are correlated.
    """
    likelihood = LIKELIHOODS[name]
    sets = 200 if likelihood.num_values == 1 else 60
    rng = np.random.default_rng(0)
    x = jnp.linspace(0, 3, SITES)[:, None]
    prior = Dense([Matern32(1.0, 1.0)] * likelihood.num_values, x)
    z = jnp.asarray(rng.normal(size=(sets, prior.dimension)))
    keys = jax.random.split(jax.random.key(0), (sets, SITES))
    template = gp.LatentModel(prior, likelihood, np.zeros(SITES))
    share = np.asarray(coverage(jax.tree.map(jnp.asarray, RULES[rule]), template, z, keys))
    error = share.std() / np.sqrt(sets)
    assert abs(share.mean() - 0.9) < 4 * error + 0.03
    assert 4 * error < 0.08
