"""Programs with auxiliary sites, which are summed over by importance weighting."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey
from jensen.families._builders import Builder
from jensen.families._matching import check_sites, read_sites
from jensen.families.augmented import Augmented
from jensen.families.gaussian import Gaussian
from jensen.families.program import ProgramFamily, initial_parameters
from jensen.targets._numpyro import Model


class MarginalProgram(Augmented):
    """q(z) = int q(z | e) q(e) de: a guide with sites e that are no unknowns of the model, auxiliary ones.

    With e_1 the one that made z and e_2 .. e_N fresh runs of the guide past the same z,

        log r = log 1/N sum_j q(z | e_j),   E[log r | z] >= log q(z),

    so that the ELBO with r for q is a lower bound on the log evidence, which rises with N = `num_weights`; N = 1 is the
    hierarchical bound whose reverse model is the guide's own law of e. `ImportanceWeighted` over it is the doubly
    importance-weighted one. All sites must be reparameterised. A draw costs N runs of the guide.

    Source: Sobolev and Vetrov (2019); as programs: Becker et al. (2024).
    """

    program: ProgramFamily
    num_weights: int = eqx.field(static=True)

    @property
    def dimension(self) -> int:
        return self.program.dimension

    def partition(self) -> tuple["MarginalProgram", "MarginalProgram"]:
        """(the parameters, all else)."""
        trainable, rest = self.program.partition()
        return MarginalProgram(trainable, self.num_weights), MarginalProgram(rest, self.num_weights)  # pyright: ignore[reportArgumentType]

    def noise(self, key: PRNGKey) -> Any:
        """The random bits of N runs."""
        return jax.random.split(key, self.num_weights)

    def from_noise_and_log_prob(self, eps: Any) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        trace = self._run(eps[0], {})
        values = {name: trace[name]["value"] for name in self.program.space.names}
        first = self._log_prob(trace)
        if self.num_weights == 1:
            return self.program.z_of(values), first
        others = jax.vmap(lambda key: self._log_prob(self._run(key, values)))(eps[1:])
        return self.program.z_of(values), _log_mean(jnp.concatenate([first[None], others]))

    def estimate_log_prob(self, key: PRNGKey, z: Float[Array, " d"]) -> Float[Array, ""]:
        values = self.program.space.constrain(z)
        return _log_mean(jax.vmap(lambda key: self._log_prob(self._run(key, values)))(self.noise(key)))

    def _run(self, key: PRNGKey, values: dict[str, Any]) -> dict[str, Any]:
        """The guide's trace with these values, its other sites drawn."""
        count = iter(range(10**9))

        def choose(name: str, fn: Any, infer: dict[str, Any]) -> Any:
            own = jax.random.fold_in(key, next(count))
            return values[name] if name in values else fn.rsample(own)

        return self.program.visit(choose)

    def _log_prob(self, trace: dict[str, Any]) -> Float[Array, ""]:
        return jnp.sum(jnp.stack(list(self.program.log_terms(trace).values())))

    def config(self) -> dict[str, Any]:
        return self.program.config() | {"num_weights": self.num_weights}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MarginalProgram":
        raise InputError("A guide is code and is not saved: the posterior's draws are")


class MarginalBuilder(Builder):
    """Makes the `MarginalProgram` of a guide for a target; see `families.marginal`."""

    guide: Model
    num_weights: int = eqx.field(static=True)

    def family(self, key: PRNGKey, target: Any) -> MarginalProgram:
        """The family over the unknowns of `target`; `key` is for parameters whose initial values are functions."""
        inner = ProgramFamily(initial_parameters(self.guide, key), self.guide, target.space.plain())
        return MarginalProgram(inner, self.num_weights)

    def build(self, key: PRNGKey, gaussian: Gaussian) -> Density:
        raise InputError("A program must know the names of the target's unknowns: make it by family(key, target)")

    def build_for(self, key: PRNGKey, target: Any, gaussian: Gaussian) -> Density:
        return self.family(key, target)

    def check(self, target: Any) -> None:
        """As `ProgramBuilder.check`, where sites beyond the target's unknowns are auxiliary.

        Raises `InputError` if there is none, or a site is not reparameterised.
        """
        sites = read_sites(self.guide)
        extra = [name for name in sites if name not in target.space.names]
        if not extra:
            raise InputError("The guide has no auxiliary site: its density is known, so use families.program(guide)")
        for name, site in sites.items():
            if site.support.discrete or not site.reparameterised:
                raise InputError(f"Site {name!r} of the guide is not reparameterised, which families.marginal asks for")
        check_sites({name: site for name, site in sites.items() if name not in extra}, target.space)


def _log_mean(terms: Float[Array, " n"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(terms) - math.log(terms.shape[0])


def marginal(program: Any, num_weights: int = 1) -> MarginalBuilder:
    """`families.program(guide)` with the guide's further sites taken for auxiliary ones, by `num_weights` runs a draw.

    Raises `InputError` for what is no program, or num_weights < 1.
    """
    guide = getattr(program, "guide", None)
    if not isinstance(guide, Model):
        raise InputError(f"marginal takes families.program(guide), got {type(program).__name__}")
    if num_weights < 1:
        raise InputError(f"num_weights must be at least 1, got {num_weights}")
    return MarginalBuilder(guide, num_weights)
