"""The image of a density under a bijection."""

from typing import Any

from jaxtyping import Array, Float

from jensen.core import Density, InputError, PRNGKey
from jensen.families.bijective import Bijective


class Pushforward(Density):
    """The distribution of z = T(u), u ~ base: log q(z) = log base(T^-1(z)) - log |det dT/du|.

    `base`: a density on R^d. `bijection`: a family whose map T moves it.
    """

    base: Density
    bijection: Bijective

    @property
    def dimension(self) -> int:
        return self.base.dimension

    def sample(self, key: PRNGKey) -> Float[Array, " d"]:
        return self.bijection.transform(self.base.sample(key))[0]

    def log_prob(self, z: Float[Array, " d"]) -> Float[Array, ""]:
        u = self.bijection.inverse(z)
        return self.base.log_prob(u) - self.bijection.transform(u)[1]

    def sample_and_log_prob(self, key: PRNGKey) -> tuple[Float[Array, " d"], Float[Array, ""]]:
        u, log_base = self.base.sample_and_log_prob(key)
        z, log_det = self.bijection.transform(u)
        return z, log_base - log_det

    def config(self) -> dict[str, Any]:
        parts = {"base": self.base, "bijection": self.bijection}
        return {name: {"class": type(part).__name__, "config": part.config()} for name, part in parts.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Pushforward":
        from jensen import families

        built = []
        for name in ("base", "bijection"):
            part = config[name]
            known = part["class"] in families.__all__ and getattr(families, part["class"])
            if not (isinstance(known, type) and issubclass(known, Density)):
                raise InputError(f"{part['class']!r} is not a family of jensen.families")
            built.append(known.from_config(part["config"]))
        return cls(*built)
