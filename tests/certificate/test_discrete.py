"""Certificates of guides with discrete sites: right ones pass; a value, a dependence or a mode that is missed fails."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import jensen as jn
from jensen.certificate.discrete import ContinuousPart, table_of
from jensen.core import DensityPosterior
from jensen.families import program

KEY = jax.random.key(0)


def coins(y):
    """Two coins whose sum is seen: given y = 1, (0, 1) and (1, 0) are alike."""
    a = numpyro.sample("a", dist.Bernoulli(0.5))
    b = numpyro.sample("b", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(a + b, 0.3), obs=y)


COINS = jn.targets.from_numpyro(coins, 1.0)
OFF = float(np.exp(-0.5 / 0.3**2))  # weight of the values whose sum is not 1


def chained(p, given_zero, given_one):
    """q(a = 1) = p, q(b = 1 | a)."""
    a = numpyro.sample("a", dist.Bernoulli(numpyro.param("p", p)))
    numpyro.sample("b", dist.Bernoulli(jnp.where(a == 1, given_one, given_zero)))


def switched(y):
    """x ~ N(3 s, 1) for a sign s = 2 k - 1 of even odds, y seen of x^2: two modes, one a sign."""
    k = numpyro.sample("k", dist.Bernoulli(0.5))
    x = numpyro.sample("x", dist.Normal(3.0 * (2 * k - 1), 1.0))
    numpyro.sample("y", dist.Normal(x, 5.0), obs=y)


SWITCHED = jn.targets.from_numpyro(switched, 0.0)
VARIANCE = 1 / (1 + 1 / 25)


def jointly(p, sign):
    """The exact posterior at p = 1/2, sign = 1: x | k ~ N(3 s V, V)."""
    k = numpyro.sample("k", dist.Bernoulli(numpyro.param("p", p)))
    x_mean = 3.0 * (2 * k - 1) * VARIANCE * sign
    numpyro.sample("x", dist.Normal(x_mean, jnp.sqrt(VARIANCE)))


def certificate(guide, target, *args):
    q = program(guide, *args).family(KEY, target)
    return jn.certify(DensityPosterior(target.space, q), target, KEY)


def distance(found):
    return next(c.value for c in found.checks if c.name == "discrete distance")


def test_a_discrete_posterior_is_compared_value_by_value():
    given_zero, given_one = 1 / (1 + OFF), OFF / (1 + OFF)
    exact = certificate(chained, COINS, 0.5, given_zero, given_one)
    assert exact.passed
    assert distance(exact) < 1e-12
    evidence = np.log(0.5 * (1 + OFF)) - 0.5 * np.log(2 * np.pi * 0.09)
    np.testing.assert_allclose([exact.elbo, exact.evidence_lower, exact.evidence_upper], evidence, rtol=1e-9)
    # one of two values that are alike is missed: log evidence off by 0.7 nats only, and all its weights are equal
    missed = certificate(chained, COINS, 1e-9, given_zero, given_one)
    np.testing.assert_allclose(distance(missed), 0.5, atol=1e-6)
    np.testing.assert_allclose(missed.elbo, evidence - np.log(2), atol=1e-6)
    assert not missed.passed
    # both margins are right, the dependence is not
    apart = distance(certificate(chained, COINS, 0.5, 0.5, 0.5))
    np.testing.assert_allclose(apart, 0.5 * (1 - OFF) / (1 + OFF), rtol=1e-6)


def test_a_mixed_posterior_passes_only_if_both_parts_are_right():
    exact = certificate(jointly, SWITCHED, 0.5, 1.0)
    assert exact.passed, str(exact)
    assert distance(exact) < 1e-6
    assert {"pareto k-hat", "evidence elsewhere"} <= {c.name for c in exact.checks}
    # the continuous part is right, the signs that go with it are not
    crossed = certificate(jointly, SWITCHED, 0.5, -1.0)
    assert distance(crossed) > 0.9
    assert not crossed.passed
    # one sign is missed, and with it a mode: at its own draws all is well
    missed = certificate(jointly, SWITCHED, 1e-12, 1.0)
    assert distance(missed) < 0.05
    assert not missed.passed


def test_the_continuous_part_is_the_margin():
    part = ContinuousPart(program(jointly, 0.3, 1.0).family(KEY, SWITCHED), table_of(SWITCHED))
    x = jnp.array([0.7])
    terms = [
        np.log(w) + dist.Normal(3 * s * VARIANCE, np.sqrt(VARIANCE)).log_prob(0.7) for w, s in ((0.7, -1), (0.3, 1))
    ]
    np.testing.assert_allclose(part.log_prob(x), np.logaddexp(*terms), rtol=1e-9)
    assert part.sample(KEY).shape == (1,)


@pytest.mark.parametrize(
    "make", [lambda: numpyro.sample("n", dist.Poisson(3.0)), lambda: numpyro.sample("n", dist.Binomial(5000, 0.3))]
)
def test_what_cannot_be_gone_through_is_not_certified(make):
    target = jn.targets.from_numpyro(lambda y: numpyro.sample("y", dist.Normal(make(), 1.0), obs=y), 2.0)

    def guide():
        numpyro.param("unused", 0.0)
        make()

    assert table_of(target) is None
    found = certificate(guide, target)
    assert not found.passed
    assert "Nothing looked for values" in " ".join(found.reasons)
