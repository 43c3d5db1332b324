"""What a reproduction gives back: claims, each with what was measured and the bound that it is held against."""

import dataclasses
import json
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim of a paper, measured.

    `claim`: in words. `source`: where the paper (or its code) says so. `measured`: our number. `bound`: the condition
    on it, in words. `baseline`: the same number for the method that the paper compares with, None where there is none.
    `holds`: whether the bound was met. `timed`: whether the number is a time, which what else the machine does moves:
    it counts for `Result.holds`, and not for `Result.broken`, which unattended tests ask.
    """

    claim: str
    source: str
    measured: float
    bound: str
    baseline: float | None
    holds: bool
    timed: bool = False

    def __post_init__(self):
        # what NumPy computes compares to its own kinds of number and truth, which are no JSON
        object.__setattr__(self, "measured", float(self.measured))
        object.__setattr__(self, "baseline", None if self.baseline is None else float(self.baseline))
        object.__setattr__(self, "holds", bool(self.holds))


@dataclasses.dataclass(frozen=True)
class Result:
    """The claims of a paper and the seconds that measuring them took."""

    id: str
    slug: str
    seconds: float
    claims: tuple[Claim, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(claim.holds for claim in self.claims)

    @property
    def broken(self) -> list[str]:
        """The claims that do not hold, in words, but for times."""
        return [claim.claim for claim in self.claims if not (claim.holds or claim.timed)]

    def to_json(self) -> str:
        """`{id, slug, seconds, claims: [{claim, source, measured, bound, baseline, holds}]}`, null where not finite."""
        plain = _plain(dataclasses.asdict(self))
        for claim in plain["claims"]:
            del claim["timed"]
        return json.dumps(plain, indent=1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
