"""The protocol: spaces, targets, families, objectives, algorithms, posteriors, certificates. Nothing here infers."""

from jensen.core.algorithm import Algorithm, Clock, InTurns, Step, StopCode, make_step
from jensen.core.batching import in_batches
from jensen.core.certificate import Certificate, Check, merge
from jensen.core.compiled import Compiled, Form
from jensen.core.errors import (
    InputError,
    JensenError,
    MissingCapability,
    NonFiniteDensity,
    ProcessLost,
    StorageError,
    UnknownName,
)
from jensen.core.family import Density, Family, Reparameterised, sample_many
from jensen.core.fields import Scalar, as_scalar, require, scalar_field
from jensen.core.objective import BatchObjective, Estimate, GradientEstimator, Objective
from jensen.core.parallel import by_columns, gathered, outer_draws, spread
from jensen.core.posterior import (
    DensityPosterior,
    DrawsPosterior,
    PointPosterior,
    Posterior,
    WeightedPosterior,
    constrain_many,
)
from jensen.core.random import PRNGKey, at_step, check_key, stream
from jensen.core.result import Fit, History, Run
from jensen.core.sites import GaussianPrior, LatentGaussian, Marginals, Sites, divergence, no_sites
from jensen.core.space import Program, Space, Variable, real_space
from jensen.core.support import Support, integer, interval, positive, real
from jensen.core.target import (
    Fed,
    InPasses,
    Locals,
    LogDensity,
    Noisy,
    NoisyInOrder,
    Rows,
    Streams,
    Target,
    beginning,
    check_needs,
    finite_starts,
)

__all__ = [
    "Algorithm",
    "BatchObjective",
    "Certificate",
    "Check",
    "Clock",
    "Compiled",
    "Density",
    "DensityPosterior",
    "DrawsPosterior",
    "Estimate",
    "Family",
    "Fed",
    "Fit",
    "Form",
    "GaussianPrior",
    "GradientEstimator",
    "History",
    "InPasses",
    "InTurns",
    "InputError",
    "JensenError",
    "LatentGaussian",
    "Locals",
    "LogDensity",
    "Marginals",
    "MissingCapability",
    "Noisy",
    "NoisyInOrder",
    "NonFiniteDensity",
    "Objective",
    "PRNGKey",
    "PointPosterior",
    "Posterior",
    "ProcessLost",
    "Program",
    "Reparameterised",
    "Rows",
    "Run",
    "Scalar",
    "Sites",
    "Space",
    "Step",
    "StopCode",
    "StorageError",
    "Streams",
    "Support",
    "Target",
    "UnknownName",
    "Variable",
    "WeightedPosterior",
    "as_scalar",
    "at_step",
    "beginning",
    "by_columns",
    "check_key",
    "check_needs",
    "constrain_many",
    "divergence",
    "finite_starts",
    "gathered",
    "in_batches",
    "integer",
    "interval",
    "make_step",
    "merge",
    "no_sites",
    "outer_draws",
    "positive",
    "real",
    "real_space",
    "require",
    "sample_many",
    "scalar_field",
    "spread",
    "stream",
]
