import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from jensen.algorithms import Laplace
from jensen.core import InputError, MissingCapability, Rows, check_needs
from jensen.targets import from_log_density, from_numpyro, from_rows
from jensen.targets.wrappers import Minibatched

X = np.random.default_rng(0).normal(size=(5, 2))
Y = np.array([0.3, -1.0, 0.5, 2.0, -0.2])


def model(x, y, n=5, b=2):
    slope = numpyro.sample("slope", dist.Normal(0, 1).expand([2]).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("side", dist.Normal(slope[0], 1.0), obs=0.4)
    with numpyro.plate("rows", n, subsample_size=b) as i:
        numpyro.sample("y", dist.Normal(x[i] @ slope, scale), obs=y[i])


def plain():
    def log_prior(t):
        scale = jnp.exp(t["scale"])
        side = dist.Normal(t["slope"][0], 1.0).log_prob(0.4)
        return dist.Normal(0, 1).log_prob(t["slope"]).sum() + dist.HalfNormal(1.0).log_prob(scale) + t["scale"] + side

    def log_likelihood(t, rows):
        return dist.Normal(rows["x"] @ t["slope"], jnp.exp(t["scale"])).log_prob(rows["y"])

    return from_rows(log_prior, log_likelihood, {"x": X, "y": Y}, {"slope": jnp.zeros(2), "scale": jnp.zeros(())})


# sites of the model come in its own order, those of the example by name: the same order of z needs scale first
TARGETS = {"numpyro": lambda: from_numpyro(model, X, Y), "functions": plain}


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
def test_mean_over_all_minibatches_is_the_full_gradient(make):
    target = make()
    assert isinstance(target, Rows)
    z = jnp.array([0.2, -0.4, 0.3])
    both = jax.value_and_grad(lambda z, t: t.log_density(z))
    subsets = jnp.array(list(itertools.combinations(range(5), 2)))
    values, gradients = jax.jit(jax.vmap(lambda rows: both(z, target.minibatch(rows))))(subsets)
    value, gradient = both(z, target)
    assert jnp.allclose(jnp.mean(values), value, atol=1e-12)
    assert jnp.allclose(jnp.mean(gradients, 0), gradient, atol=1e-12)
    assert jnp.std(values) > 0.1  # and they do differ


@pytest.mark.parametrize("make", TARGETS.values(), ids=TARGETS)
def test_prior_and_rows_add_up(make):
    target = make()
    z = jnp.array([0.2, -0.4, 0.3])
    rows = target.log_likelihood(z)
    assert rows.shape == (5,)
    assert jnp.allclose(target.log_prior(z) + jnp.sum(rows), target.log_density(z), atol=1e-12)
    batch = target.minibatch(jnp.array([3, 1]))
    assert jnp.allclose(batch.log_likelihood(z), rows[jnp.array([3, 1])], atol=1e-12)
    assert jnp.allclose(batch.log_prior(z) + 2.5 * jnp.sum(rows[jnp.array([3, 1])]), batch.log_density(z), atol=1e-12)


def test_models_and_functions_agree():
    numpyro_target, functions = from_numpyro(model, X, Y), plain()
    x = {"slope": jnp.array([0.2, -0.4]), "scale": jnp.array(1.3)}
    z = numpyro_target.space.unconstrain(x)
    w = functions.space.unconstrain({"slope": x["slope"], "scale": jnp.log(x["scale"])})
    assert jnp.allclose(numpyro_target.log_density(z), functions.log_density(w), atol=1e-12)


def test_only_one_plate_of_observations_makes_rows():
    def local(y):
        with numpyro.plate("rows", 5, subsample_size=2) as i:
            u = numpyro.sample("u", dist.Normal(0, 1))
            numpyro.sample("y", dist.Normal(u, 1.0), obs=y[i])

    assert not isinstance(from_numpyro(local, Y), Rows)
    assert not isinstance(from_numpyro(lambda x, y: model(x, y, b=None), X, Y), Rows)


def test_realisations_are_unbiased(key):
    target = plain()
    batches = Minibatched(target, 2)
    z = jnp.array([0.2, -0.4, 0.3])
    draw = jax.jit(jax.vmap(lambda k: batches.realise(k).log_density(z)))
    values = draw(jax.random.split(key, 4000))
    error = jnp.std(values) / jnp.sqrt(4000)
    assert abs(jnp.mean(values) - target.log_density(z)) < 5 * error
    assert batches.exact is target


def test_metropolis_and_newton_refuse_minibatches():
    with pytest.raises(MissingCapability, match="exact log density"):
        check_needs(Laplace(), Minibatched(plain(), 2))


def test_errors():
    with pytest.raises(MissingCapability, match="from_rows"):
        Minibatched(from_log_density(lambda z: -jnp.sum(z**2), jnp.zeros(2)), 2)
    for size in (0, 6):
        with pytest.raises(InputError, match="batch_size"):
            Minibatched(plain(), size)
    one, zero = lambda t: jnp.zeros(()), jnp.zeros(())
    with pytest.raises(InputError, match="common leading axis"):
        from_rows(one, lambda t, rows: rows[0], (jnp.ones(3), jnp.ones(4)), zero)
    with pytest.raises(InputError, match="NaN"):
        from_rows(one, lambda t, rows: rows, jnp.array([1.0, jnp.nan]), zero)
    with pytest.raises(InputError, match="must return an array"):
        from_rows(one, lambda t, rows: jnp.sum(rows), jnp.ones(3), zero)
