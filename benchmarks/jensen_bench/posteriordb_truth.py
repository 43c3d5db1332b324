"""Does a long NUTS run on each ported posterior reproduce posteriordb's reference moments?

For each parameter: |mean - reference mean| in combined Monte Carlo standard errors (effective sample sizes on both
sides), and the same for the logarithm of the standard deviation, whose variance is (kurtosis - 1) / (4 n) for n draws.
Prints a table, the worst parameter of each posterior, and ends with status 1 where one is beyond five standard errors.

    JENSEN_DATA=... jensen bench posteriordb_truth --names garch-garch11 arK-arK --draws 2000
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.targets._posteriordb import flatten, posteriordb, posteriordb_names, reference

CHAINS = 4
LIMIT = 5.0  # standard errors; a false alarm has probability 6e-7 a parameter


@eqx.filter_jit
def sample(key, target, warmup, draws):
    """Constrained draws by site (CHAINS, draws, ...) and the number of divergences, after window adaptation."""

    def chain(key):
        start, adapt, run = jax.random.split(key, 3)
        z = target.start(start)
        adaptation: Any = blackjax.window_adaptation(blackjax.nuts, target.log_density, target_acceptance_rate=0.9)
        (state, parameters), _ = adaptation.run(adapt, z, num_steps=warmup)
        kernel: Any = blackjax.nuts(target.log_density, **parameters).step

        def step(state, key):
            state, info = kernel(key, state)
            return state, (state.position, info.is_divergent)

        _, (z, divergent) = jax.lax.scan(step, state, jax.random.split(run, draws))
        return jax.lax.map(target.space.constrain, z), divergent.sum()

    return jax.lax.map(chain, jax.random.split(key, CHAINS))


def moments(flat):
    """Mean, sd, kurtosis (d,) of draws (chains, draws, d)."""
    rows = flat.reshape(-1, flat.shape[-1])
    centred = (rows - rows.mean(0)) / rows.std(0)
    return rows.mean(0), rows.std(0), (centred**4).mean(0)


def compare(flat, held):
    """Errors (d,) of mean and of log sd in standard errors, and the smallest effective sample size of ours."""
    ess = np.minimum(np.asarray(jax.vmap(blackjax.ess, -1)(flat)), flat[..., 0].size)
    # Squares mix more slowly than values: their own effective sample size serves the standard deviation.
    square = (flat - flat.mean((0, 1))) ** 2
    ess_square = np.minimum(np.asarray(jax.vmap(blackjax.ess, -1)(square)), flat[..., 0].size)
    mean, sd, kurtosis = moments(flat)
    mean_error = (mean - held.mean) / np.sqrt(sd**2 / ess + held.sd**2 / held.effective_sample_size)
    _, _, held_kurtosis = moments(held.flat)
    variance = (kurtosis - 1) / (4 * ess_square) + (held_kurtosis - 1) / (4 * held.effective_sample_size)
    return mean_error, np.log(sd / held.sd) / np.sqrt(variance), ess.min()


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table; 1 if a posterior is not reproduced."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="*", default=posteriordb_names())
    parser.add_argument("--warmup", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(list(arguments))
    jax.config.update("jax_enable_x64", True)
    print(f"{'posterior':46s} {'mean/se':>8s} {'sd/se':>6s} {'sd ratio':>9s} {'ESS':>6s} {'div':>4s} {'s':>6s}  worst")
    failed = []
    for name in options.names:
        began = time.perf_counter()
        held = reference(name)
        draws, divergent = sample(jax.random.key(options.seed), posteriordb(name), options.warmup, options.draws)
        joined = {site: np.asarray(value).reshape(-1, *value.shape[2:]) for site, value in draws.items()}
        flat = flatten(name, joined).reshape(CHAINS, options.draws, -1)
        mean_error, sd_error, ess = compare(jnp.asarray(flat), held)
        ratio = moments(flat)[1] / held.sd
        worst = int(np.argmax(np.maximum(np.abs(mean_error), np.abs(sd_error))))
        seconds = time.perf_counter() - began
        print(
            f"{name:46s} {np.abs(mean_error).max():8.2f} {np.abs(sd_error).max():6.2f} {ratio[worst]:9.3f} {ess:6.0f} "
            f"{int(divergent.sum()):4d} {seconds:6.1f}  {held.parameters[worst]}",
            flush=True,
        )
        if not (np.all(np.abs(mean_error) < LIMIT) and np.all(np.abs(sd_error) < LIMIT)):
            failed.append(name)
    print(
        f"{len(options.names) - len(failed)} of {len(options.names)} reproduce the reference"
        + f"; not: {failed}" * bool(failed)
    )
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
