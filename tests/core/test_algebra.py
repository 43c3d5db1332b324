"""Factorisations in one thread: while it lasts, from any thread, and as it was afterwards."""

import threading

import jax
import jax.numpy as jnp
import pytest

import jensen as jn
from jensen.core import algebra
from jensen.core.algebra import WIDTH, one_thread, width_of


def threads():
    return {library["num_threads"] for library in algebra._openblas().info()}


@pytest.fixture
def two(monkeypatch):
    """Two threads for the libraries, as if nobody had said anything."""
    for name in algebra.NAMES:
        monkeypatch.delenv(name, raising=False)
    with algebra._openblas().limit(limits=2):
        yield


def test_one_thread_while_it_lasts_and_two_afterwards(two):
    assert threads() == {2}
    with pytest.raises(KeyError, match="1"), one_thread(3):
        raise KeyError(threads())
    assert threads() == {2}


def test_it_may_be_nested_and_another_thread_changes_nothing(two):
    found = []

    def other():
        with one_thread():
            found.append(threads())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [{2}]
    with one_thread():
        with one_thread():
            pass
        assert threads() == {1}
    assert threads() == {2}


def test_nothing_changes_for_wide_matrices_and_where_the_user_has_said_a_number(two, monkeypatch):
    with one_thread(WIDTH):
        assert threads() == {2}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with one_thread():
        assert threads() == {2}


def test_a_density_that_factorises_a_wide_matrix_is_wide():
    def of(rows, columns=0):
        def density(z):
            matrix = jnp.eye(rows) * (1 + z["a"][0] ** 2)
            inner = jax.lax.scan(lambda c, _: (c + jnp.linalg.slogdet(matrix)[1], None), 0.0, length=2)[0]
            if columns:
                inner += jnp.sum(jax.scipy.linalg.solve_triangular(matrix, jnp.ones((rows, columns))))
            return -0.5 * jnp.sum(z["a"] ** 2) - inner

        return jn.targets.from_log_density(density, {"a": jnp.zeros(3)})

    small = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum(z["a"] ** 2), {"a": jnp.zeros(3)})
    assert width_of(small) == 3
    assert width_of(of(70)) == 70
    assert width_of(of(70, 5000)) == 70
    assert width_of(of(WIDTH)) == WIDTH
    assert width_of(jn.targets.from_log_density(lambda z: -jnp.sum(z["a"] ** 2), {"a": jnp.zeros(2 * WIDTH)})) > WIDTH


def test_a_run_and_its_certificate_take_one(two):
    seen = []

    def density(z):
        seen.append(threads())
        return -0.5 * jnp.sum(z["a"] ** 2)

    target = jn.targets.from_log_density(density, {"a": jnp.zeros(2)})
    seen.clear()
    jn.run(jn.algorithms.Laplace(), target, key=jax.random.key(0))
    assert {1} in seen[1:]
    assert threads() == {2}
