"""Which model serves which posterior of posteriordb."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jensen.core import UnknownName


@dataclass(frozen=True)
class Entry:
    """Where a model lives: a module of `models`, and the function there that maps reference draws to its latent sites.

    `latents` is None where the latent sites are the parameters themselves.
    """

    module: str
    latents: str | None = None

    def load(self, name: str) -> Callable[..., Any]:
        """The function `name` of the module; importing it imports NumPyro."""
        return getattr(importlib.import_module(f"jensen.targets._posteriordb.models.{self.module}"), name)


MODELS = {
    "arK": Entry("time_series"),
    "hmm_drive_0": Entry("hidden_markov"),
    "diamonds": Entry("regression"),
    "earn_height": Entry("earnings"),
    "log10earn_height": Entry("earnings"),
    "logearn_height": Entry("earnings"),
    "logearn_height_male": Entry("earnings"),
    "logearn_interaction": Entry("earnings"),
    "eight_schools_centered": Entry("eight_schools"),
    "eight_schools_noncentered": Entry("eight_schools", latents="standardised_effects"),
    "garch11": Entry("time_series"),
    "gp_pois_regr": Entry("gp_pois_regr", latents="whitened_process"),
    "hmm_example": Entry("hidden_markov"),
    "lotka_volterra": Entry("lotka_volterra"),
    "kidscore_interaction": Entry("kidiq"),
    "kidscore_momhs": Entry("kidiq"),
    "kidscore_momhsiq": Entry("kidiq"),
    "kidscore_momiq": Entry("kidiq"),
    "kidscore_interaction_c": Entry("kidiq"),
    "kidscore_interaction_c2": Entry("kidiq"),
    "low_dim_gauss_mix": Entry("mixture"),
    "logmesquite_logvas": Entry("mesquite"),
    "logmesquite_logvash": Entry("mesquite"),
    "logmesquite_logvolume": Entry("mesquite"),
    "mesquite": Entry("mesquite"),
    "nes": Entry("nes"),
    "blr": Entry("regression"),
}

_CENTRED = "eight_schools-eight_schools_centered"

# posteriordb has reference draws for these and for no other parametrisation of their posteriors.
NAMES = (
    "arK-arK",
    "bball_drive_event_0-hmm_drive_0",
    "diamonds-diamonds",
    "earnings-earn_height",
    "earnings-log10earn_height",
    "earnings-logearn_height",
    "earnings-logearn_height_male",
    "earnings-logearn_interaction",
    "eight_schools-eight_schools_noncentered",
    "garch-garch11",
    "gp_pois_regr-gp_pois_regr",
    "hmm_example-hmm_example",
    "hudson_lynx_hare-lotka_volterra",
    "kidiq-kidscore_interaction",
    "kidiq-kidscore_momhs",
    "kidiq-kidscore_momhsiq",
    "kidiq-kidscore_momiq",
    "kidiq_with_mom_work-kidscore_interaction_c",
    "kidiq_with_mom_work-kidscore_interaction_c2",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "mesquite-logmesquite_logvas",
    "mesquite-logmesquite_logvash",
    "mesquite-logmesquite_logvolume",
    "mesquite-mesquite",
    "nes1972-nes",
    "nes1980-nes",
    "nes1984-nes",
    "nes1988-nes",
    "nes1992-nes",
    "nes2000-nes",
    "sblri-blr",
)

# posteriordb's own short names of posteriors that stand here.
ALIASES = {
    "eight_schools": "eight_schools-eight_schools_noncentered",
    "8schools": "eight_schools-eight_schools_noncentered",
    "8_schools": "eight_schools-eight_schools_noncentered",
    "arK": "arK-arK",
    "garch": "garch-garch11",
    "gp_pois_regr": "gp_pois_regr-gp_pois_regr",
}

REFERENCES = {_CENTRED: "eight_schools-eight_schools_noncentered"}


def resolve(name: str) -> tuple[str, str, Entry]:
    """(full name, name of the data set, entry) of a posterior given by its name or short name.

    Raises `UnknownName`, which suggests the nearest.
    """
    full = ALIASES.get(name, name)
    if full not in (*NAMES, _CENTRED):
        raise UnknownName("posteriordb posterior", name, (*NAMES, _CENTRED, *ALIASES))
    data, model = full.split("-")
    return full, data, MODELS[model]
