"""How does NUTS compare with NumPyro's and with BlackJAX's one-jit loop?

On eight schools (non-centred, 10-d) and a 31-d logistic regression (569 rows of scikit-learn's breast cancer data, N(0,
1) priors), in one process: seconds of the first call (trace, compile, run) and of the second (a new key), the smallest
bulk or tail effective sample size (ESS), ESS a second of the second call, and ratios to NumPyro's. The peers run 4
chains of 1000 warm-up and 1000 draws; ours the same (`cold`), and with a fitted Gaussian as transport and a shorter run
(`whitened`; the fit of the Gaussian is not counted).
"""

import json
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import jensen as jn
from jensen._run import drive
from jensen.certificate.chains import diagnose
from jensen_bench._peers import CHAINS, DRAWS, WARMUP, blackjax_nuts, numpyro_model_nuts

WHITENED_STEPS, WHITENED_WARMUP = 700, 0.25


def schools(y, sigma):
    """The hierarchical model of Rubin (1981), non-centred."""
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    with numpyro.plate("schools", len(y)):
        effect = numpyro.sample("effect", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(mu + tau * effect, sigma), obs=y)


def logistic(x, y):
    """Logistic regression with standard normal priors."""
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)


def cases():
    """Name -> (model, data)."""
    from sklearn.datasets import load_breast_cancer

    loaded: Any = load_breast_cancer(return_X_y=True)
    x, y = loaded
    x = np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)])
    effects = jnp.array([28.0, 8, -3, 7, -1, 1, 18, 12]), jnp.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    return {"eight_schools": (schools, effects), "logistic_31": (logistic, (jnp.asarray(x), jnp.asarray(y, float)))}


def ours(algorithm, steps, target):
    """A function of a key that gives chains."""

    def run(key):
        posterior: Any = drive(algorithm, target, key=key, steps=steps).posterior
        return posterior.chains

    return run


def flat(run):
    """Draws by site as one array, shape (chains, draws, d)."""

    def wrapped(key):
        draws = run(key).values()
        return jnp.concatenate([v.reshape(CHAINS, DRAWS, -1) for v in draws], axis=2)

    return wrapped


def measure(run):
    """Seconds of the first and of the second call, and the worst ESS and R-hat of the second."""
    seconds = []
    for seed in range(2):
        began = time.perf_counter()
        chains = jax.block_until_ready(run(jax.random.key(seed)))
        seconds.append(time.perf_counter() - began)
    rhat, bulk, tail = diagnose(chains)
    ess = float(min(bulk.min(), tail.min()))
    return {
        "first_s": seconds[0],
        "second_s": seconds[1],
        "ess": ess,
        "ess_per_s": ess / seconds[1],
        "rhat": float(rhat.max()),
    }


def main(arguments: Sequence[str] = ()) -> int:
    """Print one JSON object a case; it takes no arguments."""
    jax.config.update("jax_enable_x64", True)
    for name, (model, data) in cases().items():
        target = jn.targets.from_numpyro(model, *data)
        key = jax.random.key(0)
        laplace = drive(jn.algorithms.Laplace(), target, key=key)
        gaussian: Any = drive(jn.algorithms.BatchMatch(), target, key=key, steps=100, start=laplace.posterior).posterior
        whitened = jn.algorithms.NUTS(transport=gaussian.q, warmup=WHITENED_WARMUP)
        runs = {
            "cold": ours(jn.algorithms.NUTS(), WARMUP + DRAWS, target),
            "whitened": ours(whitened, WHITENED_STEPS, target),
            "blackjax": blackjax_nuts(target),
            "numpyro": flat(numpyro_model_nuts(target)),
        }
        results = {run: measure(f) for run, f in runs.items()}
        peer = results["numpyro"]
        ratios = {
            run: {key: value[key] / peer[key] for key in ("first_s", "second_s", "ess_per_s")}
            for run, value in results.items()
        }
        print(json.dumps({"case": name, "results": results, "ratio_to_numpyro": ratios}, indent=1), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
