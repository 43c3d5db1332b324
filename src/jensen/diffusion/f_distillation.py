"""Distil a diffusion model into a sampler of one step, by any f-divergence."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen._run import drive
from jensen.algorithms._descent import Moments, begin, descend, scheduled
from jensen.core import (
    Algorithm,
    Clock,
    DensityPosterior,
    InputError,
    Posterior,
    PRNGKey,
    Reparameterised,
    Run,
    Scalar,
    Space,
    Step,
    check_key,
    make_step,
    scalar_field,
)
from jensen.core.fields import check_count
from jensen.diffusion._teacher import Teacher
from jensen.diffusion.denoisers import NetworkDenoiser, network_denoiser
from jensen.diffusion.noise import NoiseLevels
from jensen.diffusion.ratio import RatioNetwork, ratio_network
from jensen.diffusion.score_matching import levels_for, matching_loss, some_rows
from jensen.objectives.generators import JENSEN_SHANNON, Generator
from jensen.progress import Progress


def path_weights(f: Generator, log_r: Float[Array, "levels draws"], most: Any) -> Float[Array, "levels draws"]:
    """h(r) = f''(r) r^2 over its mean at each noise level, with log r clipped to [-most, most].

    What tells divergences apart is which draws they weigh; the mean only sets the size of the step, and for h = r^2 it
    moves by orders of magnitude.
    """
    h = jax.vmap(jax.vmap(f.weight))(jnp.exp(jnp.clip(log_r, -most, most)))
    return h / jnp.mean(h, axis=1, keepdims=True)


class DistillationState(eqx.Module):
    """The student, the denoiser of its draws, the ratio of rows to draws, and Adam's moments of each."""

    student: Reparameterised
    denoiser: NetworkDenoiser
    ratio: RatioNetwork
    moments: tuple[Moments, Moments, Moments]


class FDistillation(Algorithm):
    """min over theta of sum over s of D_f(p_s || q_s): a student x = G_theta(z) that draws as a diffusion model does.

    p_s, q_s: the teacher's rows and the student's draws with noise s added. The gradient is

        grad D_f(p_s || q_s) = -E[h(r(y)) (grad log p_s(y) - grad log q_s(y)) dG_theta/dtheta],   h(r) = f''(r) r^2,

    y = G_theta(z) + s e, r = p_s / q_s. The score of p_s is the teacher's; that of q_s a denoiser's, trained on the
    student's draws as they come; r = D / (1 - D) by a discriminator D of rows and draws. h is divided by its mean at
    each level (`path_weights`), and levels are weighed by s^2, so that a draw moves by the difference of the two
    denoisers. Reverse KL (h = 1) is variational score distillation, and needs no discriminator. What is reported as the
    objective is E_q[f(r)] by the discriminator, the mean over levels, in nats where f has a logarithm.

    A step: `inner` times an update of denoiser and discriminator, then one of the student, each with `num_levels`
    levels of `num_draws` draws. A student that runs ahead of its denoiser diverges: take a smaller `learning_rate`, or
    more `inner`. For a target whose density is known take `objectives.FDivergence`, which is exact.

    Args:
        student: a family with `noise` and `from_noise`, no density wanted (`families.Implicit`), trained from where it
            is.
        denoiser: of the student's draws, from where it is: best a copy of the teacher.
        ratio: log p_s / q_s, from where it is.
        f: one of `objectives.generators`.
        levels: of noise.
        learning_rate: Adam's for the student; `fake_rate` for the two networks. Both with warm-up and a cosine at the
            end as in `GradientVI`.
        most: log r is clipped to [-most, most].

    Raises `InputError` for a target without a denoiser, a student of another dimension, an f that is no generator, or
    sizes below 1.

    Source: Xu, Nie and Vahdat (2025), One-step diffusion models with f-divergence distribution matching; reverse KL:
    Wang et al. (2023), Yin et al. (2024).
    """

    needs: ClassVar[Any] = Teacher
    gives: ClassVar[type] = DensityPosterior
    student: Any
    denoiser: NetworkDenoiser
    ratio: RatioNetwork
    f: Any = eqx.field(static=True, default=JENSEN_SHANNON)
    levels: NoiseLevels = NoiseLevels()
    learning_rate: Scalar = scalar_field(5e-4)
    fake_rate: Scalar = scalar_field(1e-3)
    warmup: Scalar = scalar_field(50.0)
    cooling: Scalar = scalar_field(0.5)
    clip: Scalar = scalar_field(10.0)
    most: Scalar = scalar_field(5.0)
    num_levels: int = eqx.field(static=True, default=8)
    num_draws: int = eqx.field(static=True, default=32)
    inner: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        if not isinstance(self.f, Generator):
            raise InputError(f"f must be one of objectives.generators, got {type(self.f).__name__}")
        if not (hasattr(self.student, "noise") and hasattr(self.student, "from_noise")):
            raise InputError(f"The student must have noise and from_noise; {type(self.student).__name__} has not")
        for name in ("num_levels", "num_draws", "inner"):
            check_count(name, getattr(self, name))

    def check(self, target: Any) -> None:
        if target.denoiser is None:
            raise InputError("The teacher has no denoiser: train one by jensen.diffusion.train_denoiser")
        if self.student.dimension != target.space.dimension:
            raise InputError(f"The student has dimension {self.student.dimension}, the rows {target.space.dimension}")

    def init(self, key: PRNGKey, target: Any, start: Posterior) -> DistillationState:
        parts = self.student, self.denoiser, self.ratio
        student, denoiser, ratio = (begin(part.partition()[0]) for part in parts)
        return DistillationState(*parts, (student, denoiser, ratio))

    def step(self, key: PRNGKey, state: DistillationState, target: Any, clock: Clock) -> tuple[DistillationState, Step]:
        key_fake, key_student = jax.random.split(key)
        rate = scheduled(clock, self.fake_rate, self.warmup, self.cooling)
        carried = state.denoiser, state.ratio, state.moments[1], state.moments[2]
        moving, still = eqx.partition(carried, eqx.is_array)

        def once(i: Array, moving: Any) -> Any:
            key = jax.random.fold_in(key_fake, i)
            carried = self._follow(key, state.student, target, eqx.combine(moving, still), rate)
            return eqx.filter(carried, eqx.is_array)

        moving = jax.lax.fori_loop(0, self.inner, once, moving)
        denoiser, ratio, of_denoiser, of_ratio = eqx.combine(moving, still)
        trainable, rest = state.student.partition()

        def surrogate(trainable: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
            return self.surrogate(key_student, eqx.combine(trainable, rest), denoiser, ratio, target)

        gradient, value = jax.grad(surrogate, has_aux=True)(trainable)
        rate = scheduled(clock, self.learning_rate, self.warmup, self.cooling)
        moved, of_student, length = descend(trainable, gradient, value, state.moments[0], rate, self.clip)
        after = DistillationState(eqx.combine(moved, rest), denoiser, ratio, (of_student, of_denoiser, of_ratio))
        return after, make_step(value, gradient_norm=length)

    def surrogate(
        self, key: PRNGKey, student: Any, denoiser: Any, ratio: Any, target: Any
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """(a scalar with the gradient of the sum over levels, E_q[f(r)]) by fresh draws of the student.

        `denoiser` and `ratio` may be exact ones: anything that is called with (y, s).
        """
        x, y, s = self._draw(key, student)
        still = jax.lax.stop_gradient(y)
        over = lambda g: jax.vmap(jax.vmap(g, (0, None)))(still, s)  # noqa: E731
        log_r = over(ratio)
        difference = over(denoiser) - over(target.denoiser)
        weights = path_weights(self.f, log_r, self.most)[..., None]
        value = jnp.mean(jax.vmap(jax.vmap(self.f.of_log))(jnp.clip(log_r, -self.most, self.most)))
        return jnp.mean(jnp.sum(jax.lax.stop_gradient(weights * difference) * x, -1)), jax.lax.stop_gradient(value)

    def _draw(self, key: PRNGKey, student: Any) -> tuple[Array, Array, Array]:
        """(draws, draws with noise, levels): leading axes levels and draws."""
        key_draws, key_noise, key_levels = jax.random.split(key, 3)
        shape = self.num_levels, self.num_draws
        keys = jax.random.split(key_draws, shape)
        x = jax.vmap(jax.vmap(lambda k: student.from_noise(student.noise(k))))(keys)
        s = self.levels.draw(key_levels, self.num_levels).astype(x.dtype)
        return x, x + s[:, None, None] * jax.random.normal(key_noise, x.shape, x.dtype), s

    def _follow(self, key: PRNGKey, student: Any, target: Any, carried: Any, rate: Scalar) -> Any:
        """One update of the denoiser of the student's draws, and of the ratio."""
        denoiser, ratio, of_denoiser, of_ratio = carried
        key_draws, key_rows, key_noise = jax.random.split(key, 3)
        x, y, levels = self._draw(key_draws, student)
        d = x.shape[-1]
        s = jnp.repeat(levels, self.num_draws)
        x, y = x.reshape(-1, d), y.reshape(-1, d)
        rows = some_rows(key_rows, target.data, len(x))
        noised = rows + s[:, None] * jax.random.normal(key_noise, x.shape, x.dtype)
        out = []
        losses = (lambda part: matching_loss(part, x, y, s)), (lambda part: part.loss(noised, y, s))
        for part, moments, loss in zip((denoiser, ratio), (of_denoiser, of_ratio), losses, strict=True):
            trainable, rest = part.partition()
            value, gradient = jax.value_and_grad(lambda t, rest=rest, loss=loss: loss(eqx.combine(t, rest)))(trainable)
            moved, after, _ = descend(trainable, gradient, value, moments, rate, self.clip)
            out.append((eqx.combine(moved, rest), after))
        return out[0][0], out[1][0], out[0][1], out[1][1]

    def posterior(self, state: DistillationState, draws: Any, space: Space) -> DensityPosterior:
        return DensityPosterior(space, state.student)

    def cautious(self) -> "FDistillation":
        return eqx.tree_at(lambda a: a.learning_rate, self, 0.5 * self.learning_rate)


class Distilled(eqx.Module):
    """A student of one step, and the run; `run.history.objective` is the divergence by the discriminator."""

    student: Any
    run: Run


def distil(
    key: PRNGKey,
    student: Any,
    target: Teacher,
    *,
    f: Any = JENSEN_SHANNON,
    levels: NoiseLevels | None = None,
    steps: int = 3000,
    learning_rate: float = 5e-4,
    fake_rate: float = 1e-3,
    inner: int = 2,
    num_levels: int = 8,
    num_draws: int = 32,
    width: int = 128,
    depth: int = 2,
    progress: bool | Progress | None = None,
) -> Distilled:
    """Train a sampler of one step on a diffusion model by `FDistillation`, its networks set up for the rows.

    The student's denoiser begins as the teacher where that is a `NetworkDenoiser`, else as a new one.

    Args:
        key: a typed JAX key; the same key gives the same result, bit for bit.
        student: a family, trained from where it is: `families.ImplicitBuilder(...).build(key, gaussian)` of the rows'
            moments, say.
        target: `diffusion.teacher(X, denoiser)`.
        f: the divergence.
        levels: of noise; from a fiftieth of the rows' spread to ten times of it where None.
        steps: of the student.
        learning_rate: of the student.
        fake_rate: of its denoiser and of the discriminator.
        inner: updates of these before one of the student.
        num_levels: of noise a step.
        num_draws: of the student at each level.
        width: of the hidden layers of new networks.
        depth: number of their hidden layers.
        progress: show a bar; only on a terminal where None.

    Raises `InputError` as `FDistillation` does, and for rates that are not positive.
    """
    check_key(key)
    if not (learning_rate > 0 and fake_rate > 0):
        raise InputError(f"learning_rate and fake_rate must be positive, got {learning_rate} and {fake_rate}")
    key_denoiser, key_ratio, key_run = jax.random.split(key, 3)
    own: Any = target.denoiser
    if not isinstance(own, NetworkDenoiser):
        own = network_denoiser(key_denoiser, target.data, width, depth)
    ratio = ratio_network(key_ratio, target.data, width, depth)
    levels = levels_for(own) if levels is None else levels
    made: Any = FDistillation
    algorithm = made(
        student,
        own,
        ratio,
        f,
        levels,
        learning_rate,
        fake_rate,
        num_levels=num_levels,
        num_draws=num_draws,
        inner=inner,
    )
    outcome = drive(algorithm, target, key=key_run, steps=steps, start=target.beginning(), progress=progress)
    posterior: Any = outcome.posterior
    return Distilled(posterior.q, outcome.run)
