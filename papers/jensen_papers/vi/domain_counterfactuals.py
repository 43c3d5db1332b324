"""P225: domain counterfactuals for invertible latent causal models (Zhou, Bai, Kulinski, Kocaoglu, Inouye 2024).

What is claimed: every equivalence class of invertible latent causal models with sparse interventions has a member whose
intervened variables come last, and a flow built so, with all else shared between domains, estimates counterfactuals
better than one without that constraint, at equal likelihood. Measured on simulated models, whose counterfactuals are
known. `--full` takes the authors' size, m = 6, and ten seeds.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen_papers.result import Claim, Result

PAPER = "Zhou et al. (2024)"
SLOPE = 0.5  # of the leaky rectifier below zero
DOMAINS, CHANGED = 3, 2  # domains; nodes that are intervened on


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` takes m = 6."""
    began = time.perf_counter()
    m, rows, steps, seeds = (6, 5000, 6000, 10) if full else (4, 1000, 1500, 5)
    with jax.enable_x64(True):
        worlds = [_world(m, rows, seed) for seed in range(seeds)]
        data: Any = jax.tree.map(lambda *parts: jnp.stack(parts), *worlds)
        first = jax.tree.map(lambda *p: jnp.stack(p), *[_start(m, seed) for seed in range(seeds)])
        fits = {k: _train(first, data["x"], k, steps) for k in (CHANGED, m)}
        errors = {k: np.asarray(_errors(fits[k], data, k)) for k in fits}
        losses = {k: np.asarray(_losses(fits[k], data["test"], k)) for k in fits}
        claims = _claims(errors, losses, fits, data, m)
    if figure is not None:
        _draw(errors, losses, m, figure)
    return Result("P225", "domain-counterfactuals", time.perf_counter() - began, tuple(claims))


def _rectify(z: Any) -> Any:
    return jnp.where(z > 0, z, SLOPE * z)


def _unrectify(z: Any) -> Any:
    return jnp.where(z > 0, z, z / SLOPE)


def _world(m: int, rows: int, seed: int) -> dict[str, Any]:
    """Data of each domain (domains, rows, m), the same noise pushed through every domain, and the true parameters."""
    rng = np.random.default_rng(seed)
    shared = np.tril(rng.normal(size=(m, m)), -1)
    weights, biases = [], []
    for _ in range(DOMAINS):
        own = np.tril(rng.normal(size=(m, m)), -1)
        weights.append(np.concatenate([shared[:-CHANGED], own[-CHANGED:]]))
        bias = np.zeros(m)
        bias[-CHANGED:] = rng.uniform(-2, 2, CHANGED) * np.sqrt(m / CHANGED)
        biases.append(bias)
    lower, bias = np.stack(weights), np.stack(biases)
    mixing = np.linalg.qr(rng.normal(size=(m, m)))[0]  # |det| = 1

    def push(eps: np.ndarray) -> np.ndarray:
        """z in every domain of the same noise, before the rectifier."""
        return np.stack([eps @ np.linalg.inv(np.eye(m) - w).T + b for w, b in zip(lower, bias, strict=True)])

    train = np.stack([push(rng.normal(size=(rows, m)))[d] for d in range(DOMAINS)])
    scale = np.asarray(_rectify(train)).reshape(-1, m).std(0)
    test = push(rng.normal(size=(500, m)))
    observe = lambda z: (np.asarray(_rectify(z)) / scale) @ mixing.T  # noqa: E731
    truth = {
        "lower": lower,
        "log_scale": np.zeros((DOMAINS, m)),
        "bias": bias,
        "mixing": mixing / scale,
        "offset": np.zeros(m),
    }
    return {"x": observe(train), "test": observe(test), "truth": truth}


def _start(m: int, seed: int) -> dict[str, Any]:
    """Parameters with a leading axis of domains where they may differ: domain rows, and the shared ones in domain 0."""
    rng = np.random.default_rng(1000 + seed)
    return {
        "lower": 0.1 * rng.normal(size=(DOMAINS, m, m)),
        "log_scale": np.zeros((DOMAINS, m)),
        "bias": 0.1 * rng.normal(size=(DOMAINS, m)),
        "mixing": np.linalg.qr(rng.normal(size=(m, m)))[0],
        "offset": np.zeros(m),
    }


def _tied(p: dict[str, Any], k: int) -> dict[str, Any]:
    """The parameters with all but the last k rows taken from the first domain, and L strictly lower."""
    m = p["offset"].shape[0]
    own = jnp.arange(m) >= m - k

    def tie(value: Any) -> Any:
        mask = own.reshape(m, *[1] * (value.ndim - 2))
        return jnp.where(mask, value, value[:1])

    return p | {"lower": jnp.tril(tie(p["lower"]), -1), "log_scale": tie(p["log_scale"]), "bias": tie(p["bias"])}


def _noise(p: dict[str, Any], d: int, x: Any) -> tuple[Any, Any]:
    """eps of rows x of domain d, and log |det deps/dx| of each."""
    rectified = (x - p["offset"]) @ jnp.linalg.inv(p["mixing"]).T
    z = _unrectify(rectified)
    eps = ((z - p["bias"][d]) @ (jnp.eye(z.shape[1]) - p["lower"][d]).T) * jnp.exp(-p["log_scale"][d])
    slopes = -jnp.log(SLOPE) * jnp.sum(rectified <= 0, axis=1)
    return eps, slopes - jnp.sum(p["log_scale"][d]) - jnp.linalg.slogdet(p["mixing"])[1]


def _observe(p: dict[str, Any], d: int, eps: Any) -> Any:
    z = (eps * jnp.exp(p["log_scale"][d])) @ jnp.linalg.inv(jnp.eye(eps.shape[1]) - p["lower"][d]).T + p["bias"][d]
    return _rectify(z) @ p["mixing"].T + p["offset"]


def _loss(p: dict[str, Any], x: Any, k: int) -> Any:
    """Mean negative log likelihood of rows of all domains, in nats."""
    p = _tied(p, k)
    total = 0.0
    for d in range(DOMAINS):
        eps, log_det = _noise(p, d, x[d])
        total = total - jnp.mean(log_det - 0.5 * jnp.sum(eps**2 + jnp.log(2 * jnp.pi), axis=1))
    return total / DOMAINS


@partial(jax.jit, static_argnums=(2, 3))
def _train(first: Any, x: Any, k: int, steps: int) -> Any:
    """Full-batch Adam for every seed at once."""
    import optax

    optimiser = optax.adam(optax.cosine_decay_schedule(2e-2, steps), b1=0.5)

    def one(p: Any, x: Any) -> Any:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            p, state = carry
            updates, state = optimiser.update(jax.grad(_loss)(p, x, k), state)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (p, optimiser.init(p)), length=steps)[0][0]

    return jax.vmap(one)(first, x)


def _error(p: dict[str, Any], world: dict[str, Any], k: int) -> Any:
    """Mean squared error of counterfactuals of fresh rows, over ordered pairs of domains."""
    p, test, total = _tied(p, k), world["test"], 0.0
    for d in range(DOMAINS):
        eps, _ = _noise(p, d, test[d])
        total = total + sum(
            jnp.mean(jnp.sum((_observe(p, e, eps) - test[e]) ** 2, 1)) for e in range(DOMAINS) if e != d
        )
    return total / (DOMAINS * (DOMAINS - 1))


@partial(jax.jit, static_argnums=2)
def _errors(p: dict[str, Any], worlds: dict[str, Any], k: int) -> Any:
    return jax.vmap(partial(_error, k=k))(p, worlds)


@partial(jax.jit, static_argnums=2)
def _losses(p: dict[str, Any], x: Any, k: int) -> Any:
    return jax.vmap(partial(_loss, k=k))(p, x)


def _claims(errors: Any, losses: Any, fits: Any, data: Any, m: int) -> list[Claim]:
    sparse, dense = (float(np.median(errors[k])) for k in (CHANGED, m))
    gap = float(np.median(losses[CHANGED] - losses[m]))
    exact = float(jnp.max(_errors(data["truth"], data, CHANGED)))
    p = _tied(jax.tree.map(lambda a: a[0], fits[CHANGED]), CHANGED)
    x = data["test"][0, 0]
    there = _observe(p, 1, _noise(p, 0, x)[0])
    back = float(jnp.max(jnp.abs(_observe(p, 0, _noise(p, 1, there)[0]) - x)))
    where = f"{PAPER}, simulated experiments; m = {m}, {CHANGED} intervened nodes, {DOMAINS} domains"
    return [
        Claim("Counterfactual error of the true parameters", where, exact, "< 1e-6", None, exact < 1e-6),
        Claim(
            f"Median counterfactual error with the last {CHANGED} rows free, {len(errors[m])} seeds, against all free",
            where,
            sparse,
            "< all free",
            dense,
            sparse < dense,
        ),
        Claim(
            "Median test loss above that with all free (nats): likelihood does not tell them apart",
            where,
            gap,
            "|.| < 0.05",
            None,
            abs(gap) < 0.05,
        ),
        Claim("Error of x through another domain and back", where, back, "< 1e-4", None, back < 1e-4),
    ]


def _draw(errors: Any, losses: Any, m: int, path: Path) -> None:
    """Counterfactual error against test loss, a point a seed and model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for k, name in ((CHANGED, f"last {CHANGED} rows free"), (m, "all rows free")):
        axes.semilogy(losses[k], errors[k], "o", label=name)
    axes.set(
        title="equal likelihood, unequal counterfactuals", xlabel="test loss (nats)", ylabel="counterfactual error"
    )
    axes.legend()
    figure.savefig(path)
