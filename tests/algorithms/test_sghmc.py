import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.algorithms import SGHMC
from jensen.core import InputError


def quartic(x):
    return -jnp.sum(x**4) / 4


def test_it_samples_a_density_that_is_not_gaussian():
    # E x^2 of exp(-x^4 / 4) is 2 Gamma(3/4) / Gamma(1/4) = 0.676
    target = jn.targets.from_log_density(quartic, np.zeros(3))
    algorithm = SGHMC(chains=16, step_size=0.1, leaps=20)
    fit = jn.run(algorithm, target, key=jax.random.key(0), steps=1000, certify=False, progress=False)
    squares = np.asarray(fit.posterior.chains) ** 2
    by_chain = squares.mean((1, 2))
    error = by_chain.std(ddof=1) / 4
    assert abs(by_chain.mean() - 0.6760) < 5 * error + 0.01 * 0.676  # the step's own bias is below one percent
    assert 5 * error < 0.05


def test_settings_are_checked():
    for wrong in ({"friction": 1.5}, {"step_size": 0.0}, {"warmup": 1.0}, {"chains": 0}):
        with pytest.raises(InputError, match="SGHMC"):
            SGHMC(**wrong)
