"""Candidates beside one another: what is held out chooses."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.amortised import Encoded, Mixture, Network, Regressed, Regression, Vector, amortise
from jensen.core import InputError, stream
from jensen.core.random import SEARCH

SMALL = {"encoder": Vector(16, 1, 8), "head": Mixture(2, 16)}
CANDIDATES = (Regression(**SMALL), Network(**SMALL))


def prior(key):
    return {"z": jax.random.normal(key, (2,))}


# as many data as ten: a straight line is found from few pairs where there is one, and is nothing where there is none
SIMULATORS = {
    "linear": lambda key, x: x["z"] @ jnp.ones((2, 10)) * jnp.arange(10) + 0.1 * jax.random.normal(key, (10,)),
    "even": lambda key, x: jnp.tile(jnp.abs(x["z"]) - 0.8, 5) + 0.02 * jax.random.normal(key, (10,)),
}


@pytest.mark.parametrize("name", SIMULATORS)
def test_of_a_list_the_one_that_does_best_on_what_is_held_out_is_kept(name):
    """What is chosen is never below any of the candidates, on the pairs that none of them was trained on."""
    simulator = jn.targets.from_simulator(prior, SIMULATORS[name])
    options: Any = dict(key=jax.random.key(0), steps=120, batch_size=32, budget=300)
    chosen = amortise(simulator, CANDIDATES, **options)
    alone = [amortise(simulator, each, **options) for each in CANDIDATES]
    stored = sys.modules["jensen.amortised.amortise"]._stored
    held_out = stored(stream(jax.random.key(0), SEARCH), simulator, 300).held_out

    def score(fit):
        return float(jnp.mean(jax.vmap(lambda z, data: fit.given(data).log_prob(z))(*held_out)))

    scores = [score(fit) for fit in alone]
    assert score(chosen) == max(scores)
    assert abs(scores[0] - scores[1]) > 1e-3
    assert type(chosen.conditional) is (Regressed, Encoded)[int(np.argmax(scores))]
    if name == "linear":
        assert isinstance(chosen.conditional, Regressed)


@pytest.mark.parametrize(("candidates", "budget"), [((), 300), (CANDIDATES, None)])
def test_a_list_wants_candidates_and_a_budget(candidates, budget):
    simulator = jn.targets.from_simulator(prior, SIMULATORS["linear"])
    with pytest.raises(InputError, match="one at least, and a budget"):
        amortise(simulator, candidates, key=jax.random.key(0), budget=budget)
