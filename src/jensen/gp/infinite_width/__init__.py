"""Networks of infinite width: their Gaussian-process limits, when signals get through, and the networks themselves."""

from jensen.gp.infinite_width.activations import (
    Activation,
    Erf,
    Heaviside,
    Linear,
    ReLU,
    Smooth,
    gaussian_mean,
    gaussian_product,
)
from jensen.gp.infinite_width.criticality import (
    EdgeOfChaos,
    Susceptibilities,
    VertexRecursion,
    edge_of_chaos,
    susceptibilities,
    vertex_recursion,
)
from jensen.gp.infinite_width.ensembles import (
    IID,
    BlockSparse,
    FixedRank,
    LowRank,
    Orthogonal,
    ScaledByPrior,
    WeightEnsemble,
)
from jensen.gp.infinite_width.kernels import NNGP, ResidualDepthLimit, ResidualNNGP, gram_of_gram
from jensen.gp.infinite_width.networks import RandomNetwork, ResidualNetwork, draw_networks

__all__ = [
    "IID",
    "NNGP",
    "Activation",
    "BlockSparse",
    "EdgeOfChaos",
    "Erf",
    "FixedRank",
    "Heaviside",
    "Linear",
    "LowRank",
    "Orthogonal",
    "RandomNetwork",
    "ReLU",
    "ResidualDepthLimit",
    "ResidualNNGP",
    "ResidualNetwork",
    "ScaledByPrior",
    "Smooth",
    "Susceptibilities",
    "VertexRecursion",
    "WeightEnsemble",
    "draw_networks",
    "edge_of_chaos",
    "gaussian_mean",
    "gaussian_product",
    "gram_of_gram",
    "susceptibilities",
    "vertex_recursion",
]
