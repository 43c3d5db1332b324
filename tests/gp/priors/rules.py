"""Evidences and predictions by the three update rules, in one program for each kind of prior."""

import equinox as eqx

from jensen import gp
from jensen.algorithms import CVI, EP, SiteLaplace

RULES = (CVI(tolerance=1e-9), EP(tolerance=1e-9), SiteLaplace(tolerance=1e-9))


@eqx.filter_jit
def _all(model, x):
    found = []
    for rule in RULES:
        sites = gp.fixed_point(rule, model, 200)
        marginals = model.prior.condition(sites)
        found.append((rule.log_evidence(sites, marginals, model), marginals, model.prior.predict(sites, x)))
    return found


def by_every_rule(prior, likelihood, y, x):
    """[(log evidence, marginals, prediction at x)] by CVI, EP and SiteLaplace."""
    return _all(gp.LatentModel(prior, likelihood, y), x)
