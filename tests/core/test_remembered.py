"""What is found once an object: the same values, no object kept alive, nothing mixed up."""

import gc
import weakref
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import Noisy
from jensen.core.fields import as_scalar
from jensen.core.remembered import Remembered


class _Thing(eqx.Module):
    number: int


def test_each_module_is_asked_once_and_others_every_time():
    asked = []

    @Remembered
    def found(thing, more=0):
        asked.append(thing)
        return getattr(thing, "number", 0) + more

    one, two = _Thing(1), _Thing(1)
    assert [found(one), found(one), found(two), found(one, 5), found(one, 5)] == [1, 1, 1, 6, 6]
    assert len(asked) == 3
    assert [found("a"), found("a")] == [0, 0]
    assert asked[3:] == ["a", "a"]


def test_no_module_lives_longer_for_it_and_a_number_used_again_is_no_other_thing():
    found = Remembered(lambda thing: thing.number)
    for number in range(100):  # places in memory are used again
        thing = _Thing(number)
        assert found(thing) == number
        gone = weakref.ref(thing)
        del thing
    gc.collect()
    assert gone() is None
    assert not found._known


def test_a_run_keeps_no_target_alive():
    import jax

    target = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum(z**2), np.zeros(2))
    jn.run(jn.algorithms.Laplace(), target, key=jax.random.key(0), certify=False)
    gone = weakref.ref(target)
    del target
    gc.collect()
    assert gone() is None


def test_offers_are_of_the_object_not_of_its_class():
    target = jn.targets.from_log_density(lambda z: -0.5 * jnp.sum(z**2), np.zeros(2))
    rows = jn.targets.from_rows(
        lambda z: -0.5 * jnp.sum(z**2), lambda z, x: -0.5 * (x - z[0]) ** 2, np.zeros(1), np.zeros(8)
    )
    noisy = jn.targets.Minibatched(rows, 1)
    for _ in range(2):
        assert isinstance(noisy, Noisy)
        assert not isinstance(target, Noisy)


def test_settings_of_one_value_share_their_array_and_no_other():
    assert as_scalar(0.25) is as_scalar(0.25)
    for value in (0.0, -0.0, 1, True, float("inf"), float("nan"), 1e-300, 0.1):
        array = as_scalar(value)
        assert array.dtype == jnp.result_type(float)
        assert not array.weak_type
        np.testing.assert_array_equal(array, np.asarray(value, jnp.result_type(float)))
        assert np.signbit(array) == np.signbit(np.asarray(value, jnp.result_type(float)))


def test_a_protocol_that_extends_another_is_still_met():
    from jensen.core.target import Noisy, NoisyInOrder

    class Whole(eqx.Module):
        space: Any = None
        exact: Any = None

        def realise(self, key):
            return self

        def realise_at(self, stream, t):
            return self

    class Unordered(eqx.Module):
        space: Any = None
        exact: Any = None

        def realise(self, key):
            return self

    for _ in range(2):
        assert isinstance(Whole(), Noisy)
        assert isinstance(Whole(), NoisyInOrder)
        assert not isinstance(Unordered(), NoisyInOrder)
