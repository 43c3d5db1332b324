"""Algorithms: anything that moves a state towards a posterior."""

import abc
import enum
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jensen.core.fields import Scalar
from jensen.core.posterior import Posterior
from jensen.core.random import PRNGKey
from jensen.core.space import Space


class StopCode(enum.IntEnum):
    """Why a run ended. An algorithm gives CONTINUE, CONVERGED, FAILED or STUCK; the loop adds the rest."""

    CONTINUE = 0
    CONVERGED = 1
    FAILED = 2
    STUCK = 3
    NON_FINITE = 4
    DIVERGED = 5
    STEPS = 6
    TIME = 7
    PLATEAU = 8
    INTERRUPTED = 9
    TERMINATED = 10

    @property
    def words(self) -> str:
        """The code as a sentence for people."""
        return _WORDS[self]


_WORDS = {
    StopCode.CONTINUE: "still running",
    StopCode.CONVERGED: "the algorithm met its own criterion of convergence",
    StopCode.FAILED: "the algorithm could not go on",
    StopCode.STUCK: "no further step was acceptable",
    StopCode.NON_FINITE: "NaN or infinity arose and smaller steps did not help; the best finite state was kept",
    StopCode.DIVERGED: "the objective rose far above its best value and smaller steps did not help; "
    "the best state was kept",
    StopCode.STEPS: "the limit of steps was reached",
    StopCode.TIME: "the time limit was reached",
    StopCode.PLATEAU: "the objective no longer improved beyond its noise",
    StopCode.INTERRUPTED: "interrupted from the keyboard; the state so far was kept",
    StopCode.TERMINATED: "stopped by SIGTERM; the state so far was kept",
}


class Clock(eqx.Module):
    """Where a run is: step `t` of `total`, both traced, so that schedules and phases compile once."""

    t: Int[Array, ""]
    total: Int[Array, ""]

    @property
    def fraction(self) -> Scalar:
        """t / total in [0, 1)."""
        return self.t / jnp.maximum(self.total, 1).astype(jnp.result_type(float))


class Step(eqx.Module):
    """What one step reports.

    `objective`: the value being made small (NaN where there is none). `residual`: the algorithm's own distance to being
    done (NaN where there is none). `stop`: a `StopCode`, 0 to go on. `draw`: a pytree with an array `z` of shape
    (chains, d) where the step yields draws, else None. `scalars`: named numbers for the history.
    """

    objective: Float[Array, ""]
    residual: Float[Array, ""]
    stop: Int[Array, ""]
    draw: Any
    scalars: dict[str, Array]


def make_step(
    objective: Any = jnp.nan, residual: Any = jnp.nan, stop: Any = 0, draw: Any = None, **scalars: Any
) -> Step:
    """A `Step` with fixed dtypes whatever is given (weak types would compile a second program)."""
    real = jnp.result_type(float)
    return Step(
        jnp.asarray(objective, real),
        jnp.asarray(residual, real),
        jnp.asarray(stop, jnp.int32),
        draw,
        {name: jnp.asarray(value, real) for name, value in scalars.items()},
    )


class Algorithm(eqx.Module):
    """An inference algorithm: settings as fields, no state, no key.

    `needs`: the capability of targets that it asks for (a class of `jensen.core`, or a tuple of them). `gives`: the
    class of posterior that comes out, which decides the checks that can certify it. `default_steps`: steps of a run
    where the user gives none. `exact`: whether unbiased estimates of the log density (minibatches) will not do.
    `discrete`: whether it takes targets with discrete unknowns.
    `brief`: whether a run takes some dozens of steps, so that compiling it in haste pays (see `Compiled`).
    `evaluations`: of the log density in a step of such a run, one after the other or at once.
    `cooldown`: the last part of a run, as a fraction of it, in which steps shrink; when a plateau is met earlier, the
    loop goes on to that part.
    `lanes`: the particles, chains or restarts that the state holds along leading axes, 0 where there are none: what a
    mesh of devices can share out.

    The state that `init` returns is an `eqx.Module` with the tree, dtypes and weak types that `step` keeps. `start` is
    a `Posterior` to begin from: the loop always passes one (at the least a `PointPosterior` of finite density).
    """

    needs: eqx.AbstractClassVar[Any]
    gives: eqx.AbstractClassVar[type]
    exact: ClassVar[bool] = True
    discrete: ClassVar[bool] = False
    brief: ClassVar[bool] = False

    @property
    def evaluations(self) -> int:
        """Evaluations of the log density, or of its derivatives, in a step."""
        return 1

    @property
    def cooldown(self) -> float:
        """Last fraction of a run in which steps shrink; 0 where they do not."""
        return 0.0

    @property
    def default_steps(self) -> int:
        """Number of steps that a run takes at most where none is given."""
        return 1000

    @property
    def lanes(self) -> int:
        """Length of the leading axes of the state that hold independent members: particles, chains, restarts."""
        return 0

    def check(self, target: Any) -> None:
        """Refuse at the door, before anything is traced, a target that the settings do not fit. Raises `InputError`."""

    @abc.abstractmethod
    def init(self, key: PRNGKey, target: Any, start: Posterior) -> Any:
        """The first state."""

    @abc.abstractmethod
    def step(self, key: PRNGKey, state: Any, target: Any, clock: Clock) -> tuple[Any, Step]:
        """One step."""

    @abc.abstractmethod
    def posterior(self, state: Any, draws: Any, space: Space) -> Posterior:
        """The posterior of a state and of the draws recorded on the way (leading axis steps), or None."""

    def cautious(self) -> "Algorithm | None":
        """This algorithm with a smaller step, for going on after NaN or divergence; None if it has none."""
        return None


class InTurns(Algorithm):
    """An algorithm whose step is a loop of unknown length, taken apart.

    Of many runs side by side none then needs to wait for the longest step of the others (`jensen.calibration`).

    A step is `open`, then `turn` while it is `going`, then `close`. A turn that is made when nothing is going any more
    must change nothing that `close` reads. Runs of it do not end before their last step.
    """

    @abc.abstractmethod
    def open(self, key: PRNGKey, state: Any, target: Any, clock: Clock) -> Any:
        """What a step begins with."""

    @abc.abstractmethod
    def turn(self, state: Any, under_way: Any, target: Any, clock: Clock, whole: bool = False) -> Any:
        """One turn of the step's loop.

        A turn of several rounds ends early where nothing is going any more, unless it is asked for `whole`: of many
        runs side by side, loops that each end by themselves would copy all that they hold.
        """

    @abc.abstractmethod
    def going(self, under_way: Any) -> Bool[Array, ""]:
        """Whether the step wants another turn."""

    @abc.abstractmethod
    def close(self, state: Any, under_way: Any, target: Any, clock: Clock) -> tuple[Any, Step]:
        """The state after the step, and what it reports."""

    def step(self, key: PRNGKey, state: Any, target: Any, clock: Clock) -> tuple[Any, Step]:
        first = self.open(key, state, target, clock)
        last = jax.lax.while_loop(lambda u: self.going(u), lambda u: self.turn(state, u, target, clock), first)
        return self.close(state, last, target, clock)
