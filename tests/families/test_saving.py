"""Every family that can be is rebuilt from plain data, bit for bit; what cannot says so and is stored as draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import _plain
from jensen.core._pack_posterior import family_classes, pack_family, unpack_family
from jensen.families import (
    DiagonalGaussian,
    Gaussian,
    HeavyTailed,
    HierarchicalBuilder,
    HypernetworkBuilder,
    ImplicitBuilder,
    MixFlow,
    Mixture,
    Planar,
    Pushforward,
    Radial,
    Structured,
)
from jensen.targets.synthetic import Banana

G = Gaussian(jnp.array([0.5, -1.0]), jnp.array([[1.0, 0.0], [0.6, 0.8]]))
BUILDERS = [
    HeavyTailed(),
    HierarchicalBuilder(size=3, num_auxiliary=2, width=4, depth=1),
    ImplicitBuilder(size=1, sigma=0.2, num_auxiliary=2, width=4, depth=1),
    HypernetworkBuilder(rows=1, columns=2, sigma=0.2, num_auxiliary=2, width=3),
    Mixture(3),
    Planar(2),
    Radial(2),
    Structured(np.array([[True, True], [True, True]])),
]


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda b: type(b).__name__)
def test_a_family_is_rebuilt_bit_for_bit(builder):
    q = builder.build(jax.random.key(0), G)
    if isinstance(builder, Planar):
        q = Pushforward(HeavyTailed().build(jax.random.key(0), G), q)
    arrays = {}
    spec = _plain.loads(_plain.dumps(pack_family(q, "q", arrays)))
    again = unpack_family(spec, "q", arrays, family_classes(), 2)
    assert jax.tree.structure(again) == jax.tree.structure(q)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(q), strict=True):
        assert np.array_equal(a, b)


def test_a_mixflow_is_not():
    q = MixFlow(Banana(), DiagonalGaussian(jnp.zeros(2), jnp.zeros(2)), num_flows=2, num_leapfrog=2)
    arrays = {}
    with pytest.raises(ValueError, match="saved as draws"):
        unpack_family(pack_family(q, "q", arrays), "q", arrays, family_classes(), 2)
