"""NumPyro programs as families: guides with discrete and continuous sites, and parameters that are trained."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Compiled, Density, InputError, PRNGKey, Space, Variable
from jensen.families._builders import Builder
from jensen.families._matching import Site, check_sites, read_sites
from jensen.families.gaussian import Gaussian
from jensen.targets._numpyro import Model

Values = dict[str, Any]
Choice = Callable[[str, Any, dict[str, Any]], Any]


class ProgramFamily(Density):
    """q(z) = prod_j q_j(x_j | x_1..x_{j-1}; theta) |dx/dz|: the law of the sites of a NumPyro program, a guide.

    z holds, for each unknown of the target, the unconstrained value of the site of that name, or the whole number that
    a discrete site drew. `parameters`: the unconstrained values of the guide's `numpyro.param` statements, by name:
    these alone are trained. `guide`: the program and its arguments. `space`: the target's unknowns.

    It is code, so that saving a posterior of it keeps draws. Cost: one run of the guide a draw or a density.
    """

    parameters: dict[str, Array]
    guide: Model
    space: Space

    @property
    def dimension(self) -> int:
        return self.space.dimension

    def visit(self, choose: Choice, key: PRNGKey | None = None) -> dict[str, Any]:
        """The guide's trace, where the value of each sample site is `choose(name, distribution, infer)`."""
        from jensen.targets._guides import Guide

        return self.guide.trace(lambda fn: Guide(fn, self.parameters, choose), key)

    def z_of(self, values: Values) -> Float[Array, " d"]:
        """z of the values of all sites."""
        return self.space.join({v.name: _unconstrain(v, values[v.name]) for v in self.space.variables})

    def log_terms(self, trace: dict[str, Any]) -> dict[str, Float[Array, ""]]:
        """log density of each unknown given those before it, with the log Jacobian of its coordinates of z."""
        real = jnp.result_type(float)
        terms = {}
        for v in self.space.variables:
            site = trace[v.name]
            term = jnp.sum(jnp.asarray(log_prob(site["fn"], site["value"]), real))
            if not v.support.discrete and v.support.kind != "real":
                u = _unconstrain(v, site["value"])
                term = term + jnp.sum(v.support.bijection().log_abs_det_jacobian(u, site["value"]))
            terms[v.name] = term
        return terms

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.sample_and_log_prob(key)[0]

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        values = self.space.constrain(z)
        trace = self.visit(lambda name, fn, infer: values[name])
        return sum(self.log_terms(trace).values(), start=jnp.zeros((), z.dtype))

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        key_sites, key_guide = jax.random.split(key)
        count = iter(range(10**9))

        def choose(name: str, fn: Any, infer: dict[str, Any]) -> Any:
            return fn.sample(jax.random.fold_in(key_sites, next(count)))

        trace = self.visit(choose, key_guide)
        z = self.z_of({v.name: trace[v.name]["value"] for v in self.space.variables})
        return z, sum(self.log_terms(trace).values(), start=jnp.zeros((), z.dtype))

    def partition(self) -> tuple["ProgramFamily", "ProgramFamily"]:
        """(the parameters, all else): data that the guide is called with are not trained."""
        nothing = jax.tree.map(lambda _: False, self)
        return eqx.partition(
            self, eqx.tree_at(lambda q: q.parameters, nothing, {name: True for name in self.parameters})
        )

    def config(self) -> dict[str, Any]:
        return {"dimension": self.dimension, "guide": self.guide.fn.__name__}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ProgramFamily":
        raise InputError("A guide is code and is not saved: the posterior's draws are")


def log_prob(fn: Any, value: Any) -> Array:
    """log density of a distribution, -inf outside its support; values between whole numbers are taken as they are."""
    import numpyro

    from jensen.targets._one_hot import relaxed_log_prob

    relaxed = fn.support.is_discrete and not jnp.issubdtype(jnp.result_type(value), jnp.integer)
    with numpyro.validation_enabled(False):  # it takes relaxed values for impossible ones
        if relaxed:
            return relaxed_log_prob(fn, value)
        return jnp.where(fn.support(value), fn.log_prob(value), -jnp.inf)


def _unconstrain(v: Variable, value: Any) -> Array:
    return v.support.unconstrain(jnp.asarray(value, jnp.result_type(float)))


class ProgramBuilder(Builder):
    """Makes the `ProgramFamily` of a guide for a target, with its parameters where the guide begins them."""

    guide: Model

    def family(self, key: PRNGKey, target: Any) -> ProgramFamily:
        """The family over the unknowns of `target`; `key` is for parameters whose initial values are functions."""
        return ProgramFamily(initial_parameters(self.guide, key), self.guide, target.space.plain())

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Density:
        raise InputError("A program must know the names of the target's unknowns: make it by family(key, target)")

    def build_for(self, key: PRNGKey, target: Any, gaussian: Gaussian) -> Density:
        return self.family(key, target)

    def check(self, target: Any) -> None:
        """Refuse a target whose unknowns the guide's sites do not match.

        Raises `InputError` that names sites which are missing or too many, whose shapes differ, whose supports do not
        lie in the target's, or that cannot have the estimator they ask for.
        """
        check_sites(self.sites(), target.space)

    @property
    def discrete(self) -> bool:
        """True: a program has a site for each unknown, whatever it is."""
        return True

    def sites(self) -> dict[str, Site]:
        """The guide's sample sites."""
        return read_sites(self.guide)


@Compiled
def initial_parameters(guide: Model, key: PRNGKey) -> dict[str, Array]:
    """The unconstrained initial values of the `param` statements; where these are functions, `key` is for them."""
    from numpyro.distributions import biject_to, constraints

    trace = guide.trace(lambda fn: fn, key)
    found = {}
    for name, site in trace.items():
        if site["type"] == "param":
            constraint = site["kwargs"].get("constraint", constraints.real)
            value = jnp.asarray(site["value"], jnp.result_type(float))
            found[name] = biject_to(constraint).inv(value)
    return found


def program(guide: Any, *args: Any, **kwargs: Any) -> ProgramBuilder:
    """A NumPyro program as a family: called as `guide(*args, **kwargs)`, it has a site for each unknown of the model.

    Sites may be discrete and continuous, in any order, each given those before it. What is trained are the
    `numpyro.param` statements, with their constraints. `infer={"estimator": ...}` at a site says how the gradient
    passes it (`gradient_estimators.sites`); the rest is left to `gradient_estimators.PerSite`. Array arguments are
    leaves: other data of the same shapes compile nothing. Pass it to `algorithms.GradientVI(family=program(guide))`.

    Raises `InputError` if the guide is not callable, fails to trace, observes, subsamples, or has no sample site or no
    parameter; as `GradientVI` meets the target, if the sites do not match (see `ProgramBuilder.check`).
    """
    if not callable(guide):
        raise InputError(f"guide must be a function with NumPyro sample statements, got {type(guide).__name__}")
    args, kwargs = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, (args, kwargs))
    built = ProgramBuilder(Model(guide, args, kwargs))
    name = getattr(guide, "__name__", "guide")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sites = built.sites()
            parameters = jax.eval_shape(lambda key: initial_parameters(built.guide, key), jax.random.key(0))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"The guide {name} fails when it is traced with these arguments: {type(error).__name__}: {error}"
        ) from error
    if not sites:
        raise InputError(f"The guide {name} has no sample site: give it one for each unknown of the model")
    if not parameters:
        raise InputError(f"The guide {name} has no numpyro.param statement: there is nothing to train")
    return built
