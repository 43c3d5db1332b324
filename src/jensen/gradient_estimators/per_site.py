"""The gradient of an expectation under a program, site by site."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Estimate, GradientEstimator, InputError, PRNGKey, spread
from jensen.families.program import ProgramFamily
from jensen.gradient_estimators._draws import Evaluated, Function, check_num_draws, standard_error
from jensen.gradient_estimators._replicated import Replicated, check_family
from jensen.gradient_estimators.sites import (
    Branching,
    Draw,
    Enumeration,
    Reparameterised,
    ScoreFunction,
    SiteEstimator,
    StickingTheLanding,
)
from jensen.gradient_estimators.sites.enumeration import MAX_VALUES, size_of, too_many

_AXIS = "draws"
_LITTLE = 64  # values up to which a site that asks for nothing is enumerated
_fixed = jax.lax.stop_gradient

Pair = tuple[Float[Array, ""], Float[Array, ""]]


class PerSite(GradientEstimator):
    """grad E_q[f] = grad E_{x_1}[E_{x_2 | x_1}[...]], q a program: each site by the estimator that it asks for.

    Every site's estimator sees the rest of the program as a function of its value (a continuation), with a value and a
    surrogate for its gradient; so any estimators go together, and the sum is unbiased if each is. A site that asks for
    nothing is `Reparameterised` where it can be, `Enumeration` where that takes at most 64 values in all, else
    `ScoreFunction`. Score-function and rejection sites subtract the mean cost of the other draws. Takes objectives of K
    draws (`ImportanceWeighted`).

    `num_draws`: runs of the program; `Enumeration` and `MeasureValued` sites multiply the runs of what comes after
    them. Unbiased but for `GumbelSoftmax` sites, and `StickingTheLanding` sites under objectives other than the
    negative ELBO.

    Raises `InputError` for a family that is no program, a site that cannot have its estimator (named), enumerations of
    more than 4,096 values in all, or sticking-the-landing sites in an objective of several draws.

    Source: Lew, Huot, Staton and Mansinghka (2023); Becker et al. (2024); Schulman, Heess, Weber and Abbeel (2015).
    """

    needs: ClassVar[type] = ProgramFamily
    num_draws: int = eqx.field(static=True, default=16)

    def __check_init__(self):
        check_num_draws(self.num_draws)

    def expectation(self, key: PRNGKey, q: Any, f: Function) -> Estimate:
        check_family(self, q)
        walk = _Walk(q, f, self.num_draws)
        keys = spread(jax.random.split(key, self.num_draws))
        values, surrogates = jax.vmap(lambda k: walk.copy(k, (), 1.0), axis_name=_AXIS)(keys)
        return Estimate(jnp.mean(_fixed(values)), jnp.mean(surrogates), standard_error(_fixed(values)))


class _Reached(Exception):
    """Ends a run of the program at a site that branches; it carries what the site needs."""

    def __init__(self, name: str, fn: Any, estimator: Branching, seen: dict[str, Draw]):
        self.name, self.fn, self.estimator, self.seen = name, fn, estimator, seen


class _Walk:
    """One way through the copies of a program and through each of its sites, branching where a site asks for it.

    Lives inside one trace. `copies`: the program is run so many times for one value of f.
    """

    def __init__(self, q: Any, f: Function, num_draws: int):
        self.all, self.f, self.num_draws = q, f, num_draws
        self.q, self.copies = (q.q, q.num) if isinstance(q, Replicated) else (q, 1)
        self.order = {}

    def copy(self, key: PRNGKey, done: tuple[tuple[Array, Array], ...], runs: float) -> Pair:
        """(value, surrogate) of f once the copies after `done`, (z, log q) each, are run."""
        if len(done) == self.copies:
            z = jnp.concatenate([z for z, _ in done]) if self.copies > 1 else done[0][0]
            value = self.f(Evaluated(self.all, z, jnp.stack([log_q for _, log_q in done])), z)
            return value, value
        key_sites, key_rest = jax.random.split(key)
        return self.sites(key_sites, key_rest, {}, done, runs)

    def sites(
        self, key: PRNGKey, key_rest: PRNGKey, given: dict[str, Any], done: tuple[tuple[Array, Array], ...], runs: float
    ) -> Pair:
        """(value, surrogate) of the rest, the sites `given` having their values."""
        drawn: dict[str, Draw] = {}
        sticking: list[str] = []

        def choose(name: str, fn: Any, infer: dict[str, Any]) -> Any:
            estimator = self.estimator(name, fn, infer, runs)
            if isinstance(estimator, StickingTheLanding):
                sticking.append(name)
            if name in given:
                return given[name]
            if isinstance(estimator, Branching):
                raise _Reached(name, fn, estimator, drawn)
            drawn[name] = estimator.draw(self.key_of(key, name), fn)
            return drawn[name].value

        try:
            trace = self.q.visit(choose)
        except _Reached as at:
            before = given | {name: draw.value for name, draw in drawn.items()}
            more = runs * at.estimator.size(at.fn)
            if isinstance(at.estimator, Enumeration) and more > MAX_VALUES:
                raise too_many(at.name, more) from None

            def go(x: Any, key: PRNGKey) -> Pair:
                key_sites, key_rest = jax.random.split(key)
                return self.sites(key_sites, key_rest, before | {at.name: x}, done, more)

            value, surrogate = at.estimator.branch(self.key_of(key, at.name), at.fn, go)
        else:
            values = {v.name: trace[v.name]["value"] for v in self.q.space.variables}
            terms = self.q.log_terms(trace)
            if sticking:
                terms |= self.stuck(values, sticking)
            pair = self.q.z_of(values), jnp.sum(jnp.stack(list(terms.values())))
            value, surrogate = self.copy(key_rest, (*done, pair), runs)
        return value, surrogate + self.corrections(value, drawn)

    def corrections(self, value: Float[Array, ""], drawn: dict[str, Draw]) -> Float[Array, ""]:
        """What the surrogate needs besides the path: (C - b) weight of each site, and the training of its baseline."""
        cost = _fixed(value)
        others = cost
        if self.num_draws > 1:
            others = (jax.lax.psum(cost, _AXIS) - cost) / (self.num_draws - 1)
        total = jnp.zeros_like(cost)
        for draw in drawn.values():
            if draw.weight is None:
                continue
            if draw.baseline is None:
                baseline = others if self.num_draws > 1 else 0.0
            else:
                baseline = _fixed(draw.baseline)
                total = total + 0.5 * (cost - draw.baseline) ** 2
            total = total + (cost - baseline) * draw.weight
        return total

    def stuck(self, values: dict[str, Any], names: list[str]) -> dict[str, Float[Array, ""]]:
        """log q of the sites `names` with the parameters held constant, but for what runs through earlier draws."""
        if self.copies > 1:
            raise InputError(
                f"StickingTheLanding at site {names[0]!r} is biased for objectives of many draws: use Reparameterised"
            )
        still = _fixed(self.q)
        terms = still.log_terms(still.visit(lambda name, fn, infer: values[name]))
        return {name: terms[name] for name in names}

    def estimator(self, name: str, fn: Any, infer: dict[str, Any], runs: float) -> Any:
        """The estimator that a site asks for, or the one that suits it."""
        asked = infer.get("estimator")
        if asked is not None:
            if not isinstance(asked, SiteEstimator):
                raise InputError(
                    f"The estimator of site {name!r} must be one of jensen.gradient_estimators.sites, got "
                    f"{type(asked).__name__}"
                )
            asked.check(name, fn)
            return asked
        if fn.support.is_discrete:
            return Enumeration() if runs * size_of(fn) <= _LITTLE else ScoreFunction()
        return Reparameterised() if fn.has_rsample else ScoreFunction()

    def key_of(self, key: PRNGKey, name: str) -> PRNGKey:
        return jax.random.fold_in(key, self.order.setdefault(name, len(self.order)))
