"""What wrappers of one algorithm have in common."""

from typing import Any

import equinox as eqx

from jensen.core import Algorithm


class Wrapper(Algorithm):
    """Passes on what the wrapped `algorithm` says of itself."""

    algorithm: eqx.AbstractVar[Algorithm]

    @property
    def needs(self) -> Any:
        return self.algorithm.needs

    @property
    def gives(self) -> type:
        return self.algorithm.gives

    @property
    def exact(self) -> bool:
        return self.algorithm.exact

    @property
    def discrete(self) -> bool:
        return self.algorithm.discrete

    def check(self, target: Any) -> None:
        self.algorithm.check(target)

    @property
    def brief(self) -> bool:
        return self.algorithm.brief

    @property
    def evaluations(self) -> int:
        return self.algorithm.evaluations

    @property
    def lanes(self) -> int:
        return self.algorithm.lanes

    @property
    def default_steps(self) -> int:
        return self.algorithm.default_steps

    @property
    def cooldown(self) -> float:
        return self.algorithm.cooldown

    def cautious(self) -> "Wrapper | None":
        smaller = self.algorithm.cautious()
        return None if smaller is None else eqx.tree_at(lambda w: w.algorithm, self, smaller)
