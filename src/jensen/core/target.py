"""The target p: an unnormalised log density on a space, and what a target may offer beyond it."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from typing_extensions import Protocol, runtime_checkable  # typing's evaluates properties of an instance before 3.12

from jensen.core.errors import MissingCapability
from jensen.core.random import PRNGKey
from jensen.core.remembered import Remembered
from jensen.core.space import Space

_FULFILLED: dict[type, Remembered] = {}  # beside the protocols: what a class holds counts as a part of its protocol


class _Offer(type(Protocol)):
    """The class of protocols that a loop asks for again and again: each object is looked through once."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls not in _FULFILLED:
            _FULFILLED[cls] = Remembered(super().__instancecheck__)
        return _FULFILLED[cls](instance)


class Target(eqx.Module):
    """An unnormalised posterior p: log density over z in R^d, the unconstrained coordinates of its space.

    `log_density(z)` = log p(x(z), data) + log |dx/dz| in nats. Data are array leaves, model functions are static, so
    that a target with other data of the same shapes runs the same compiled programs.
    """

    space: eqx.AbstractVar[Space]

    @abc.abstractmethod
    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        """Unnormalised log density at z, in nats. NaN or -inf outside the support of p."""

    def start(self, key: PRNGKey) -> Float[Array, " d"]:
        """A point to start from: uniform on (-2, 2)^d, as Stan does, for priors need not be samplable.

        Discrete unknowns are uniform over their support, counts over the four smallest.
        """
        z = jax.random.uniform(key, (self.space.dimension,), jnp.result_type(float), -2.0, 2.0)
        if not self.space.discrete_names:
            return z
        parts = self.space.split(z)
        for v in self.space.variables:
            if v.support.discrete:
                parts[v.name] = v.support.spread((parts[v.name] + 2.0) / 4.0)
        return self.space.join(parts)

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        """Data drawn from the model at z, a dict; empty where the target cannot generate data."""
        return {}

    def observed(self) -> dict[str, Array]:
        """The observed data under the names that `predict` uses; empty where the target does not know them."""
        return {}

    def diagnose(self, z: Float[Array, " d"]) -> str:
        """Words on why the log density at z is not finite (which site), for an error message; slow, never traced."""
        return ""


@runtime_checkable
class LogDensity(Protocol, metaclass=_Offer):
    """Offers `log_density(z)`: every target does, except those of which only minibatches can be seen."""

    def log_density(self, z: Any) -> Any: ...


@runtime_checkable
class Rows(Protocol, metaclass=_Offer):
    """Offers conditionally independent rows: log p(z, data) = log_prior(z) + sum over rows of log_likelihood(z).

    `minibatch(rows)` is the same target seen through the rows with these indices: its `log_density` scales the
    likelihood by N/B, so that its expectation over uniformly drawn rows is the full log density.
    """

    num_rows: int

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]: ...

    def log_likelihood(self, z: Float[Array, " d"]) -> Float[Array, " batch"]: ...

    def minibatch(self, rows: Int[Array, " batch"]) -> Target: ...


@runtime_checkable
class Locals(Protocol, metaclass=_Offer):
    """Offers rows with latent variables of their own: log p(z, u, data) = log_prior(z) + sum_i log p(x_i, u_i | z).

    z are the unknowns of the target's space, shared by all rows (the weights of a decoder), u_i the latents of row i.
    `data`: the rows held, a PyTree with a leading axis. `local(z, row)`: the target of one row's latents, with log
    density log p(x_i, u | z), whose evidence is log p(x_i | z). `minibatch(rows)`: the same target with these rows
    alone; who sums over them scales by num_rows / rows held.
    """

    num_rows: int
    data: Any

    def log_prior(self, z: Float[Array, " d"]) -> Float[Array, ""]: ...

    def local(self, z: Float[Array, " d"], row: Any) -> Target: ...

    def minibatch(self, rows: Int[Array, " batch"]) -> Target: ...


@runtime_checkable
class Noisy(Protocol, metaclass=_Offer):
    """Offers `realise(key)`: a target whose log density is an unbiased estimate of that of `exact` (minibatches).

    The loop draws a realisation a step, so that an algorithm does not know that minibatches exist.
    """

    @property
    def exact(self) -> Target: ...

    def realise(self, key: PRNGKey) -> Target: ...


@runtime_checkable
class NoisyInOrder(Noisy, Protocol):
    """Offers `realise_at(stream, t)` too, which the loop asks for step t instead: for rows in an order over steps."""

    def realise_at(self, stream: PRNGKey, t: Int[Array, ""]) -> Target: ...


@runtime_checkable
class Fed(Protocol, metaclass=_Offer):
    """Offers `fed_at(stream, t)`: the target of step t, from what was read beforehand for some steps around t.

    `template`: the target of some rows; `columns` and `weights`: those of the steps, leading axes (steps, rows);
    `processes`: how many have parts of these rows.
    """

    template: Any
    columns: Any
    weights: Any
    processes: int

    def fed_at(self, stream: PRNGKey, t: Int[Array, ""]) -> Target: ...


@runtime_checkable
class Streams(Protocol, metaclass=_Offer):
    """A noisy target that is not in memory: the loop asks it to `feed` the steps of a chunk before it runs them.

    `feed_length`: at most so many at a time. `processes`: that read rows of their own. `step_rows`: of a batch, over
    all of them, those that only fill up included. `first`: the target through some rows, which stands for the exact one
    where a run begins. `rest()`: nothing more will be asked for.
    """

    feed_length: int
    processes: int
    step_rows: int

    @property
    def first(self) -> Target: ...

    def feed(self, stream: PRNGKey, t: int, until: int, size: int, then: int = 0) -> Fed: ...

    def rest(self) -> None: ...


@runtime_checkable
class InPasses(Protocol, metaclass=_Offer):
    """The exact density of rows that are not in memory, had on the host by passes over all of them and never traced.

    `log_densities(z)`: at n points; `curvatures(z)`: gradients and Hessians too. `some`: the target through some rows,
    in memory, with their log likelihood scaled to all.
    """

    @property
    def some(self) -> Target: ...

    def log_densities(self, z: Any) -> Any: ...

    def curvatures(self, z: Any) -> Any: ...


def beginning(target: Any) -> Any:
    """The target that an algorithm's first state is made from: the exact one, or what there is of it in memory."""
    if isinstance(target, Streams):
        return target.first
    return target.exact if isinstance(target, Noisy) else target


def check_needs(algorithm: Any, target: Any) -> None:
    """Refuse at the door a target that lacks what `algorithm` needs. Raises `MissingCapability`."""
    needs = algorithm.needs if isinstance(algorithm.needs, tuple) else (algorithm.needs,)
    if isinstance(target, Noisy):
        if algorithm.exact:
            raise MissingCapability(
                f"{type(algorithm).__name__} needs the exact log density, and {type(target).__name__} gives estimates "
                "of it: pass the target itself, or use a method that takes minibatches (`jensen methods`)"
            )
        target = beginning(target)
    if not isinstance(target, Target):
        raise MissingCapability(
            f"A target is wanted, got {type(target).__name__}: make one by jensen.targets.from_numpyro, "
            "from_log_density, from_formula or posteriordb"
        )
    for need in needs:
        if not isinstance(target, need):
            raise MissingCapability(
                f"{type(algorithm).__name__} needs a target that offers {need.__name__}, and {type(target).__name__} "
                f"does not. {need.__name__}: {(need.__doc__ or '').strip().splitlines()[0]}"
            )
    if target.space.discrete_names and not algorithm.discrete:
        raise MissingCapability(
            f"{type(algorithm).__name__} works on R^d, and {', '.join(map(repr, target.space.discrete_names))} of the "
            "target is discrete: sum it out with jensen.targets.Enumerated(target), or use "
            "GradientVI(family=jensen.families.program(guide)) with a guide for it"
        )
    algorithm.check(target)


def finite_starts(
    key: PRNGKey, target: Any, num: int, tries: int = 8
) -> tuple[Float[Array, "num d"], Float[Array, " num"], Bool[Array, ""]]:
    """`num` starting points and their log densities: the best of `num * tries` draws of `target.start`, best first.

    The flag says whether any was finite; places beyond the finite ones repeat the best.
    """
    draws = jax.vmap(target.start)(jax.random.split(key, num * tries))
    values = jax.lax.map(target.log_density, draws, batch_size=num)
    values = jnp.where(jnp.isfinite(values), values, -jnp.inf)
    order = jnp.argsort(-values)[:num]
    order = jnp.where(jnp.isfinite(values[order]), order, order[0])
    return draws[order], values[order], jnp.isfinite(values[order[0]])
