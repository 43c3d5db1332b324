"""Learn a denoiser from rows."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jensen._run import drive
from jensen.algorithms._descent import begin, descend, scheduled
from jensen.core import (
    Algorithm,
    Clock,
    InputError,
    PointPosterior,
    Posterior,
    PRNGKey,
    Run,
    Scalar,
    Space,
    Step,
    check_key,
    make_step,
    scalar_field,
)
from jensen.core.fields import check_count
from jensen.diffusion._teacher import Teacher, teacher
from jensen.diffusion.denoisers import NetworkDenoiser, network_denoiser
from jensen.diffusion.noise import NoiseLevels
from jensen.progress import Progress


class DenoiserState(eqx.Module):
    """The denoiser, Adam's moments, the running norm of its gradients and the number of steps skipped in a row."""

    denoiser: NetworkDenoiser
    adam: Any
    norm: Float[Array, ""]
    skipped: Int[Array, ""]


def matching_loss(
    denoiser: NetworkDenoiser, x: Float[Array, "n d"], y: Float[Array, "n d"], s: Float[Array, " n"]
) -> Float[Array, ""]:
    """Mean over rows and values of (s^2 + v^2) / (s v)^2 (D(y, s) - x)^2, y = x + s e: about one where D knows nothing.

    Its minimum over D is E[x | y] at every s, whatever the weights; these make the network's error count alike.
    """
    weights = (s**2 + denoiser.spread**2) / (s * denoiser.spread) ** 2
    misses = jax.vmap(denoiser)(y, s) - x
    return jnp.mean(weights[:, None] * misses**2)


class DenoisingScoreMatching(Algorithm):
    """D = argmin E_{x, s, e}[lambda(s) |D(x + s e, s) - x|^2]: it becomes E[x | x + s e], and its score that of p_s.

    Rows are drawn with replacement from a `Teacher` target's, `batch_size` a step, each with a level and noise of its
    own. What comes out is the rows' mean as a point, with the denoiser as `conditional`; it certifies nothing.

    `denoiser`: a `NetworkDenoiser`, trained from where it is. `levels`: of noise. `learning_rate`: Adam's, with warm-up
    and a cosine at the end as in `GradientVI`.

    Source: Vincent (2011), A connection between score matching and denoising autoencoders; the weights: Karras,
    Aittala, Aila and Laine (2022).
    """

    needs: ClassVar[Any] = Teacher
    gives: ClassVar[type] = PointPosterior
    denoiser: NetworkDenoiser
    levels: NoiseLevels = NoiseLevels()
    batch_size: int = eqx.field(static=True, default=256)
    learning_rate: Scalar = scalar_field(1e-3)
    warmup: Scalar = scalar_field(50.0)
    cooling: Scalar = scalar_field(0.5)
    clip: Scalar = scalar_field(10.0)

    def __check_init__(self):
        check_count("batch_size", self.batch_size)

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> DenoiserState:
        return DenoiserState(self.denoiser, *begin(self.denoiser.partition()[0]))

    def step(self, key: PRNGKey, state: DenoiserState, target: Any, clock: Clock) -> tuple[DenoiserState, Step]:
        key_rows, key_levels, key_noise = jax.random.split(key, 3)
        x = some_rows(key_rows, target.data, self.batch_size)
        s = self.levels.draw(key_levels, self.batch_size).astype(x.dtype)
        y = x + s[:, None] * jax.random.normal(key_noise, x.shape, x.dtype)
        trainable, rest = state.denoiser.partition()
        value, gradient = jax.value_and_grad(lambda d: matching_loss(eqx.combine(d, rest), x, y, s))(trainable)
        rate = scheduled(clock, self.learning_rate, self.warmup, self.cooling)
        moments = state.adam, state.norm, state.skipped
        moved, moments, length = descend(trainable, gradient, value, moments, rate, self.clip)
        return DenoiserState(eqx.combine(moved, rest), *moments), make_step(value, gradient_norm=length)

    def posterior(self, state: DenoiserState, draws: Any, space: Space) -> PointPosterior:
        return PointPosterior(space, state.denoiser.centre, conditional=state.denoiser)


def some_rows(key: PRNGKey, data: Float[Array, "rows d"], n: int) -> Float[Array, "n d"]:
    """`n` rows drawn with replacement."""
    return data[jax.random.randint(key, (n,), 0, data.shape[0])]


class TrainedDenoiser(eqx.Module):
    """A denoiser that was learned, and the run that learned it."""

    denoiser: NetworkDenoiser
    run: Run


def train_denoiser(
    key: PRNGKey,
    X: Any,
    *,
    levels: NoiseLevels | None = None,
    width: int = 128,
    depth: int = 2,
    steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    progress: bool | Progress | None = None,
) -> TrainedDenoiser:
    """A diffusion model of rows: a `NetworkDenoiser` by `DenoisingScoreMatching`.

    Args:
        key: a typed JAX key; the same key gives the same result, bit for bit.
        X: finite rows, shape (rows, values).
        levels: of noise; from a fiftieth of the rows' spread to ten times of it where None.
        width: of the hidden layers.
        depth: number of hidden layers.
        steps: of Adam.
        batch_size: rows a step.
        learning_rate: Adam's.
        progress: show a bar; only on a terminal where None.

    A perceptron: for rows of up to some hundred values. Raises `InputError` for rows that are no finite matrix, sizes
    below 1 or a rate that is not positive.
    """
    check_key(key)
    if not learning_rate > 0:
        raise InputError(f"learning_rate must be positive, got {learning_rate}")
    target = teacher(X)
    key_init, key_run = jax.random.split(key)
    denoiser = network_denoiser(key_init, target.data, width, depth)
    levels = levels_for(denoiser) if levels is None else levels
    algorithm: Any = DenoisingScoreMatching(denoiser, levels, batch_size, learning_rate)
    outcome = drive(algorithm, target, key=key_run, steps=steps, start=target.beginning(), progress=progress)
    posterior: Any = outcome.posterior
    return TrainedDenoiser(posterior.conditional, outcome.run)


def levels_for(denoiser: NetworkDenoiser) -> NoiseLevels:
    """From a fiftieth of the rows' spread to ten times of it."""
    return NoiseLevels(0.02 * denoiser.spread, 10.0 * denoiser.spread)
