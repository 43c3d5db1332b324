"""The register: every paper that the library answers to, and those whose claims can be measured."""

import dataclasses
import functools
import importlib
import importlib.resources
import json
from pathlib import Path

from jensen_papers.result import Result

IMPLEMENTED = {
    "P003": ("mixflow", "jensen_papers.vi.mixflow"),
    "P011": ("lossy-autoencoder", "jensen_papers.vae.lossy_autoencoder"),
    "P012": ("free-form-dynamics", "jensen_papers.gp.free_form_dynamics"),
    "P013": ("total-correlation", "jensen_papers.vae.total_correlation"),
    "P014": ("collaborative-filtering", "jensen_papers.vae.collaborative_filtering"),
    "P031": ("forward-backward", "jensen_papers.vi.forward_backward"),
    "P034": ("chi2-importance-sampling", "jensen_papers.vi.chi2_importance_sampling"),
    "P037": ("sparse-rates", "jensen_papers.vi.sparse_rates"),
    "P038": ("normalizing-flows", "jensen_papers.vi.normalizing_flows"),
    "P040": ("acceptance-rejection", "jensen_papers.vi.acceptance_rejection"),
    "P042": ("sparse-inverse-cholesky", "jensen_papers.gp.sparse_inverse_cholesky"),
    "P045": ("neural-operators", "jensen_papers.vae.neural_operators"),
    "P051": ("auto-encoding", "jensen_papers.vae.auto_encoding"),
    "P052": ("coupled-autoencoder", "jensen_papers.vae.coupled_transport"),
    "P053": ("information-maximising", "jensen_papers.vae.information_maximising"),
    "P054": ("tempered-coreset", "jensen_papers.gp.tempered_coreset"),
    "P056": ("physics-integrated", "jensen_papers.vae.physics_integrated"),
    "P057": ("memory-dual", "jensen_papers.gp.memory_dual"),
    "P060": ("collapse-thresholds", "jensen_papers.vae.collapse_thresholds"),
    "P062": ("amortised-optimisation", "jensen_papers.vi.amortised_optimisation"),
    "P064": ("diffusion-autoencoder", "jensen_papers.vae.diffusion_autoencoder"),
    "P065": ("density-gap", "jensen_papers.vae.density_gap"),
    "P066": ("inverse-lipschitz", "jensen_papers.vae.inverse_lipschitz"),
    "P067": ("implicit", "jensen_papers.vi.implicit"),
    "P069": ("unscented-autoencoder", "jensen_papers.vae.unscented"),
    "P070": ("gradient-variance", "jensen_papers.vi.gradient_variance"),
    "P071": ("green-autoencoders", "jensen_papers.vae.green"),
    "P072": ("programmable", "jensen_papers.vi.programmable"),
    "P091": ("curve-clusters", "jensen_papers.gp.curve_clusters"),
    "P093": ("hybrid-hyperparameters", "jensen_papers.gp.hybrid_hyperparameters"),
    "P095": ("mixture-of-charts", "jensen_papers.vae.mixture_of_charts"),
    "P099": ("spike-trains", "jensen_papers.gp.spike_trains"),
    "P100": ("importance-weighted", "jensen_papers.vi.importance_weighted"),
    "P102": ("tail-capacity", "jensen_papers.vi.tail_capacity"),
    "P104": ("linear-pde-priors", "jensen_papers.gp.linear_pde_priors"),
    "P105": ("free-energy", "jensen_papers.vi.free_energy"),
    "P110": ("random-functions", "jensen_papers.gp.random_functions"),
    "P116": ("coupled-mixtures", "jensen_papers.vae.coupled_mixtures"),
    "P117": ("geometric-sampling", "jensen_papers.vae.geometric_sampling"),
    "P122": ("gradient-origin", "jensen_papers.vae.gradient_origin"),
    "P127": ("kinetic-optimal-paths", "jensen_papers.vi.kinetic_optimal_paths"),
    "P142": ("residual-limits", "jensen_papers.gp.residual_limits"),
    "P147": ("stochastic-backpropagation", "jensen_papers.vae.stochastic_backpropagation"),
    "P168": ("scale-mixtures", "jensen_papers.gp.scale_mixtures"),
    "P171": ("proper-losses", "jensen_papers.vi.proper_losses"),
    "P197": ("pseudo-iid", "jensen_papers.gp.pseudo_iid"),
    "P202": ("deep-learning-theory", "jensen_papers.gp.deep_learning_theory"),
    "P208": ("high-frequency-pdes", "jensen_papers.gp.high_frequency_pdes"),
    "P216": ("spherical-features", "jensen_papers.gp.spherical_features"),
    "P218": ("multimarginal-interpolants", "jensen_papers.vi.multimarginal_interpolants"),
    "P225": ("domain-counterfactuals", "jensen_papers.vi.domain_counterfactuals"),
    "P230": ("reconstruction-balance", "jensen_papers.vae.reconstruction_balance"),
    "P237": ("path-gradients", "jensen_papers.vi.path_gradients"),
    "P238": ("ivon", "jensen_papers.vi.ivon"),
    "P248": ("silent-gradients", "jensen_papers.vae.silent_gradients"),
    "P264": ("f-divergence", "jensen_papers.vi.f_divergence"),
    "P293": ("online-newton", "jensen_papers.gp.online_newton"),
    "P296": ("loss-calibrated", "jensen_papers.vi.loss_calibrated"),
    "P297": ("double-descent", "jensen_papers.gp.double_descent"),
    "P305": ("tensor-contraction", "jensen_papers.gp.tensor_contraction"),
    "P317": ("gaussian-cox", "jensen_papers.gp.gaussian_cox"),
    "P319": ("prior-fitted-networks", "jensen_papers.vi.prior_fitted_networks"),
    "P321": ("bayesian-autoencoder", "jensen_papers.vae.bayesian_autoencoder"),
    "P326": ("periodic-bayesian-flow", "jensen_papers.vi.periodic_bayesian_flow"),
    "P353": ("data-emphasised", "jensen_papers.vi.data_emphasised"),
    "P364": ("deep-kernel-machines", "jensen_papers.gp.deep_kernel_machines"),
    "P365": ("distribution-transformers", "jensen_papers.vi.distribution_transformers"),
    "P366": ("harmonic-mean", "jensen_papers.vi.harmonic_mean"),
    "P372": ("transformed-processes", "jensen_papers.gp.transformed_processes"),
    "P406": ("latent-dimensions", "jensen_papers.vae.latent_dimensions"),
}


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper: its identifier, title, topic, what the library makes of it, and the slug of its reproduction or None."""

    id: str
    title: str
    topic: str
    verdict: str
    slug: str | None


@functools.cache
def papers() -> tuple[Paper, ...]:
    """All papers, in the order of their identifiers."""
    text = importlib.resources.files("jensen_papers").joinpath("rows.json").read_text(encoding="utf-8")
    return tuple(Paper(**row, slug=IMPLEMENTED.get(row["id"], (None,))[0]) for row in json.loads(text))


def rows() -> list[dict[str, str | None]]:
    """All papers as plain data: dicts with keys id, title, topic, verdict and slug."""
    return [dataclasses.asdict(paper) for paper in papers()]


def find(slug: str) -> Paper:
    """The paper of this slug or identifier.

    Raises `UnknownName` if there is none, `InputError` if its claims cannot be measured yet.
    """
    for paper in papers():
        if slug in (paper.slug, paper.id):
            if paper.slug is None:
                from jensen.core import InputError

                raise InputError(f"The claims of {paper.id} ({paper.title}) are not measured by this version")
            return paper
    from jensen.core import UnknownName

    raise UnknownName("paper", slug, [paper.slug for paper in papers() if paper.slug])


def reproduce(slug: str, full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims of a paper, on the authors' scale if `full`; write a figure to the file `figure` if given.

    Raises `UnknownName` for a slug that is none.
    """
    paper = find(slug)
    return importlib.import_module(IMPLEMENTED[paper.id][1]).reproduce(full=full, figure=figure)
