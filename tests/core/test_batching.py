import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import in_batches


@pytest.mark.parametrize("n", [1, 7, 8, 9, 23])
def test_batches_give_what_one_vmap_gives(n):
    rows = (jnp.arange(3.0 * n).reshape(n, 3), jax.random.split(jax.random.key(0), n))

    def one(row):
        return {"sum": jnp.sum(row[0]), "draw": jax.random.normal(row[1], (2,))}

    ours, truth = in_batches(one, rows, 8), jax.vmap(one)(rows)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape and bool(jnp.all(a == b)), ours, truth))


def test_no_program_runs_beside_the_loop():
    def factor(x):
        return jnp.linalg.cholesky(jnp.eye(3) * x)[0, 0]

    def factorisations(run):
        return str(jax.make_jaxpr(run)(jnp.ones(23))).count("jit[name=cholesky ")

    assert factorisations(lambda x: in_batches(factor, x, 8)) == 1
    assert factorisations(lambda x: jax.lax.map(factor, x, batch_size=8)) == 2  # what it is there to avoid
    np.testing.assert_allclose(in_batches(factor, jnp.full(23, 4.0), 8), 2.0)
