"""How good and how fast is `GPRegressor` as it comes on the UCI regression sets, beside GPJax?

The standard splits: of Gal and Hernandez-Lobato (90 % of the rows train), of Evans for bike, elevators and kin40k.
Inputs and targets are standardised on the training rows for both. Ours: Matern-5/2 with a lengthscale for each input,
nothing set. The peer: the same kernel, starting values and normalisation; its exact GP by `fit_lbfgs` up to 2,000 rows,
above them its collapsed bound by `fit_lbfgs` with as many inducing points as ours, which begin at random rows. GPyTorch
is run too where it can be imported. Test RMSE and negative log predictive density (nats a row), both in the units of
the targets, means over splits; `first_s` is the first split's training and prediction, compilation included, `later_s`
the mean of the others, each of the clock and of all cores.
"""

import argparse
import importlib
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen_bench._peers import gpytorch_regression

GAL = ("yacht", "boston", "energy", "concrete", "wine", "kin8nm", "power", "naval", "protein")
EVANS = ("elevators", "bike", "kin40k")
EXACT = 2000  # rows up to which both are exact
NOISE = 0.1

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
Prediction = tuple[np.ndarray, np.ndarray]


def data(name: str, split: int, most: int) -> Data:
    """Standardised inputs and targets that train, at most so many rows, and those that test."""
    if name in GAL:
        table = jn.datasets.load(f"uci/{name}")
        test = np.zeros(len(table["y"]), bool)
        test[table["test_idx"][split]] = True
    else:
        table = jn.datasets.load(f"uci-gp/{name}")
        test = table["test_mask"][:, split].astype(bool)
    x, y = table["X"].astype(float), table["y"].astype(float).reshape(-1)
    train = np.flatnonzero(~test)
    if len(train) > most:
        train = np.random.default_rng(split).choice(train, most, replace=False)
    level, width = x[train].mean(0), x[train].std(0)
    x = (x - level) / np.where(width > 0, width, 1.0)
    return x[train], y[train], x[test], y[test]


def points(n: int) -> int:
    """M that `GPRegressor` takes for n rows."""
    return 100 if n <= 10_000 else 200


def ours(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int) -> Prediction:
    """Predictive means and standard deviations of new observations."""
    model = jn.gp.GPRegressor(random_state=seed).fit(x, y)
    return model.predict(new, return_std=True, noise=True)


def gpjax(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int, steps: int = 200) -> Prediction:
    """The same by GPJax."""
    gpx: Any = importlib.import_module("gpjax")
    level, width = y.mean(), y.std()
    train = gpx.Dataset(X=jnp.asarray(x), y=jnp.asarray((y - level) / width)[:, None])
    d = x.shape[1]
    kernel = gpx.kernels.Matern52(lengthscale=jnp.full(d, np.sqrt(d)), variance=1.0, n_dims=d)
    prior = gpx.gps.Prior(mean_function=gpx.mean_functions.Zero(), kernel=kernel)
    model: Any = prior * gpx.likelihoods.Gaussian(obs_stddev=jnp.sqrt(NOISE))

    def loss(model: Any, data: Any) -> Any:
        return -gpx.objectives.conjugate_mll(model, data)

    if len(x) > EXACT:
        z = x[np.random.default_rng(seed).choice(len(x), points(len(x)), replace=False)]
        model = gpx.variational_families.CollapsedVariationalGaussian(model=model, inducing_inputs=jnp.asarray(z))

        def loss(model: Any, data: Any) -> Any:
            return -gpx.objectives.collapsed_elbo(model, data)

    model, _ = gpx.fit_lbfgs(model=model, objective=loss, train_data=train, max_iters=steps)
    likelihood = model.model.likelihood if len(x) > EXACT else model.likelihood
    found = model.condition(train)(jnp.asarray(new), covariance="diagonal")
    variance = jnp.asarray(found.variance).reshape(-1) + jnp.asarray(_plain(likelihood.obs_stddev)) ** 2
    return level + width * np.asarray(found.mean).reshape(-1), width * np.sqrt(np.asarray(variance))


def _plain(value: Any) -> Any:
    from paramax import unwrap

    return unwrap(value)


def gpytorch(x: np.ndarray, y: np.ndarray, new: np.ndarray, seed: int, steps: int = 100) -> Prediction:
    """The same by GPyTorch, exact or with inducing points, by torch's L-BFGS."""
    torch: Any = importlib.import_module("torch")
    level, width = y.mean(), y.std()
    z = x[np.random.default_rng(seed).choice(len(x), points(len(x)), replace=False)] if len(x) > EXACT else None
    found = gpytorch_regression(x, (y - level) / width, z, np.sqrt(x.shape[1]), NOISE, steps)
    model, likelihood = found.model, found.likelihood
    model.eval()
    likelihood.eval()
    with torch.no_grad():
        at = likelihood(model(torch.as_tensor(new)))
    return level + width * at.mean.numpy(), width * np.sqrt(at.variance.numpy())


def measure(method: Callable[..., Prediction], name: str, splits: int, most: int) -> dict[str, float]:
    """RMSE and NLPD, means over the first splits, and seconds."""
    rmse, nlpd, seconds, cpu = [], [], [], []
    for split in range(splits):
        x, y, new, truth = data(name, split, most)
        began, spent = time.perf_counter(), time.process_time()
        mean, sd = method(x, y, new, split)
        seconds.append(time.perf_counter() - began)
        cpu.append(time.process_time() - spent)
        rmse.append(float(np.sqrt(np.mean((mean - truth) ** 2))))
        nlpd.append(float(np.mean(0.5 * ((truth - mean) / sd) ** 2 + np.log(sd) + 0.5 * np.log(2 * np.pi))))
    out = {"rmse": float(np.mean(rmse)), "nlpd": float(np.mean(nlpd)), "first_s": seconds[0], "first_cpu_s": cpu[0]}
    if splits > 1:
        out |= {"later_s": float(np.mean(seconds[1:])), "later_cpu_s": float(np.mean(cpu[1:]))}
    return out


def main(arguments: Sequence[str] = ()) -> int:
    """Print a line of JSON for each set: both methods' numbers, ratios of RMSE and seconds, difference of NLPD."""
    parser = argparse.ArgumentParser("jensen bench gp_uci", description=__doc__)
    parser.add_argument("--sets", default="yacht,boston,energy", help=f"of {','.join(GAL + EVANS)}; or all")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--max-rows", type=int, default=1_000_000, help="training rows, drawn at random beyond")
    parser.add_argument(
        "--peers", nargs="*", choices=("gpjax", "gpytorch"), help="all that are installed, where not given"
    )
    options = parser.parse_args(list(arguments))
    names = GAL + EVANS if options.sets == "all" else tuple(options.sets.split(","))
    unknown = [name for name in names if name not in GAL + EVANS]
    if unknown:
        parser.error(f"unknown sets {', '.join(unknown)}: known are {', '.join(GAL + EVANS)}")
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # the first call counts
    peers: dict[str, Callable[..., Prediction]] = {"gpjax": gpjax, "gpytorch": gpytorch}
    wanted = [*peers] if options.peers is None else options.peers
    for name in set(wanted):
        if importlib.util.find_spec(name) is None:
            print(f"{name}: not installed", flush=True)
    peers = {name: peers[name] for name in wanted if importlib.util.find_spec(name) is not None}
    for name in names:
        row: dict[str, Any] = {"set": name, "rows": len(data(name, 0, options.max_rows)[0])}
        row["jensen"] = mine = measure(ours, name, options.splits, options.max_rows)
        for peer, method in peers.items():
            row[peer] = other = measure(method, name, options.splits, options.max_rows)
            ratios = {key: mine[key] / other[key] for key in mine if key != "nlpd"}
            row[f"to {peer}"] = {**ratios, "nlpd_difference": mine["nlpd"] - other["nlpd"]}
        print(json.dumps(_rounded(row)), flush=True)
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
