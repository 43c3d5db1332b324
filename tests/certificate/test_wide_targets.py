"""Targets that factorise large matrices: fewer evaluations side by side, and the same answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._numerics.newton import newton_step, start_climb, value_gradient_hessian
from jensen.core import at_once, batching
from jensen.gp.evidence_target import EvidenceTarget
from jensen.gp.exact import Exact
from jensen.gp.kernels import Matern52
from jensen.targets import from_log_density


def evidence_of(n):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 2))
    tree = {"kernel": Matern52(jnp.ones(2), 1.0), "noise": jnp.asarray(0.1)}
    model = Exact(tree["kernel"], tree["noise"], x, np.sin(x[:, 0]) + 0.3 * rng.standard_normal(n))
    return EvidenceTarget(lambda tree, model: model.at(tree).log_evidence(), tree, model)


def test_wide_factorisations_limit_what_runs_side_by_side():
    narrow = from_log_density(lambda x: -0.5 * x["z"] @ x["z"], {"z": np.zeros(3)})
    assert at_once(narrow, 500) == 500
    assert at_once(evidence_of(40), 500) == 500
    assert at_once(evidence_of(1000), 500) == batching.LARGEST // 1000**2
    assert at_once(evidence_of(1000), 10) == 10


@pytest.mark.parametrize("seed", range(5))
def test_derivatives_and_steps_do_not_depend_on_how_many_run_side_by_side(seed):
    rng = np.random.default_rng(seed)
    root = jnp.asarray(rng.standard_normal((5, 5)))

    def fn(z):
        return -0.25 * jnp.sum((root @ z) ** 4) - jnp.sum(jnp.exp(z) - z)

    z = jnp.asarray(rng.standard_normal(5))
    truth = fn(z), jax.grad(fn)(z), jax.hessian(fn)(z)
    for size in (1, 2, 5, 100):
        for one, other in zip(value_gradient_hessian(fn, z, size), truth, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)
    first = newton_step(fn, start_climb(z))[0]
    whole, parts = (newton_step(fn, first, size)[0] for size in (100, 2))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
