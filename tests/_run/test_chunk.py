"""What the compiled loop looks at after every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run.chunk import all_finite

look = jax.jit(all_finite)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found(bad):
    tree = {"a": jnp.ones((5, 3)), "b": jnp.ones(7).at[4].set(bad), "n": jnp.arange(3)}
    assert not look(tree)


def test_numbers_whose_squares_overflow_are_finite():
    big = jnp.asarray([3e38, -3e38, 1.0], jnp.float32)
    assert look({"a": big, "b": jnp.ones(3)})
    assert not look({"a": big, "b": jnp.asarray([jnp.nan])})
    assert look({"n": jnp.arange(3)})
