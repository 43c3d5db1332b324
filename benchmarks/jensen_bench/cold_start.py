"""How long from a cold process to a first posterior, and is `import jensen` light?

Each run is a process of its own on the 31-d logistic regression of scikit-learn's breast cancer data (N(0, 1) priors):
imports, model, compilation, inference, 1,000 draws. Ours is certified (`jensen.fit`); the peer is NumPyro's full-rank
SVI (AutoMultivariateNormal, 10 particles, 10,000 steps of Adam with a cosine rate from 0.03). `cached` repeats it with
JAX's persistent compilation cache filled by a first run. Wall seconds, the median of `--repeats`, and ratios to the
peer's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np

DATA = """
import os
import numpy as np
x, y = (np.load(os.environ["BENCH_DATA"])[name] for name in "xy")
"""

MODEL = """
import numpyro, numpyro.distributions as dist
def model(x, y):
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ beta), obs=y)
"""

OURS = (
    DATA
    + MODEL
    + """
import jax, jensen as jn
fit = jn.fit(model, x, y, key=jax.random.key(0), progress=False)
assert fit.certificate.passed, str(fit)
fit.posterior.sample(jax.random.key(1), 1000)["beta"].block_until_ready()
"""
)

PEER = (
    DATA
    + MODEL
    + """
import jax, jax.numpy as jnp, optax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal
guide = AutoMultivariateNormal(model)
svi = SVI(model, guide, optax.adam(optax.cosine_decay_schedule(3e-2, 10_000)), Trace_ELBO(num_particles=10))
result = svi.run(jax.random.key(0), 10_000, jnp.asarray(x), jnp.asarray(y), progress_bar=False)
guide.sample_posterior(jax.random.key(1), result.params, sample_shape=(1000,))["beta"].block_until_ready()
"""
)


def write_data(path: str) -> None:
    """The standardised design with an intercept, and the labels; importing scikit-learn costs seconds."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    x = np.asarray(x, float)
    np.savez(path, x=np.column_stack([np.ones(len(x)), (x - x.mean(0)) / x.std(0)]), y=np.asarray(y))


def timed(code: str, cache: str | None) -> float:
    """Wall seconds of a fresh process that runs `code`."""
    lines = ["import os", "os.environ['JAX_ENABLE_X64'] = '0'", "os.environ.pop('JAX_COMPILATION_CACHE_DIR', None)"]
    if cache:
        lines.append(f"os.environ['JAX_COMPILATION_CACHE_DIR'] = {cache!r}")
        lines.append("os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'")
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "\n".join([*lines, code])], check=True, capture_output=True)
    return time.perf_counter() - began


def main(arguments: Sequence[str] = ()) -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser("jensen bench cold_start", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(list(arguments)).repeats
    programs = {
        "jensen": OURS,
        "numpyro_svi": PEER,
        "import_jensen": "import jensen",
        "import_numpyro": "import numpyro",
    }
    programs["import_jensen_fit"] = "import jensen; jensen.fit"
    out: dict[str, float] = {}
    data = tempfile.NamedTemporaryFile(suffix=".npz")  # noqa: SIM115  kept open until the process ends
    write_data(data.name)
    os.environ["BENCH_DATA"] = data.name
    for name, code in programs.items():
        out[name] = statistics.median(timed(code, None) for _ in range(repeats))
    with tempfile.TemporaryDirectory() as cache:
        for name in ("jensen", "numpyro_svi"):
            timed(programs[name], cache)
            out[f"{name}_cached"] = statistics.median(timed(programs[name], cache) for _ in range(repeats))
    ratios = {
        "cold": out["jensen"] / out["numpyro_svi"],
        "cached": out["jensen_cached"] / out["numpyro_svi_cached"],
        "cached_to_uncached_peer": out["jensen_cached"] / out["numpyro_svi"],
        "import": out["import_jensen"] / out["import_numpyro"],
        "import_fit": out["import_jensen_fit"] / out["import_numpyro"],
    }
    print(json.dumps({"seconds": out, "ratios": ratios}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
