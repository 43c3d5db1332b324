"""Compiling what a rung will need while another program of it is compiled or runs."""

from jensen import _run
from jensen.algorithms import Laplace
from jensen.certificate import prepare_weights
from jensen.core import Algorithm, Posterior, PRNGKey, Target


def prepare(algorithm: Algorithm, target: Target, key: PRNGKey, start: Posterior | None) -> None:
    """Have the programs of a rung compiled; where it is Laplace's, those that make and weigh its Gaussian too."""
    state = _run.prepare(algorithm, target, key, start)
    if state is not None and isinstance(algorithm, Laplace):
        prepare_weights(key, algorithm.posterior(state, None, target.space).q, target)
