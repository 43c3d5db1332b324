"""Discrete unknowns: supports, spaces, and methods for R^d that refuse them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import InputError, MissingCapability, Space, Support, Target, Variable, integer
from jensen.core._pack_posterior import pack_space, unpack_space

SPACE = Space(
    (
        Variable("x", (2,)),
        Variable("k", (3,), integer(1, jnp.array([2, 3, 4]))),
        Variable("n", (), Support("count", (jnp.asarray(0.0),))),
    )
)


class Half(Target):
    """log p = -|z|^2 / 2 over a space with whole numbers."""

    space: Space = SPACE

    def log_density(self, z):
        return -0.5 * jnp.sum(z**2)


def test_coordinates_of_whole_numbers_are_known_and_hold_them():
    assert SPACE.discrete == (False, False, True, True, True, True)
    assert SPACE.discrete_names == ("k", "n")
    x = SPACE.constrain(jnp.array([0.5, -0.5, 1.0, 3.0, 4.0, 7.0]))
    assert x["k"].dtype == x["n"].dtype == jnp.int32
    np.testing.assert_array_equal(x["k"], [1, 3, 4])
    np.testing.assert_array_equal(SPACE.unconstrain(x), [0.5, -0.5, 1.0, 3.0, 4.0, 7.0])


def test_starts_lie_in_the_supports():
    z = jax.vmap(Half().start)(jax.random.split(jax.random.key(0), 500))
    np.testing.assert_array_equal(z[:, 2:], np.round(z[:, 2:]))
    np.testing.assert_array_equal(z[:, 2:5].min(0), [1, 1, 1])
    np.testing.assert_array_equal(z[:, 2:5].max(0), [2, 3, 4])
    assert set(np.unique(z[:, 5])) == {0, 1, 2, 3}
    assert np.ptp(z[:, 0]) > 3


def test_a_space_with_whole_numbers_is_plain_data():
    arrays = {}
    again = unpack_space(pack_space(SPACE, arrays), arrays)
    assert again.discrete == SPACE.discrete
    assert (
        again.describe()
        == SPACE.describe()
        == "x: shape (2,), real\nk: shape (3,), integer(1, 2..4)\nn: shape (), count(0)"
    )


def test_bad_supports_are_refused():
    with pytest.raises(InputError, match="takes 2 bounds"):
        Support("integer", (jnp.asarray(0.0),))
    with pytest.raises(InputError, match="no image of R"):
        integer(0, 1).bijection()


@pytest.mark.parametrize("method", ["Laplace", "NUTS", "GradientVI", "TemperedSMC"])
def test_methods_for_real_coordinates_refuse_them_by_name_before_tracing(method):
    algorithm = getattr(jn.algorithms, method)()
    with pytest.raises(MissingCapability, match="'k', 'n' of the target is discrete: sum it out with"):
        jn.run(algorithm, Half(), key=jax.random.key(0))
    with pytest.raises(MissingCapability, match="is discrete"):
        jn.run(jn.algorithms.BestSoFar(algorithm), Half(), key=jax.random.key(0))
