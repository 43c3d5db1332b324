"""Several points to begin from."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import PointPosterior, Posterior, PRNGKey, finite_starts


def start_points(key: PRNGKey, target: Any, start: Posterior, num: int) -> Float[Array, "num d"]:
    """`num` points: the loop's starting points, topped up by draws of `target.start`; draws of any other `start`."""
    if not isinstance(start, PointPosterior):
        return start.sample_z(key, num)
    points = start.z[None] if start.others is None else jnp.concatenate([start.z[None], start.others])
    if len(points) < num:
        others, _, found = finite_starts(key, target, num - len(points), tries=2)
        points = jnp.concatenate([points, jnp.where(found, others, start.z)])
    return points[:num]
