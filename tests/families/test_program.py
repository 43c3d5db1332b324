"""Programs as families: density and draws, training to a known posterior, saving, and guides that do not match."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from tests.contract.helpers import compilations

import jensen as jn
from jensen.core import DensityPosterior, InputError
from jensen.core.stored import StoredPosterior
from jensen.families import program

POSITIVE, UNIT = constraints.positive, constraints.unit_interval


def model(y):
    k = numpyro.sample("k", dist.Categorical(jnp.array([0.2, 0.5, 0.3])))
    tau = numpyro.sample("tau", dist.Gamma(2.0, 2.0))
    numpyro.sample("y", dist.Normal(1.0 * k, 1 / jnp.sqrt(tau)), obs=y)


def guide():
    """Holds the exact posterior: k by its table, tau given k a gamma law."""
    k = numpyro.sample("k", dist.Categorical(logits=numpyro.param("l", jnp.zeros(3))))
    shape = numpyro.param("shape", 1.5, constraint=POSITIVE)
    rate = numpyro.param("rate", 2.0 * jnp.ones(3), constraint=POSITIVE)
    numpyro.sample("tau", dist.Gamma(shape, rate[k]))


Y = jnp.array([2.3, 0.4, 1.9])
TARGET = jn.targets.from_numpyro(model, Y)


def q_of(guide, target=TARGET):
    builder = program(guide)
    builder.check(target)
    return builder.family(jax.random.key(0), target)


def test_draws_and_density_are_of_one_law():
    q = q_of(guide)
    keys, grid = jax.random.split(jax.random.key(0), 2000), jnp.linspace(-14.0, 5.0, 4001)

    @jax.jit
    def all_of(keys, grid):
        z, log_q = jax.vmap(q.sample_and_log_prob)(keys)
        at = lambda k: jax.vmap(lambda u: jnp.exp(q.log_prob(jnp.stack([k, u]))))(grid)  # noqa: E731
        return z, log_q, jax.vmap(q.log_prob)(z), jax.vmap(at)(jnp.arange(3.0))

    z, log_q, again, density = all_of(keys, grid)
    np.testing.assert_allclose(again, log_q, rtol=1e-10)
    masses = jnp.trapezoid(density, grid, axis=1)
    np.testing.assert_allclose(masses, np.full(3, 1 / 3), atol=1e-6)
    mean = jnp.trapezoid(density.sum(0) * grid, grid)
    assert abs(z[:, 1].mean() - mean) < 5 * z[:, 1].std() / np.sqrt(2000)
    assert q.log_prob(jnp.array([3.0, 0.0])) == -jnp.inf


def test_training_finds_the_exact_posterior_and_its_evidence():
    rate = 2.0 + 0.5 * np.array([np.sum((np.asarray(Y) - k) ** 2) for k in range(3)])
    log_k = np.log([0.2, 0.5, 0.3]) - 3.5 * np.log(rate)
    evidence = np.logaddexp.reduce(log_k) + 2 * np.log(2.0) + jax.scipy.special.gammaln(3.5) - 1.5 * np.log(2 * np.pi)
    algorithm = jn.algorithms.GradientVI(family=program(guide), learning_rate=0.03)
    fit = jn.run(algorithm, TARGET, key=jax.random.key(0), steps=1500)
    q = fit.posterior.q
    np.testing.assert_allclose(jax.nn.softmax(q.parameters["l"]), np.exp(log_k - np.logaddexp.reduce(log_k)), atol=0.02)
    np.testing.assert_allclose(jnp.exp(q.parameters["shape"]), 3.5, rtol=0.05)
    np.testing.assert_allclose(jnp.exp(q.parameters["rate"]), rate, rtol=0.05)
    assert abs(fit.certificate.elbo - evidence) < 0.005 + 5 * fit.certificate.elbo_standard_error
    assert fit.certificate.passed, str(fit.certificate)  # every value of k was gone through
    assert "discrete distance" in [check.name for check in fit.certificate.checks]
    draws = fit.posterior.sample(jax.random.key(1), 100)
    assert draws["k"].dtype == jnp.int32
    assert draws["tau"].shape == (100,)
    other = jn.targets.from_numpyro(model, Y + 1.0)
    with compilations() as count:
        jn.run(algorithm, other, key=jax.random.key(1), steps=200, certify=False)
    assert len(count) == 0


def test_a_saved_program_is_its_draws(tmp_path):
    fit = jn.run(jn.algorithms.GradientVI(family=program(guide)), TARGET, key=jax.random.key(0), steps=5, certify=False)
    fit.save(tmp_path / "fit")
    loaded = jn.load(tmp_path / "fit").posterior
    assert isinstance(fit.posterior, DensityPosterior)
    assert isinstance(loaded, StoredPosterior)
    assert loaded.z.shape == (4000, 2)
    assert set(np.unique(loaded.sample(jax.random.key(0), 1000)["k"])) == {0, 1, 2}
    with pytest.raises(InputError, match="A guide is code"):
        type(fit.posterior.q).from_config(fit.posterior.q.config())


def test_data_of_a_guide_are_not_trained():
    def amortised(y):
        m = numpyro.param("m", 0.3) * y.mean()
        numpyro.sample("k", dist.Categorical(logits=m * jnp.arange(3)))
        numpyro.sample("tau", dist.LogNormal(m, 1.0))

    trainable, rest = program(amortised, np.asarray(Y)).family(jax.random.key(0), TARGET).partition()
    assert [a.shape for a in jax.tree.leaves(trainable)] == [()]
    assert rest.guide.args[0].shape == (3,)


def _with(k=lambda: dist.Categorical(jnp.ones(3) / 3), tau=lambda: dist.LogNormal(0.0, 1.0), **more):
    def built():
        numpyro.param("unused", 0.0)
        for name, make in {"k": k, "tau": tau, **more}.items():
            if make is not None:
                numpyro.sample(name, make())

    return built


MISMATCH = {
    "missing": (_with(tau=None), "has no site for 'tau'"),
    "extra": (_with(rho=lambda: dist.Normal(0.0, 1.0)), "'rho' is no unknown of the model"),
    "both": (_with(k=None, rho=lambda: dist.Normal(0.0, 1.0)), "no site for 'k' and 'rho' is no unknown"),
    "shape": (
        _with(tau=lambda: dist.LogNormal(jnp.zeros(2), 1.0)),
        r"'tau' of the guide has shape \(2,\), the unknown \(\)",
    ),
    "too wide": (_with(tau=lambda: dist.Normal(0.0, 1.0)), "support real, and the model's is only positive"),
    "disjoint": (_with(tau=lambda: dist.Uniform(-2.0, -1.0)), "does not overlap the model's positive"),
    "continuous for discrete": (
        _with(k=lambda: dist.Normal(0.0, 1.0)),
        "'k' of the guide has support real, which does not overlap",
    ),
    "more categories": (
        _with(k=lambda: dist.Categorical(jnp.ones(4) / 4)),
        r"integer\(0, 3\), and the model's is only integer\(0, 2\)",
    ),
    "unbounded": (_with(k=lambda: dist.Poisson(1.0)), r"count\(0\), and the model's is only"),
}


@pytest.mark.parametrize("name", MISMATCH)
def test_a_guide_that_does_not_match_is_refused_before_compilation(name):
    bad, words = MISMATCH[name]
    algorithm = jn.algorithms.GradientVI(family=program(bad))
    key = jax.random.key(0)
    with compilations() as count, pytest.raises(InputError, match=words):
        jn.run(algorithm, TARGET, key=key)
    assert len(count) == 0


def test_a_guide_within_the_support_is_taken():
    program(_with(k=lambda: dist.Bernoulli(0.3), tau=lambda: dist.Uniform(0.5, 1.5))).check(TARGET)


def test_what_is_no_guide_is_refused():
    with pytest.raises(InputError, match="must be a function"):
        program(3)
    with pytest.raises(InputError, match="has no sample site"):
        program(lambda: numpyro.param("a", 0.0))
    with pytest.raises(InputError, match="there is nothing to train"):
        program(lambda: numpyro.sample("x", dist.Normal(0.0, 1.0)))
    with pytest.raises(InputError, match="observes at site 'x'"):
        program(lambda: numpyro.sample("x", dist.Normal(numpyro.param("a", 0.0), 1.0), obs=1.0))
    with pytest.raises(InputError, match="fails when it is traced"):
        program(lambda: numpyro.sample("x", dist.Normal(numpyro.param("a", 0.0)[3], 1.0)))

    def subsampling():
        with numpyro.plate("rows", 10, subsample_size=3):
            numpyro.sample("x", dist.Normal(numpyro.param("a", 0.0), 1.0))

    with pytest.raises(InputError, match="subsamples plate 'rows'"):
        program(subsampling)
