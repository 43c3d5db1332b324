"""How long until a sparse Gaussian process has the bounds that its peers end with?

n rows in d = 4 (20,000), y = a sum of smooth waves plus noise, M = 100 inducing points that are trained with the
hyperparameters, Matern-5/2 with a lengthscale for each input, double precision. Peers: GPJax's collapsed bound by
its L-BFGS (200 iterations), its whitened minibatch bound by Adam and by natural gradients with Adam (5,000 steps,
batches of 256); GPyTorch's collapsed bound by its L-BFGS where it can be imported. Ours: `GPRegressor`, a whole fit as
it comes, and the smallest number of its `steps` on a grid whose fit has a peer's bound (finding that number is not
counted). The peers start from random rows as points, ours from k-means; hyperparameters start alike. All bounds are the
same function of hyperparameters and points, Titsias', evaluated by ours. Each method runs in a process of its own, one
after the other; `seconds` (of the clock) and `cpu` (of the processor) are those of a first call, compilation included
and imports not; `later` is the same call again.
"""

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import JensenError
from jensen.gp import Collapsed, GPRegressor
from jensen.gp.kernels import Matern52
from jensen.gp.priors import Points
from jensen_bench._peers import gpytorch_regression

LENGTHSCALE, NOISE = 1.0, 0.1
GRID = (10, 15, 20, 25, 30, 40, 50, 60, 65, 70, 75, 80, 90, 100, 120, 140)  # steps of a fit of ours


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


def ours(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int | None) -> dict[str, Any]:
    """Time of a fit of so many steps, or of as many as it comes with, and its bound."""
    import sklearn.cluster  # noqa: F401  imports are not counted

    def fit() -> dict[str, Any]:
        watch = Watch()
        model = GPRegressor(
            Matern52(np.full(4, LENGTHSCALE)),
            noise=NOISE,
            representation="inducing",
            num_inducing=len(z),
            steps=steps,
            prior_scale=None,
            normalize_y=False,
        )
        model.fit(x, y)
        return watch.read() | {"bound": model.log_evidence_}

    return fit() | {"later": fit()}


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


def _whitened(n: int, z: np.ndarray) -> Any:
    gpx: Any = importlib.import_module("gpjax")
    m = len(z)
    return gpx.variational_families.WhitenedVariationalGaussian(
        model=_posterior(n),
        inducing_inputs=jnp.asarray(z),
        variational_mean=jnp.zeros((m, 1)),
        variational_root_covariance=jnp.eye(m),
    )


def _by_batches(fit: Any, x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int, **settings: Any) -> dict[str, Any]:
    import optax

    gpx: Any = importlib.import_module("gpjax")
    watch = Watch()
    q, _ = fit(
        model=_whitened(len(x), z),
        objective=lambda q, d: -gpx.objectives.elbo(q, d),
        train_data=gpx.Dataset(X=jnp.asarray(x), y=jnp.asarray(y)[:, None]),
        optim=optax.adam(1e-2),
        num_iters=steps,
        batch_size=256,
        key=jax.random.key(0),
        verbose=False,
        **settings,
    )
    jax.block_until_ready(jax.tree.leaves(q))
    return watch.read() | {"bound": _bound_of(q, x, y)}


def gpjax_adam(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int) -> dict[str, Any]:
    """GPJax's whitened SVGP by Adam on batches of 256; the bound is that at its hyperparameters with the best q(u)."""
    return _by_batches(importlib.import_module("gpjax").fit, x, y, z, steps)


def gpjax_natural(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int) -> dict[str, Any]:
    """The same with natural gradients for q(u), at GPJax's rate."""
    return _by_batches(importlib.import_module("gpjax").fit_natgrads, x, y, z, steps)


def gpytorch_collapsed(x: np.ndarray, y: np.ndarray, z: np.ndarray, steps: int) -> dict[str, Any]:
    """GPyTorch's SGPR by torch's L-BFGS with a strong Wolfe search."""
    importlib.import_module("gpytorch")  # imports are not counted
    watch = Watch()
    _, likelihood, kernel, covariance = gpytorch_regression(x, y, z, LENGTHSCALE, NOISE, steps)
    out = watch.read()
    plain = [a.detach().numpy() for a in (kernel.base_kernel.lengthscale[0], kernel.outputscale, likelihood.noise[0])]
    points = Points(jnp.asarray(covariance.inducing_points.detach().numpy()))
    tree = {"kernel": Matern52(*map(jnp.asarray, plain[:2])), "noise": jnp.asarray(plain[2]), "features": points}
    return out | {"bound": float(jax.jit(bound)(tree, jnp.asarray(x), jnp.asarray(y)))}


METHODS: dict[str, Any] = {
    "jensen": ours,
    "gpjax collapsed": gpjax_collapsed,
    "gpjax adam": gpjax_adam,
    "gpjax natural": gpjax_natural,
    "gpytorch collapsed": gpytorch_collapsed,
}


def alone(method: str, n: int, points: int, steps: int | None) -> dict[str, Any]:
    """What a method finds, in a process of its own."""
    asked = [sys.executable, "-m", "jensen_bench.gp_sparse", "--alone", method, "--n", str(n), "--points", str(points)]
    done = subprocess.run([*asked, *(["--steps", str(steps)] if steps else [])], capture_output=True, text=True)
    if done.returncode:
        raise JensenError(f"{method} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def least(wanted: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> int | None:
    """The smallest number of steps on the grid whose fit has this bound."""
    return next((steps for steps in GRID if ours(x, y, z, steps)["bound"] >= wanted), None)


def main(arguments: Sequence[str] = ()) -> int:
    """Print one JSON object a method: seconds, bound, and for a peer the time of a fit of ours that has its bound."""
    parser = argparse.ArgumentParser("jensen bench gp_sparse", description=__doc__)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--lbfgs", type=int, default=200, help="iterations of the peers' L-BFGS")
    parser.add_argument("--adam", type=int, default=5000, help="iterations of GPJax's minibatch fits")
    parser.add_argument("--alone", choices=list(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(list(arguments))
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # the first call counts
    x, y, z = data(options.n, options.points)
    if options.alone:
        print(json.dumps(METHODS[options.alone](x, y, z, options.steps)))
        return 0
    size = options.n, options.points
    whole = alone("jensen", *size, None)
    print(json.dumps({"jensen, whole fit": whole}), flush=True)
    for name in METHODS:
        if name == "jensen":
            continue
        if name.startswith("gpytorch") and importlib.util.find_spec("gpytorch") is None:
            print("gpytorch: not installed", flush=True)
            continue
        peer = alone(name, *size, options.lbfgs if name.endswith("collapsed") else options.adam)
        steps = least(peer["bound"], x, y, z)
        out: dict[str, Any] = {name: peer, "steps": steps}
        if steps is not None:
            out["ours to its bound"] = mine = alone("jensen", *size, steps)
            out["ratio"] = {key: mine[key] / peer[key] for key in ("seconds", "cpu")}
            out["ratio, later"] = {key: mine["later"][key] / peer[key] for key in ("seconds", "cpu")}
        print(json.dumps(out), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
