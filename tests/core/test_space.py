"""Spaces: constraining and back, bounds, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, Space, Support, Variable, interval, positive, real_space
from jensen.core.support import KINDS


def _support(kind):
    low, high = jnp.asarray(-1.5), jnp.asarray(2.0)
    bounds = {"greater_than": (low,), "less_than": (high,), "interval": (low, high)}.get(kind, ())
    return Support(kind, bounds, 1 if kind == "zero_sum" else 0)


SHAPES = dict.fromkeys(
    (
        "corr_cholesky",
        "corr_matrix",
        "lower_cholesky",
        "softplus_lower_cholesky",
        "scaled_unit_lower_cholesky",
        "positive_definite",
    ),
    (3, 3),
)


@pytest.mark.parametrize("kind", KINDS)
def test_constrain_and_back(kind):
    space = Space((Variable("x", SHAPES.get(kind, (3,)), _support(kind)),))
    for seed in range(3):
        z = jax.random.normal(jax.random.key(seed), (space.dimension,))
        x = space.constrain(z)
        assert x["x"].shape == SHAPES.get(kind, (3,))
        if kind != "circular":  # many-to-one: only constrain(unconstrain(x)) = x holds
            np.testing.assert_allclose(space.unconstrain(x), z, atol=1e-9)
        again = space.constrain(space.unconstrain(x))
        np.testing.assert_allclose(again["x"], x["x"], atol=1e-9)


def test_values_lie_in_their_supports():
    space = Space((Variable("a", (2,), interval(-1.5, 2.0)), Variable("b", (), positive())))
    x = space.constrain(10 * jax.random.normal(jax.random.key(0), (3,)))
    assert jnp.all((x["a"] > -1.5) & (x["a"] < 2.0))
    assert x["b"] > 0


def test_split_and_join_are_inverse_and_named():
    space = real_space(mu=(), beta=(2, 2))
    z = jnp.arange(5.0)
    np.testing.assert_array_equal(space.join(space.split(z)), z)
    assert space.coordinate_names() == ("mu", "beta[0,0]", "beta[0,1]", "beta[1,0]", "beta[1,1]")
    assert space.dimension == 5


def test_bad_spaces_are_refused():
    with pytest.raises(InputError, match="no latent variable"):
        Space(())
    with pytest.raises(InputError, match="repeated: a"):
        Space((Variable("a", ()), Variable("a", ())))
    with pytest.raises(InputError, match="Unknown support 'half'"):
        Support("half")
    with pytest.raises(InputError, match="takes 2 bounds"):
        Support("interval", (jnp.asarray(0.0),))
    space = real_space(mu=(), beta=(2,))
    with pytest.raises(InputError, match="No value given for 'beta'"):
        space.unconstrain({"mu": jnp.asarray(0.0)})
    with pytest.raises(InputError, match=r"'beta' must have shape \(2,\)"):
        space.unconstrain({"mu": 0.0, "beta": jnp.zeros(3)})


def test_derivative_of_split_is_join():
    space = Space((Variable("a", (2, 2)), Variable("b", ()), Variable("c", (3,))))
    z, weights = jnp.arange(8.0), jnp.linspace(-1.0, 1.0, 8)

    def mixed(z):
        parts = zip(space.split(z).values(), space.split(weights).values(), strict=True)
        return sum(jnp.sum(jnp.sin(x) * w) for x, w in parts)

    np.testing.assert_allclose(jax.grad(mixed)(z), jnp.cos(z) * weights, rtol=1e-12)
