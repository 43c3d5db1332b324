"""Models that can be simulated: pairs of unknowns and data from their joint distribution."""

import abc
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Space, Support, Target, UnknownName, Variable


class Simulator(eqx.Module):
    """A joint distribution p(z, data) that can be drawn from: what calibration and amortised inference ask for.

    z in R^d are the unconstrained coordinates of `space`. Data are a PyTree of arrays whose shapes do not depend on the
    draw (a set of varying size carries a mask).
    """

    space: eqx.AbstractVar[Space]

    @abc.abstractmethod
    def simulate(self, key: PRNGKey) -> tuple[Float[Array, " d"], Any]:
        """(z, data): z from the prior, data from the model at z."""

    def condition(self, data: Any) -> Target:
        """The posterior of `data` as a target.

        Raises `InputError` where the likelihood is not known, only its simulator.
        """
        raise InputError(
            f"{type(self).__name__} has no density, so that its posterior is no target: train an amortised posterior "
            "(jensen.amortised.amortise), or give its log density to from_simulator"
        )


class Joint(Target):
    """log p(z, data) for fixed data: log_joint(x(z), data) + log |dx/dz|."""

    space: Space
    log_joint: Callable[..., Any] = eqx.field(static=True)
    data: Any

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        parts = self.space.split(z)
        x = {v.name: v.support.constrain(parts[v.name]) for v in self.space.variables}
        jacobian = jnp.zeros((), z.dtype)
        for v in self.space.variables:
            if v.support.kind != "real":
                bijection = v.support.bijection()
                jacobian = jacobian + jnp.sum(bijection.log_abs_det_jacobian(parts[v.name], x[v.name]))
        return jnp.asarray(self.log_joint(x, self.data), z.dtype) + jacobian


class FunctionSimulator(Simulator):
    """z = unconstrain(x), x = prior(key), data = model(key', x), for two functions that are static."""

    space: Space
    prior: Callable[..., Any] = eqx.field(static=True)
    model: Callable[..., Any] = eqx.field(static=True)
    log_joint: Callable[..., Any] | None = eqx.field(static=True, default=None)

    def simulate(self, key: PRNGKey) -> tuple[Float[Array, " d"], Any]:
        key_prior, key_model = jax.random.split(key)
        x = self.prior(key_prior)
        return self.space.unconstrain(x), self.model(key_model, x)

    def condition(self, data: Any) -> Target:
        if self.log_joint is None:
            return super().condition(data)
        return Joint(self.space, self.log_joint, data)


def from_simulator(
    prior: Any,
    model: Any,
    supports: Mapping[str, Support] | None = None,
    log_joint: Any = None,
) -> FunctionSimulator:
    """A simulator from two functions.

    Args:
        prior: `prior(key) -> dict` of arrays by name of unknown, drawn from the prior.
        model: `model(key, x) -> data`, a PyTree of arrays drawn from the model at the unknowns `x`.
        supports: the set that an unknown lies in, by name; the real line where none is given.
        log_joint: `log_joint(x, data) -> scalar`, log p(x, data) in the coordinates of x, where it is known; with it
            `condition(data)` gives a target.

    Raises `InputError` if a function is not callable, does not return what is said here, or `supports` names what is
    no unknown. The functions are traced abstractly; nothing is computed.
    """
    for name, fn in (("prior", prior), ("model", model), ("log_joint", log_joint)):
        if fn is not None and not callable(fn):
            raise InputError(f"{name} must be a function, got {type(fn).__name__}")
    key = jax.eval_shape(lambda: jax.random.key(0))
    drawn = _shapes("prior", prior, key)
    if not isinstance(drawn, dict) or not drawn:
        raise InputError(f"prior(key) must return a dict of arrays by name, got {type(drawn).__name__}")
    supports = supports or {}
    for name in supports:
        if name not in drawn:
            raise UnknownName("unknown of the prior", name, drawn)
    given = {name: supports[name] for name in supports}
    variables = [
        Variable(n, tuple(a.shape), given[n]) if n in given else Variable(n, a.shape) for n, a in drawn.items()
    ]
    data = _shapes("model", model, key, drawn)
    if not jax.tree.leaves(data):
        raise InputError("model(key, x) must return a PyTree of at least one array: there are no data")
    if log_joint is not None:
        out = _shapes("log_joint", log_joint, drawn, data)
        if getattr(out, "shape", None) != ():
            raise InputError(f"log_joint(x, data) must return a scalar, got shape {getattr(out, 'shape', None)}")
    return FunctionSimulator(Space(tuple(variables)), prior, model, log_joint)


def _shapes(name: str, fn: Callable[..., Any], *args: Any) -> Any:
    try:
        return eqx.filter_eval_shape(fn, *args)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"{name} fails when it is traced: {type(error).__name__}: {error}") from error
