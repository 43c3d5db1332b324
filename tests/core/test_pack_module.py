"""Trees of modules as plain data and arrays: the same tree comes back, and nothing else can be made of them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jensen.core import InputError, _plain
from jensen.core._pack_module import pack_module, unpack_module


class Inner(eqx.Module):
    """A leaf of the tree."""

    weight: Float[Array, "n m"]
    size: int = eqx.field(static=True)

    def __check_init__(self):
        if self.weight.shape[0] != self.size:
            raise ValueError("the size is that of the weight")


class Outer(eqx.Module):
    """Everything that a field may hold."""

    parts: tuple[Inner, ...]
    named: dict[str, Any]
    rest: Any


KNOWN = {"Inner": Inner, "Outer": Outer}
ONE = Inner(jnp.arange(6.0).reshape(2, 3), 2)
TREE = Outer((ONE, Inner(jnp.ones((1, 2)), 1)), {"x": ONE, "none": None}, [1, 2.5, "a", True, jnp.arange(3), ()])


def packed(tree=TREE):
    arrays = {}
    return _plain.loads(_plain.dumps(pack_module(tree, "q", arrays))), arrays


def test_the_same_tree_comes_back():
    spec, arrays = packed()
    again = unpack_module(spec, "q", arrays, KNOWN)
    assert jax.tree.structure(again) == jax.tree.structure(TREE)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(TREE), strict=True):
        assert np.array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


@pytest.mark.parametrize("bad", [jax.nn.relu, object(), {1: 2.0}, {"$float": 1.0}, jax.random.key(0)])
def test_what_has_no_plain_form_is_refused_when_it_is_saved(bad):
    with pytest.raises(InputError, match="cannot be saved"):
        packed(Outer((), {}, bad))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update({"class": "Popen"}), "Popen"),
        (lambda s: s["fields"].pop("rest"), "fields"),
        (lambda s: s["fields"].update(more={"plain": 1}), "fields"),
        (lambda s: s["fields"].update(rest={"array": 10**9}), "missing"),
        (lambda s: s["fields"].update(rest={"array": -1}), "missing"),
        (lambda s: s["fields"].update(rest={"plain": [1]}), "plain"),
        (lambda s: s["fields"].update(rest={"eval": "1"}), "kind"),
        (lambda s: s["fields"].update(rest=3), "kind"),
        (lambda s: s["fields"]["parts"]["tuple"][0]["fields"].update(size={"plain": "2"}), "size"),
        (lambda s: s["fields"]["parts"]["tuple"][0]["fields"].update(size={"plain": 7}), "the size is"),
        (lambda s: s["fields"]["parts"]["tuple"][0]["fields"].update(weight={"plain": 7}), "weight"),
    ],
)
def test_nothing_else_comes_out_of_changed_data(change, words):
    spec, arrays = packed()
    change(spec)
    with pytest.raises(ValueError, match=words):
        unpack_module(spec, "q", arrays, KNOWN)
