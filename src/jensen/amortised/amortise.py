"""Train a conditional density on simulations, once for all data sets."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen._run import drive
from jensen.algorithms import BestSoFar, GradientVI
from jensen.amortised import _saving
from jensen.amortised.conditional import Amortised, Conditional, Encoded
from jensen.amortised.encoders import Vector
from jensen.amortised.heads import Mixture
from jensen.amortised.network import encoded
from jensen.amortised.simulated_kl import SimulatedKL, SimulatedPairs
from jensen.core import (
    Compiled,
    Density,
    DensityPosterior,
    InputError,
    PointPosterior,
    PRNGKey,
    Run,
    Scalar,
    Space,
    check_key,
    in_batches,
    stream,
)
from jensen.core.random import INIT, SEARCH
from jensen.progress import Progress

VECTOR, MIXTURE = Vector(), Mixture()
PILOT = 2000  # simulations by which inputs are standardised


class Amortisation(eqx.Module):
    """A trained conditional density q(z | data), and how it was trained.

    `jensen.calibration.sbc` takes it as a method: calibration over the prior is what can be said of it before any data.
    """

    conditional: Conditional
    space: Space
    run: Run

    def given(self, data: Any) -> Density:
        """q(. | data) on R^d."""
        return self.conditional.given(data)

    def posterior(self, data: Any) -> DensityPosterior:
        """The posterior of `data`, shaped as the simulator's. Raises `InputError` if they hold NaN or infinity."""
        for leaf in jax.tree.leaves(data):
            if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) and not bool(np.all(np.isfinite(leaf))):
                raise InputError(
                    "data hold NaN or infinite values: an amortised posterior has not been trained on such"
                )
        return DensityPosterior(self.space, _given(self.conditional, jax.tree.map(jnp.asarray, data)))

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write what was trained, and how, into one file, whole or not at all; `amortised.load` gives it back.

        Raises `InputError` for a conditional that holds functions, `StorageError` for a file that exists and where the
        system refuses.
        """
        return _saving.save(self, Path(path), overwrite)


def load(path: str | Path, simulator: Any = None, classes: tuple[type, ...] = ()) -> Amortisation:
    """The amortised posterior that `Amortisation.save` wrote, value for value; nothing of the file is executed.

    Args:
        path: the file.
        simulator: the one it was trained on; wanted only where the supports of its unknowns depend on one another.
        classes: of your own (encoders, heads, conditionals), which the file may name besides those of Jensen.

    Raises `StorageError` for a file that is missing, truncated, damaged or foreign, `InputError` where the simulator is
    wanted or has other unknowns.
    """
    return Amortisation(*_saving.read(Path(path), simulator, classes))


@eqx.filter_jit
def _given(conditional: Conditional, data: Any) -> Density:
    return conditional.given(data)


class StoredPairs(eqx.Module):
    """A fixed set of simulated pairs, leading axis pairs, each as likely: for simulators that are dear to run."""

    space: Space
    z: Float[Array, "n d"]
    data: Any

    def simulate(self, key: PRNGKey) -> tuple[Float[Array, " d"], Any]:
        """One of the pairs."""
        i = jax.random.randint(key, (), 0, self.z.shape[0])
        return self.z[i], jax.tree.map(lambda a: a[i], self.data)


@Compiled
def _simulation(key: PRNGKey, simulator: Any) -> tuple[Float[Array, " d"], Any]:
    return simulator.simulate(key)


@eqx.filter_jit
def simulations(key: PRNGKey, simulator: Any, n: int) -> tuple[Float[Array, "n d"], Any]:
    """`n` pairs (z, data) of a simulator, leading axis pairs."""
    return in_batches(simulator.simulate, jax.random.split(key, n), 1000)


def neural_posterior(key: PRNGKey, simulator: Any, encoder: Any = VECTOR, head: Any = MIXTURE) -> Encoded:
    """q(z | data) = head(encoder(data)), untrained: sizes and units from 2,000 simulations.

    Args:
        key: a typed JAX key.
        simulator: a `targets.Simulator`.
        encoder: `Vector()` for data of fixed meaning, `Set()` for exchangeable rows, or what has their `build`.
        head: `Mixture()` or `SplineFlow()`, or what has their `build`.

    Raises `InputError` if simulations are not finite.
    """
    key_pairs, key_encoder, key_head = jax.random.split(check_key(key), 3)
    z, data = simulations(key_pairs, simulator, PILOT)
    _check_finite(z, data)
    return encoded(key_encoder, key_head, encoder, head, z, data)


def _check_finite(z: Array, data: Any) -> None:
    for name, leaf in (("z", z), *(("data", leaf) for leaf in jax.tree.leaves(data))):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.all(np.isfinite(np.asarray(leaf))):
            raise InputError(f"The simulator gives {name} that are NaN or infinite: check priors and supports")


def amortise(
    simulator: Any,
    conditional: Any = None,
    *,
    key: PRNGKey,
    steps: int = 3000,
    batch_size: int = 128,
    learning_rate: float | Scalar = 2e-3,
    budget: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Progress | None = None,
) -> Amortisation:
    """Train q(z | data) by Adam on simulated pairs: minimise E[-log q(z | data)] (`SimulatedKL`).

    Args:
        simulator: a `targets.Simulator`.
        conditional: what is trained, or what builds it from pairs (`Regression()`, `Network()`): those of the budget
            that are not held out, else 2,000; `neural_posterior(key, simulator)` where None. Of a list each is trained
            on the same simulations, at the cost of all of them, and the one of the highest log density of what is held
            out is kept: a `budget` must be given.
        key: a typed JAX key.
        steps: of training; each makes `batch_size` fresh simulations, so that nothing can be overfitted.
        batch_size: pairs a step.
        learning_rate: Adam's, warmed up and cooled down as in `GradientVI`.
        budget: a limit of the number of simulations: so many are stored and drawn from, a tenth of them held out, and
            the weights that do best on those are kept.
        checkpoint: a folder; the training is saved there and resumed from there.
        progress: show a bar; only on a terminal where None.

    The result is wrong in ways that no certificate of one data set sees: run `jensen.calibration.sbc` on it.

    Raises `InputError` for a simulator that is none or not finite, for a budget below 100, a conditional of another
    dimension, or a list that is empty or without a budget.

    Source: see `SimulatedKL`; the warm-up, cooling and clipping: `GradientVI`.
    """
    check_key(key)
    if not hasattr(simulator, "simulate"):
        raise InputError(f"simulator must be a targets.Simulator, got {type(simulator).__name__}")
    if isinstance(conditional, list | tuple):
        if not conditional or budget is None:
            raise InputError("A list of conditionals must hold one at least, and a budget of which a part is held out")
        options: Any = dict(steps=steps, batch_size=batch_size, learning_rate=learning_rate, progress=progress)
        folders = [None if checkpoint is None else Path(checkpoint) / str(i) for i in range(len(conditional))]
        trained = [
            amortise(simulator, each, key=key, budget=budget, checkpoint=folder, **options)
            for each, folder in zip(conditional, folders, strict=True)
        ]
        held_out = _stored(stream(key, SEARCH), simulator, budget).held_out
        scores = [float(_log_density(one.conditional, *held_out)) for one in trained]
        return trained[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
    if conditional is None:
        conditional = neural_posterior(stream(key, INIT), simulator)
    target: Any = SimulatedPairs(simulator)  # pyright: ignore[reportCallIssue]
    if budget is not None:
        target = _stored(stream(key, SEARCH), simulator, budget)
    if hasattr(conditional, "build"):
        conditional = _built(conditional, stream(key, INIT), simulator, target.simulator)
    if conditional.dimension != simulator.space.dimension:
        raise InputError(
            f"The conditional is on R^{conditional.dimension}, the simulator's unknowns on "
            f"R^{simulator.space.dimension}"
        )
    z, data = _simulation(stream(key, SEARCH), simulator)
    _check_finite(z, data)
    algorithm: Any = GradientVI(
        family=Amortised(conditional, data),
        objective=SimulatedKL(batch_size=batch_size),
        learning_rate=learning_rate,
        warmup=100.0,
    )
    if budget is not None:
        algorithm = BestSoFar(algorithm, 0.9)  # pyright: ignore[reportCallIssue]
    start = PointPosterior(simulator.space, z)
    outcome = drive(algorithm, target, key=key, steps=steps, start=start, checkpoint=checkpoint, progress=progress)
    trained: Any = outcome.posterior
    return Amortisation(trained.q.conditional, simulator.space, outcome.run)


@eqx.filter_jit
def _log_density(conditional: Conditional, z: Float[Array, "n d"], data: Any) -> Float[Array, ""]:
    return jnp.mean(jax.vmap(lambda z, data: conditional.given(data).log_prob(z))(z, data))


def _built(builder: Any, key: PRNGKey, simulator: Any, pairs: Any) -> Conditional:
    key_pairs, key_build = jax.random.split(key)
    if isinstance(pairs, StoredPairs):
        return builder.build(key_build, pairs.z, pairs.data)
    z, data = simulations(key_pairs, simulator, PILOT)
    _check_finite(z, data)
    return builder.build(key_build, z, data)


def _stored(key: PRNGKey, simulator: Any, budget: int) -> SimulatedPairs:
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 100:
        raise InputError(f"budget must be a whole number of at least 100 simulations, got {budget!r}")
    z, data = simulations(key, simulator, budget)
    _check_finite(z, data)
    held = budget // 10
    pairs = StoredPairs(simulator.space, z[held:], jax.tree.map(lambda a: a[held:], data))
    kept: Any = SimulatedPairs
    return kept(pairs, (z[:held], jax.tree.map(lambda a: a[:held], data)))
