"""NumPyro models as targets."""

import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jensen.core import InputError, PRNGKey, Program, Space, Target, Variable
from jensen.targets._supports import from_constraint


class Model(eqx.Module):
    """A NumPyro model with its arguments: arrays are leaves, the function and all else static.

    `plates` are the model's subsampled plates with their full sizes: unless `rows` says otherwise they see all rows.
    `relaxed`: whether discrete sites take the values that z holds for them as they are, not rounded.
    """

    fn: Callable[..., Any] = eqx.field(static=True)
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    plates: tuple[tuple[str, int], ...] = eqx.field(static=True, default=())
    rows: dict[str, Int[Array, " batch"]] = eqx.field(default_factory=dict)
    relaxed: bool = eqx.field(static=True, default=False)

    def plate_indices(self) -> dict[str, Any]:
        """Indices that each subsampled plate sees."""
        return {name: self.rows.get(name, jnp.arange(size)) for name, size in self.plates}

    def trace(self, wrap: Callable[[Any], Any], key: PRNGKey | None = None) -> dict[str, Any]:
        """The model's trace with `wrap(fn)` in place of its function; free sites are drawn with `key`.

        Without a key nothing may be left to chance: a constant one serves sites whose draw is replaced anyway.
        """
        import numpyro.handlers as h

        from jensen.targets._handlers import CentreImproper

        fn = h.substitute(self.fn, data=self.plate_indices()) if self.plates else self.fn
        fn = h.seed(CentreImproper(wrap(fn)), jax.random.key(0) if key is None else key)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="subsample_size does not match")
            return h.trace(fn).get_trace(*self.args, **self.kwargs)

    def trace_at(self, values: dict[str, Array]) -> dict[str, Any]:
        """The trace at the unconstrained `values`."""
        from jensen.targets._handlers import Constrain

        return self.trace(lambda fn: Constrain(fn, values, not self.relaxed))


class Replay(Program):
    """Runs the model to constrain unconstrained values: for dynamic supports and deterministic sites."""

    model: Model
    names: tuple[str, ...] = eqx.field(static=True)

    def constrain(self, values: dict[str, Array]) -> dict[str, Array]:
        trace = self.model.trace_at(values)
        latent = {name: trace[name]["value"] for name in self.names}
        return latent | {k: v["value"] for k, v in trace.items() if v["type"] == "deterministic"}

    def unconstrain(self, x: dict[str, Array]) -> dict[str, Array]:
        import numpyro.handlers as h
        from numpyro.distributions import biject_to

        trace = self.model.trace(lambda fn: h.substitute(fn, data=x))
        supports = {name: trace[name]["fn"].support for name in self.names}
        return {
            name: x[name] if support.is_discrete else biject_to(support)._inverse(x[name])
            for name, support in supports.items()
        }


class NumPyroTarget(Target):
    """The posterior of a NumPyro model given its data, over the unconstrained values of its latent sites."""

    space: Space
    model: Model
    observed_names: tuple[str, ...] = eqx.field(static=True, default=())

    def log_density(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        return sum(self.site_terms(z).values(), start=jnp.zeros((), z.dtype))

    def site_terms(self, z: Float[Array, " d"]) -> dict[str, Float[Array, ""]]:
        """log density of each site at z (with the log Jacobian of its own bijection), by name."""
        return {name: jnp.sum(term) for name, (term, _) in self.site_arrays(z).items()}

    def site_arrays(self, z: Float[Array, " d"]) -> dict[str, tuple[Array, dict[str, Any]]]:
        """The log densities of each site in its batch shape (or one that broadcasts to it), and its message."""
        from numpyro.distributions import biject_to

        values = self.space.split(z)
        trace = self.model.trace_at(values)
        terms = {}
        for name, site in trace.items():
            if site["type"] != "sample":
                continue
            log_prob = _log_prob(site, self.model.relaxed and name in values)
            scale = site.get("scale")
            term = jnp.asarray(log_prob if scale is None else scale * log_prob, z.dtype)
            if name in values and site["fn"].support.is_discrete:
                inside = self.model.relaxed | site["fn"].support(site["value"])
                term = jnp.where(inside, term, -jnp.inf)
            elif name in values:
                log_jacobian = biject_to(site["fn"].support).log_abs_det_jacobian(values[name], site["value"])
                within = tuple(range(jnp.ndim(term), jnp.ndim(log_jacobian)))
                term = term + jnp.sum(log_jacobian, axis=within)
            terms[name] = term, site
        return terms

    def predict(self, key: PRNGKey, z: Float[Array, " d"]) -> dict[str, Array]:
        """Draws of the observed sites at z, by name."""
        if not self.observed_names:
            return {}
        from jensen.targets._handlers import Constrain, Unobserve

        values = self.space.split(z)
        trace = self.model.trace(lambda fn: Constrain(Unobserve(fn, self.observed_names), values), key)
        return {name: trace[name]["value"] for name in self.observed_names}

    def observed(self) -> dict[str, Array]:
        return _observed(self)

    def diagnose(self, z: Float[Array, " d"]) -> str:
        """The sites whose log density is not finite at z, by name."""
        terms = eqx.filter_jit(lambda target, z: target.site_terms(z))(self, z)
        bad = {name: float(v) for name, v in terms.items() if not np.isfinite(v)}
        return ", ".join(f"site {name!r} has log density {v}" for name, v in bad.items())


def _log_prob(site: dict[str, Any], relaxed: bool) -> Array:
    if relaxed:  # a multinomial's own log density is another function between the vertices
        from jensen.targets._one_hot import relaxed_log_prob

        return relaxed_log_prob(site["fn"], site["value"])
    return site["fn"].log_prob(site["value"], **_intermediates(site))


def _intermediates(site: dict[str, Any]) -> dict[str, Any]:
    return {"intermediates": site["intermediates"]} if site.get("intermediates") else {}


@eqx.filter_jit
def _observed(target: NumPyroTarget) -> dict[str, Array]:
    trace = target.model.trace(lambda fn: fn)
    return {name: trace[name]["value"] for name in target.observed_names}


def _leaf(value: Any) -> Any:
    if not (isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub"):
        return value
    return jax.device_put(np.array(value))  # a copy that is nobody else's, without a program of its own


def _check_data(args: Any, kwargs: Any) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path((args, kwargs)):
        if not isinstance(leaf, np.ndarray | jax.Array) or isinstance(leaf, jax.core.Tracer):
            continue
        words = "".join(str(p) for p in path[1:])
        if leaf.size == 0:
            raise InputError(f"The model's argument {words} is empty (shape {leaf.shape}): pass at least one row")
        if np.dtype(leaf.dtype).kind == "O":
            raise InputError(f"The model's argument {words} holds Python objects: convert it to numbers")
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.all(np.isfinite(np.asarray(leaf))):
            bad = int(np.sum(~np.isfinite(np.asarray(leaf))))
            raise InputError(
                f"The model's argument {words} holds {bad} values that are NaN or infinite: drop or impute them first"
            )


def from_numpyro(model: Any, *args: Any, **kwargs: Any) -> Target:
    """The posterior of a NumPyro `model`, called as `model(*args, **kwargs)`.

    The model is traced once, abstractly: nothing is computed or compiled. Plates, constrained supports (also supports
    that depend on other sites), `factor`, improper priors and deterministic sites are honoured; a plate with
    `subsample_size` sees all of its rows (one that holds observed sites only makes a target of rows, which
    `Minibatched` takes). Discrete latent sites of whole numbers, and of one-hot vectors (`OneHotCategorical`,
    `Multinomial(1, p)`), are coordinates of z that hold them; methods for R^d take such a target once `Enumerated` has
    summed them out. Array arguments are data leaves: a second target with arrays of the same shapes runs the same
    compiled programs, provided that `model` is the same function object.

    Raises `InputError` if the model is not callable, fails to trace, has no latent site, has a discrete latent that is
    neither a whole number nor a one-hot vector or a `param` site (named), or if data are empty, NaN or infinite.
    """
    if not callable(model):
        raise InputError(f"model must be a function with NumPyro sample statements, got {type(model).__name__}")
    _check_data(args, kwargs)
    args, kwargs = jax.tree.map(_leaf, (args, kwargs))

    import numpyro.handlers as h

    from jensen.targets._handlers import AllRows, CentreImproper

    plates = AllRows(model)
    found: dict[str, Any] = {}

    def abstract(key: PRNGKey) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="subsample_size does not match")
            seeded = h.seed(CentreImproper(plates), key)
            found.update(h.trace(seeded).get_trace(*args, **kwargs))

    try:
        jax.eval_shape(abstract, jax.random.key(0))
    except InputError:
        raise
    except Exception as error:
        name = getattr(model, "__name__", "model")
        raise InputError(
            f"The model {name} fails when it is traced with these arguments: {type(error).__name__}: {error}"
        ) from error
    return _build(Model(model, args, kwargs, tuple(plates.found.items())), found)


def _build(model: Model, trace: dict[str, Any]) -> Target:
    variables, fixed, observed, deterministic = [], True, [], False
    for name, site in trace.items():
        deterministic |= site["type"] == "deterministic"
        if site["type"] == "param":
            raise InputError(
                f"The model has a param site {name!r}: give it a prior (numpyro.sample) or pass its value as data"
            )
        if site["type"] != "sample":
            continue
        if site["is_observed"]:
            if type(site["fn"]).__name__ not in ("Unit", "Delta"):
                observed.append(name)
            continue
        support, is_fixed = from_constraint(site["fn"].support, name)
        variables.append(Variable(name, tuple(site["fn"].shape()), support))
        fixed &= is_fixed
    if not variables:
        raise InputError("The model has no latent site: there is nothing to infer (are all sites observed?)")
    names = tuple(v.name for v in variables)
    program = None if fixed and not deterministic else Replay(model, names)
    from jensen.targets._numpyro_rows import with_rows

    return with_rows(NumPyroTarget(Space(tuple(variables), program), model, tuple(observed)), trace)
