"""Sums over discrete unknowns against sums written out, and fits through them."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import jensen as jn
from jensen.core import InputError, MissingCapability, NonFiniteDensity
from jensen.targets import Conditioned, Enumerated, from_numpyro

RNG = np.random.default_rng(0)
Y = np.concatenate([RNG.normal(-1, 1, 6), RNG.normal(3, 1, 4)])


def joint(target, z):
    """log sum_d p(z, d) over all values of all discrete coordinates, one by one."""
    inner = target.target
    mask = np.array(inner.space.discrete)
    supports = [
        range(int(low), int(high) + 1)
        for v in inner.space.variables
        if v.support.discrete
        for low, high in zip(*(np.broadcast_to(b, v.shape).ravel() for b in v.support.bounds), strict=True)
    ]
    values = np.array(list(itertools.product(*supports)), float)
    full = np.zeros((len(values), len(mask)))
    full[:, mask], full[:, ~mask] = values, np.asarray(z)
    terms = jax.jit(lambda full: jax.lax.map(inner.log_density, full))(jnp.asarray(full))
    return jax.nn.logsumexp(terms), values, np.asarray(terms)


def mixture(y):
    mean = numpyro.sample("mean", dist.Normal(0, 3).expand([2]).to_event(1))
    share = numpyro.sample("share", dist.Beta(2.0, 2.0))
    with numpyro.plate("rows", len(y)):
        c = numpyro.sample("c", dist.Bernoulli(share))
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(mean[c], scale), obs=y)


def switch_and_mixture(y):
    kind = numpyro.sample("kind", dist.Categorical(jnp.array([0.2, 0.5, 0.3])))
    mean = numpyro.sample("mean", dist.Normal(1.0 * kind, 1))
    with numpyro.plate("rows", len(y)):
        c = numpyro.sample("c", dist.Binomial(2, 0.3))
        with numpyro.handlers.scale(scale=0.5):
            numpyro.sample("y", dist.Normal(mean * c, 1.0 + kind), obs=y)


def nested(y):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("columns", y.shape[1], dim=-1):
        a = numpyro.sample("a", dist.Bernoulli(0.3))
        with numpyro.plate("rows", y.shape[0], dim=-2):
            b = numpyro.sample("b", dist.Bernoulli(0.4))
            numpyro.sample("y", dist.Normal(mean * (a - 2 * b), 1.0), obs=y)


def chain(y):
    drift = numpyro.sample("drift", dist.Normal(0, 1))
    state = 0
    for t, value in enumerate(y):
        state = numpyro.sample(f"s{t}", dist.Bernoulli(jnp.where(state == 1, 0.8, 0.3)))
        numpyro.sample(f"y{t}", dist.Normal(drift * state, 1.0), obs=value)


def mixing_cells(y):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("rows", len(y)):
        c = numpyro.sample("c", dist.Bernoulli(0.3))
        numpyro.sample("y", dist.Normal(mean * (c + jnp.roll(c, 1)), 1.0), obs=y)


CASES = {
    "mixture": (mixture, Y, 2),
    "a switch outside the plate": (switch_and_mixture, Y[:5], 9),
    "nested plates": (nested, Y[:6].reshape(2, 3), 8),
    "a chain without plates": (chain, Y[:6], 64),
    "a plate that is not independent": (mixing_cells, Y[:6], 64),
}


@pytest.mark.parametrize("name", CASES)
def test_the_sum_is_that_over_the_joint_support(name):
    model, y, evaluations = CASES[name]
    target = Enumerated(from_numpyro(model, y))
    assert target.sums.outer.shape[0] * target.sums.inner.shape[0] == evaluations
    for seed in range(3):
        z = target.start(jax.random.key(seed))
        value, gradient = eqx.filter_jit(jax.value_and_grad(target.log_density))(z)
        np.testing.assert_allclose(value, joint(target, z)[0], rtol=1e-12)
        numeric = (target.log_density(z.at[0].add(1e-5)) - target.log_density(z.at[0].add(-1e-5))) / 2e-5
        np.testing.assert_allclose(gradient[0], numeric, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["a switch outside the plate", "a chain without plates"])
def test_discrete_draws_follow_their_conditional_law(name):
    model, y, _ = CASES[name]
    target = Enumerated(from_numpyro(model, y))
    z = target.start(jax.random.key(1))
    _, values, terms = joint(target, z)
    truth = np.exp(terms - terms.max()) @ values / np.exp(terms - terms.max()).sum()
    n = 4000
    draws = jax.jit(jax.vmap(lambda key: target.posterior_discrete(key, z)))(jax.random.split(jax.random.key(2), n))
    names = target.target.space.discrete_names
    drawn = np.concatenate([np.asarray(draws[k]).reshape(n, -1) for k in names], axis=1)
    error = drawn.std(0) / np.sqrt(n) + 1e-9
    assert np.all(np.abs(drawn.mean(0) - truth) < 5 * error + 1e-3)
    assert np.all(5 * error < 0.1)


def test_fit_sums_them_out_by_itself_and_draws_them_back():
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0, 5))
        with numpyro.plate("rows", len(y)):
            outlier = numpyro.sample("outlier", dist.Bernoulli(0.1))
            numpyro.deterministic("spread", 1.0 + 9.0 * outlier)
            numpyro.sample("y", dist.Normal(mean, 1.0 + 9.0 * outlier), obs=y)

    y = np.append(RNG.normal(1.0, 1.0, 20), 25.0)
    fit = jn.fit(model, y, key=jax.random.key(0))
    assert fit.certificate.passed, str(fit)
    draws = fit.posterior.sample(jax.random.key(1), 500)
    assert draws["outlier"].shape == draws["spread"].shape == (500, 21)
    np.testing.assert_array_equal(draws["spread"], 1.0 + 9.0 * draws["outlier"])
    assert draws["outlier"][:, -1].mean() > 0.99
    assert draws["outlier"][:, :-1].mean() < 0.2


def test_space_goes_there_and_back_and_data_are_predicted():
    target = Enumerated(from_numpyro(mixture, Y))
    z = target.start(jax.random.key(0))
    assert target.space.discrete_names == ()
    x = target.space.constrain(z)
    assert set(x) == {"mean", "share", "scale", "c"}
    np.testing.assert_allclose(target.space.unconstrain(x), z, atol=1e-12)
    assert target.predict(jax.random.key(1), z)["y"].shape == Y.shape
    np.testing.assert_array_equal(target.observed()["y"], Y)


def test_what_cannot_be_summed_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="no discrete unknown"):
        Enumerated(jn.targets.synthetic.Banana())
    with pytest.raises(InputError, match=r"has 1048576 values, more than the 4096 .*independent.*ScoreFunction"):
        Enumerated(from_numpyro(mixing_cells, np.zeros(20)))
    with pytest.raises(InputError, match=r"'s0', 's1'.*has 8192 values"):
        Enumerated(from_numpyro(chain, np.zeros(13)))

    def counts(y):
        mean = numpyro.sample("mean", dist.Gamma(2.0, 1.0))
        n = numpyro.sample("n", dist.Poisson(mean))
        numpyro.sample("y", dist.Normal(n, 1.0), obs=y)

    with pytest.raises(InputError, match="'n' has no finite support"):
        jn.fit(counts, 3.0, key=jax.random.key(0))

    def whole(y):
        n = numpyro.sample("n", dist.Binomial(5, 0.3))
        numpyro.sample("y", dist.Normal(n, 1.0), obs=y)

    with pytest.raises(MissingCapability, match=r"All unknowns \('n'\) are discrete"):
        jn.fit(whole, 3.0, key=jax.random.key(0))

    def vector(y):
        numpyro.sample("n", dist.Multinomial(4, jnp.ones(3) / 3))
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    with pytest.raises(InputError, match="'n' is discrete"):
        from_numpyro(vector, 0.0)


def test_a_density_that_is_finite_nowhere_names_its_site():
    def broken(y):
        numpyro.sample("x", dist.Normal(0, 1))
        c = numpyro.sample("c", dist.Bernoulli(0.5))
        numpyro.sample("y", dist.Normal(c, -1.0, validate_args=False), obs=y)

    with pytest.raises(NonFiniteDensity, match="site 'y'"):
        jn.fit(broken, 0.0, key=jax.random.key(0))


def test_a_discrete_unknown_can_be_fixed():
    def model(y):
        k = numpyro.sample("k", dist.Categorical(jnp.array([0.2, 0.5, 0.3])))
        mean = numpyro.sample("mean", dist.Normal(1.0 * k, 1))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    target = from_numpyro(model, 0.7)
    z = jnp.array([0.3])
    terms = [Conditioned(target, {"k": float(k)}).log_density(z) for k in range(3)]
    np.testing.assert_allclose(Enumerated(target).log_density(z), jax.nn.logsumexp(jnp.stack(terms)), rtol=1e-12)
    for bad in (0.5, 3.0, -1.0):
        with pytest.raises(InputError, match="'k' does not lie in its support integer"):
            Conditioned(target, {"k": bad})
