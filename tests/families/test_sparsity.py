import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families.sparsity import lean_on

CHAIN = np.array([[3, 3], [0, 3], [1, 0]])


@pytest.mark.parametrize("parents", [CHAIN, np.array([[40]] + [[0]] * 39), np.array([[40], *([i] for i in range(39))])])
def test_solving_undoes_applying(parents):
    elimination = lean_on(parents)
    rng = np.random.default_rng(0)
    coefficients, x = jnp.asarray(rng.normal(size=parents.shape)), jnp.asarray(rng.normal(size=len(parents)))
    coefficients = jnp.where(parents < len(parents), coefficients, 0.0)
    back = elimination.solve(coefficients, elimination.apply(coefficients, x))
    np.testing.assert_allclose(back, x, atol=1e-8)


def test_levels_of_unequal_sizes_come_in_several_groups():
    # a long chain, and a star: one padded loop would be mostly padding
    parents = np.array([[400], *([i] for i in range(99)), *([0] for _ in range(300))])
    assert len(lean_on(parents).groups) > 1
    assert len(lean_on(CHAIN).groups) == 1


def test_a_parent_is_below_its_child():
    with pytest.raises(InputError, match="below"):
        lean_on(np.array([[2], [0], [1]])[::-1])
