"""Charts from rows: spread-out neighbourhoods first, then the mixture, then overlap."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import InputError, PRNGKey, check_key
from jensen.families import Affine, Coupling, Flow, FlowBuilder
from jensen.families.flow import from_standard
from jensen.progress import Progress
from jensen.vae.atlas import Atlas, AtlasLoss, Chart, SoftBox
from jensen.vae.gradient_origin import NoEncoder
from jensen.vae.training import train


def initial_atlas(
    key: PRNGKey,
    X: Any,
    size: int,
    num_charts: int,
    *,
    num_layers: int = 6,
    width: int = 32,
    noise: float = 0.05,
    spread: float = 0.02,
) -> Atlas:
    """Affine charts: the principal axes of the rows nearest to `num_charts` centres far from each other.

    Centres: each the row farthest from all before. Coordinates of a neighbourhood fill [-1, 1]. The flows begin as the
    identity. Raises `InputError` for sizes that do not fit, and for rows that are not finite.
    """
    check_key(key)
    rows = np.asarray(X)
    if rows.ndim != 2 or not np.all(np.isfinite(rows)):
        raise InputError("X must be a matrix of finite numbers: drop or fill what is missing")
    n = rows.shape[1]
    if not 1 <= size < n:
        raise InputError(f"A manifold in {n} columns has a dimension of 1 to {n - 1}, got {size}")
    least = 2 * n * max(num_charts, 1)
    if num_charts < 1 or len(rows) < least:
        raise InputError(
            f"{num_charts} charts in {n} columns want at least one chart and {least} rows, got {len(rows)} rows"
        )
    chosen = [int(np.argmax(np.sum((rows - rows.mean(0)) ** 2, 1)))]
    for _ in range(num_charts - 1):
        apart = np.min([np.sum((rows - rows[i]) ** 2, 1) for i in chosen], axis=0)
        chosen.append(int(np.argmax(apart)))
    nearest = np.argmin([np.sum((rows - rows[i]) ** 2, 1) for i in chosen], axis=0)
    builder, charts = FlowBuilder(Coupling(Affine(), width), num_layers), []
    for k, key_flow in enumerate(jax.random.split(key, num_charts)):
        near = rows[nearest == k]
        if len(near) <= n:
            raise InputError(f"A chart would have {len(near)} rows of {n} columns: take fewer charts")
        centre = near.mean(0)
        values, vectors = np.linalg.eigh(np.cov(near.T))
        frame = vectors[:, np.argsort(-values)]
        reach = np.maximum(np.max(np.abs((near - centre) @ frame[:, :size]), 0), 1e-12)
        lengths = np.concatenate([reach, np.full(n - size, reach.max())])
        flow = builder.build(key_flow, from_standard(n))
        assert isinstance(flow, Flow)
        real = flow.mean.dtype
        centre, frame, lengths = (jnp.asarray(a, real) for a in (centre, frame, lengths))
        charts.append(Chart(flow, centre, frame, lengths, size))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *charts)
    return Atlas(stacked, jnp.zeros(num_charts), SoftBox(size), noise, spread)


def fit_atlas(
    key: PRNGKey,
    X: Any,
    size: int,
    num_charts: int,
    *,
    epochs: tuple[int, int, int] = (50, 50, 50),
    overlap: float = 1.5,
    penalty: float = 1.0,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
    num_layers: int = 6,
    width: int = 32,
    noise: float = 0.05,
    spread: float = 0.02,
    progress: bool | Progress | None = None,
) -> Atlas:
    """An `Atlas` of `num_charts` charts of dimension `size` on rows X, by `AtlasLoss` in three phases.

    Args:
        key: a typed JAX key.
        X: rows, a matrix.
        size: the manifold's dimension.
        num_charts: a closed curve wants two, a sphere two, a torus about six: no fewer than its topology asks for.
        epochs: passes with each row in the chart of the nearest centre, and smooth; by responsibilities; and with the
            prior's radius times `overlap`, so that charts overlap and paths can go from one to the next.
        overlap: see `epochs`.
        penalty: weight of smoothness in the first phase.
        batch_size: see `train`.
        learning_rate: see `train`.
        num_layers: coupling layers of each chart.
        width: of their networks.
        noise: sigma, distance from the manifold that is taken for noise.
        spread: s, see `Atlas`.
        progress: see `train`.

    Raises `InputError` as `initial_atlas`.
    """
    if min(epochs) < 0 or not overlap >= 1:
        raise InputError(f"epochs must not be negative and overlap not below one, got {epochs} and {overlap}")
    key_start, *keys = jax.random.split(key, 4)
    sizes = {"num_layers": num_layers, "width": width}
    atlas = initial_atlas(key_start, X, size, num_charts, noise=noise, spread=spread, **sizes)
    rows = jnp.asarray(X, atlas.logits.dtype)
    phases = ((1.0, penalty, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, overlap))
    for key_phase, passes, (assigned, smooth, radius) in zip(keys, epochs, phases, strict=True):
        if not passes:
            continue
        atlas = eqx.tree_at(lambda a: a.prior, atlas, SoftBox(size, radius))
        trained = train(
            key_phase,
            atlas,
            NoEncoder(size),
            rows,
            objective=AtlasLoss(assigned, smooth),
            epochs=passes,
            batch_size=batch_size,
            learning_rate=learning_rate,
            progress=progress,
        )
        atlas = trained.model
    return atlas
