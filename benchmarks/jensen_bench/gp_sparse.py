"""How long until a sparse Gaussian process has the bound that GPJax ends with?

n rows in d = 4 (20,000), y = a sum of smooth waves plus noise, M = 100 inducing points that are trained with the
hyperparameters, Matern-5/2 with a lengthscale for each input, double precision. Peers: GPJax's collapsed bound by
its L-BFGS (200 iterations), its whitened minibatch bound by Adam (5,000 steps, batches of 256). Ours: `GPRegressor`
as it comes. The peers start from random rows as points, ours from k-means; hyperparameters start alike. All bounds
are the same function of hyperparameters and points, evaluated by ours. `seconds` (of the clock) and `cpu` (of the
processor) are those of a first call, compilation included.
"""

import argparse
import importlib
import json
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.gp import Collapsed, GPRegressor
from jensen.gp.kernels import Matern52
from jensen.gp.priors import Points

LENGTHSCALE, NOISE = 1.0, 0.1


def data(n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets, and rows of the inputs as first inducing points."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 4))
    waves = np.sin(2 * x[:, 0]) + np.cos(1.5 * x[:, 1]) * x[:, 2] + 0.5 * np.sin(x[:, 2] * x[:, 3])
    y = waves + 0.2 * rng.normal(size=n)
    return x, (y - y.mean()) / y.std(), x[rng.choice(n, m, replace=False)]


def bound(tree: Any, x: Any, y: Any) -> Any:
    """Titsias' bound."""
    return Collapsed(tree["kernel"], tree["noise"], x, y, tree["features"]).log_evidence()


class Watch:
    """Seconds of the clock and of the processor since it was made."""

    def __init__(self) -> None:
        self.clock, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, Any]:
        """Both."""
        return {"seconds": time.perf_counter() - self.clock, "cpu": time.process_time() - self.processor}


def ours(x: np.ndarray, y: np.ndarray, m: int) -> dict[str, Any]:
    """Time of a fit, and its bound."""
    watch = Watch()
    model = GPRegressor(
        Matern52(np.full(4, LENGTHSCALE)),
        noise=NOISE,
        representation="inducing",
        num_inducing=m,
        prior_scale=None,
        normalize_y=False,
    )
    model.fit(x, y)
    return watch.read() | {"bound": model.log_evidence_}


def _posterior(n: int) -> Any:
    gpx: Any = importlib.import_module("gpjax")
    kernel = gpx.kernels.Matern52(lengthscale=jnp.full(4, LENGTHSCALE), variance=1.0, n_dims=4)
    prior = gpx.gps.Prior(mean_function=gpx.mean_functions.Zero(), kernel=kernel)
    return prior * gpx.likelihoods.Gaussian(obs_stddev=jnp.sqrt(NOISE))


def _bound_of(q: Any, x: Any, y: Any) -> float:
    """Titsias' bound at the hyperparameters and inducing points of a GPJax family."""
    from paramax import unwrap

    q = unwrap(q)
    kernel, likelihood = q.model.prior.kernel, q.model.likelihood
    mine = Matern52(jnp.asarray(kernel.lengthscale), jnp.asarray(kernel.variance))
    tree = {"kernel": mine, "noise": jnp.asarray(likelihood.obs_stddev) ** 2, "features": Points(q.inducing_inputs)}
    return float(jax.jit(bound)(tree, jnp.asarray(x), jnp.asarray(y)))


def gpjax_collapsed(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int) -> dict[str, Any]:
    """GPJax's SGPR by L-BFGS."""
    gpx: Any = importlib.import_module("gpjax")
    watch = Watch()
    train = gpx.Dataset(X=jnp.asarray(x), y=jnp.asarray(y)[:, None])
    q = gpx.variational_families.CollapsedVariationalGaussian(model=_posterior(len(x)), inducing_inputs=jnp.asarray(z))
    q, _ = gpx.fit_lbfgs(
        model=q, objective=lambda q, d: -gpx.objectives.collapsed_elbo(q, d), train_data=train, max_iters=steps
    )
    jax.block_until_ready(jax.tree.leaves(q))
    return watch.read() | {"bound": _bound_of(q, x, y)}


def gpjax_minibatch(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int) -> dict[str, Any]:
    """GPJax's whitened SVGP by Adam on batches of 256; the bound is that at its hyperparameters with the best q(u)."""
    import optax

    gpx: Any = importlib.import_module("gpjax")
    watch = Watch()
    train = gpx.Dataset(X=jnp.asarray(x), y=jnp.asarray(y)[:, None])
    m = len(z)
    q = gpx.variational_families.WhitenedVariationalGaussian(
        model=_posterior(len(x)),
        inducing_inputs=jnp.asarray(z),
        variational_mean=jnp.zeros((m, 1)),
        variational_root_covariance=jnp.eye(m),
    )
    q, _ = gpx.fit(
        model=q,
        objective=lambda q, d: -gpx.objectives.elbo(q, d),
        train_data=train,
        optim=optax.adam(1e-2),
        num_iters=steps,
        batch_size=256,
        key=jax.random.key(0),
        verbose=False,
    )
    jax.block_until_ready(jax.tree.leaves(q))
    return watch.read() | {"bound": _bound_of(q, x, y)}


def main(arguments: Sequence[str] = ()) -> int:
    """Print one JSON object: seconds, bounds, the ratio of our time to a peer's, and whether our bound is higher."""
    parser = argparse.ArgumentParser("jensen bench gp_sparse", description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--lbfgs", type=int, default=200, help="iterations of GPJax's L-BFGS")
    parser.add_argument("--adam", type=int, default=5000, help="iterations of GPJax's minibatch fits")
    options = parser.parse_args(list(arguments))
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # the first call counts
    x, y, z = data(options.n, options.points)
    mine = ours(x, y, options.points)
    mine["second"] = ours(x, y, options.points)
    print("jensen", mine, flush=True)
    out: dict[str, Any] = {"jensen": mine}
    peers = {"gpjax collapsed": (gpjax_collapsed, options.lbfgs), "gpjax minibatch": (gpjax_minibatch, options.adam)}
    for name, (make, steps) in peers.items():
        peer = make(x, y, z, steps)
        peer |= {"ratio": mine["cpu"] / peer["cpu"], "ours_is_higher": mine["bound"] >= peer["bound"]}
        print(name, peer, flush=True)
        out[name] = peer
    print(json.dumps(out, indent=1))
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
