"""Simulation-based calibration, thousands of replicas in one compiled call."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jensen._run import run_inside, run_interleaved
from jensen.core import Algorithm, InputError, InTurns, PRNGKey, check_key, check_needs, in_batches, sample_many
from jensen.metrics import symmetry, uniformity

BATCH = 250  # replicas that run side by side: bounds memory, and costs nothing on a few cores
LANES = 128  # the same where none waits for the others: with more, the longest run keeps more of them idle at its end


class Calibration(eqx.Module):
    """Ranks of true values among posterior draws, over data sets simulated from the prior.

    `ranks`: shape (replicas, d), 0 .. `num_draws`, of the unconstrained coordinates `names`; `failed`: replicas whose
    run found no start or became NaN, not among them.
    """

    ranks: np.ndarray
    num_draws: int = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    failed: int = eqx.field(static=True, default=0)

    @property
    def uniformity(self) -> Float[np.ndarray, " d"]:
        """p-values, a coordinate, that ranks are uniform: small where the posterior is wrong in any way."""
        return uniformity(self.ranks, self.num_draws, bins=min(20, max(2, len(self.ranks) // 10)))

    @property
    def probabilities(self) -> Float[np.ndarray, "replicas d"]:
        """(rank + 1/2) / (draws + 1): estimates of Q(z < truth)."""
        return (self.ranks + 0.5) / (self.num_draws + 1)

    @property
    def symmetry(self) -> Float[np.ndarray, " d"]:
        """p-values, a coordinate, that the posterior's centre is right on average: VSBC, blind to wrong widths."""
        return symmetry(self.probabilities)

    def passed(self, level: Any = 0.01) -> bool:
        """Whether nothing failed and no coordinate is found wrong at `level`, divided by their number.

        Raises `InputError` for a level outside (0, 1).
        """
        if not 0 < level < 1:
            raise InputError(f"level must be between 0 and 1, got {level}")
        return self.failed == 0 and bool(np.all(self.uniformity > level / len(self.names)))

    def __str__(self) -> str:
        lines = [
            f"calibration over {len(self.ranks)} simulated data sets ({self.failed} failed), "
            f"{self.num_draws} draws each"
        ]
        lines.append(f"  {'coordinate':<20} {'P(uniform)':>11} {'P(centred)':>11} {'mean':>6} {'spread':>7}")
        p = self.probabilities
        mean, spread = p.mean(0), p.std(0) * np.sqrt(12)
        for row in zip(self.names, self.uniformity, self.symmetry, mean, spread, strict=True):
            lines.append("  {:<20} {:>11.3g} {:>11.3g} {:>6.3f} {:>7.3f}".format(*row))
        lines.append("  exact: mean 0.5, spread 1; above 1 the posterior is too narrow, below 1 too wide")
        return "\n".join(lines)


def sbc(
    method: Any,
    simulator: Any,
    *,
    key: Any,
    replicas: Any = 1000,
    num_draws: Any = 99,
    steps: Any = None,
) -> Calibration:
    """Simulate z and data, infer z from the data, rank the true z among posterior draws; `replicas` times.

    If the method is exact, every rank is uniform on 0 .. num_draws. All replicas are simulated, fitted and ranked by
    one compiled call; another key compiles nothing. Chains of NUTS go on each by itself, in 128 lanes: none waits for
    another's long trajectory.

    Args:
        method: an algorithm, run for `steps` steps on `simulator.condition(data)` by the loop's own keys (without its
            guard: a run that becomes NaN counts as failed), or an amortised posterior (what has `given(data)`).
        simulator: a `targets.Simulator`: `targets.simulator_from_numpyro(model, ...)`, `targets.from_simulator(...)`.
        key: a typed JAX key.
        replicas: number of data sets; 1,000 see a bias of about 0.1 posterior standard deviations.
        num_draws: posterior draws a replica. Chains are thinned to as many: take few, for they must be as good as
            independent.
        steps: of a run; the algorithm's default where None.

    Ranks are of unconstrained coordinates: for supports with a monotone bijection those of the model's own values.
    It tests the average over the prior, not the data at hand, and joint structure only through its margins.

    Raises `InputError` for fewer than 20 replicas, no draws, or a simulator or method that is none.

    Source: Talts, Betancourt, Simpson, Vehtari, Gelman (2018); for variational methods Yao et al. (2018).
    """
    check_key(key)
    for name, value, least in (("replicas", replicas, 20), ("num_draws", num_draws, 1), ("steps", steps, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if not hasattr(simulator, "simulate"):
        raise InputError(
            f"simulator must be able to simulate, got {type(simulator).__name__}: make one by "
            "targets.simulator_from_numpyro or targets.from_simulator"
        )
    if isinstance(method, Algorithm):
        data = eqx.filter_eval_shape(lambda k: simulator.simulate(k)[1], key)
        check_needs(method, eqx.filter_eval_shape(simulator.condition, data))
        ranks, ok = _rank_fits(method, simulator, key, replicas, num_draws, steps or method.default_steps)
    elif hasattr(method, "given"):
        ranks, ok = _ranks_given(method, simulator, key, replicas, num_draws)
    else:
        raise InputError(f"method must be an algorithm or an amortised posterior, got {type(method).__name__}")
    ranks, ok = np.asarray(ranks), np.asarray(ok)
    return Calibration(ranks[ok], num_draws, simulator.space.coordinate_names(), int(np.sum(~ok)))


def _count(draws: Float[Array, "n d"], truth: Float[Array, " d"]) -> Int[Array, " d"]:
    return jnp.sum(draws < truth, axis=0)


@eqx.filter_jit
def _ranks_given(
    method: Any, simulator: Any, key: PRNGKey, replicas: int, num_draws: int
) -> tuple[Int[Array, "replicas d"], Bool[Array, " replicas"]]:
    def one(key: PRNGKey) -> Any:
        key_pair, key_draw = jax.random.split(key)
        truth, data = simulator.simulate(key_pair)
        draws = sample_many(key_draw, method.given(data), num_draws)
        return _count(draws, truth), jnp.all(jnp.isfinite(draws))

    return in_batches(one, jax.random.split(key, replicas), BATCH)


def _rank_fits(
    algorithm: Algorithm, simulator: Any, key: PRNGKey, replicas: int, num_draws: int, steps: int
) -> tuple[Any, Any]:
    ranks, ok, truth, state, draws, rest = _fits(algorithm, simulator, key, replicas, num_draws, steps)
    if draws is None:
        return ranks, ok
    # chains: how many of the steps are kept is a number that the algorithm takes from its state
    rows = []
    for i in range(replicas):
        mine, records = jax.tree.map(lambda a, i=i: np.asarray(a)[i], (state, draws))
        chains = algorithm.posterior(eqx.combine(mine, rest), records, simulator.space)
        pooled = np.asarray(chains.pooled)  # pyright: ignore[reportAttributeAccessIssue]
        if len(pooled) < num_draws:
            raise InputError(
                f"{num_draws} draws are asked for, and a run of {steps} steps keeps {len(pooled)}: more steps"
            )
        kept = pooled[np.linspace(0, len(pooled) - 1, num_draws).astype(int)]
        rows.append(np.sum(kept < np.asarray(truth[i]), axis=0))
    return np.stack(rows), ok


@eqx.filter_jit
def _fits(algorithm: Algorithm, simulator: Any, key: PRNGKey, replicas: int, num_draws: int, steps: int) -> Any:
    def one(key: PRNGKey) -> Any:
        key_pair, key_fit, key_draw = jax.random.split(key, 3)
        truth, data = simulator.simulate(key_pair)
        state, ok, draws = run_inside(algorithm, simulator.condition(data), key_fit, steps)
        if draws is not None:
            return None, ok, truth, eqx.filter(state, eqx.is_array), draws
        z = algorithm.posterior(state, None, simulator.space).sample_z(key_draw, num_draws)
        return _count(z, truth), ok & jnp.all(jnp.isfinite(z)), None, None, None

    keys = jax.random.split(key, replicas)
    state = eqx.filter_eval_shape(lambda k: _state(algorithm, simulator, k), key)
    rest = eqx.filter(state, lambda leaf: not isinstance(leaf, jax.ShapeDtypeStruct))
    if not isinstance(algorithm, InTurns):
        return *in_batches(one, keys, BATCH), rest
    pair, fit, _ = jax.vmap(lambda k: jax.random.split(k, 3), out_axes=1)(keys)
    truth, data = in_batches(simulator.simulate, pair, BATCH)
    state, ok, draws = run_interleaved(algorithm, simulator.condition, data, fit, steps, LANES)
    return None, ok, truth, state, draws, rest


def _state(algorithm: Algorithm, simulator: Any, key: PRNGKey) -> Any:
    target = simulator.condition(simulator.simulate(key)[1])
    return run_inside(algorithm, target, key, 1)[0]
