"""What several benchmarks run of the peers: NUTS as functions of a key, and GPyTorch's regression."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CHAINS, WARMUP, DRAWS = 4, 1000, 1000


def numpyro_model_nuts(target: Any) -> Callable[[Any], Any]:
    """NumPyro's NUTS on a NumPyro model, as its users call it; draws by site, (chains, draws, ...)."""
    from numpyro.infer import MCMC, NUTS

    model = target.model
    mcmc = MCMC(
        NUTS(model.fn),
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )

    def run(key: Any) -> Any:
        mcmc.run(key, *model.args, **model.kwargs)
        return mcmc.get_samples(group_by_chain=True)

    return run


def blackjax_nuts(target: Any) -> Callable[[Any], Any]:
    """BlackJAX's window adaptation and NUTS, each chain its own, all in one jit; z of shape (chains, draws, d)."""
    import blackjax

    @jax.jit
    def run(key: Any) -> Any:
        def chain(key: Any) -> Any:
            key_start, key_warm, key_run = jax.random.split(key, 3)
            warm: Any = blackjax.window_adaptation(blackjax.nuts, target.log_density)
            (state, parameters), _ = warm.run(key_warm, target.start(key_start), WARMUP)
            kernel = blackjax.nuts(target.log_density, **parameters)

            def step(state: Any, key: Any) -> Any:
                state, _ = kernel.step(key, state)
                return state, state.position

            return jax.lax.scan(step, state, jax.random.split(key_run, DRAWS))[1]

        return jax.vmap(chain)(jax.random.split(key, CHAINS))

    return lambda key: jnp.asarray(run(key))


class TorchRegression(NamedTuple):
    """GPyTorch's parts of a trained regression; `kernel` is that before inducing points, which `covariance` holds."""

    model: Any
    likelihood: Any
    kernel: Any
    covariance: Any


def gpytorch_regression(
    x: np.ndarray, y: np.ndarray, z: np.ndarray | None, lengthscale: float, noise: float, steps: int
) -> TorchRegression:
    """Matern-5/2 with a lengthscale for each input, in double precision, trained by torch's L-BFGS.

    Exact where `z`, the inducing points to begin from, is None; else by the collapsed bound.
    """
    torch: Any = importlib.import_module("torch")
    gpt: Any = importlib.import_module("gpytorch")
    torch.set_default_dtype(torch.float64)
    inputs, targets = torch.as_tensor(x), torch.as_tensor(y)
    likelihood: Any = gpt.likelihoods.GaussianLikelihood()
    kernel: Any = gpt.kernels.ScaleKernel(gpt.kernels.MaternKernel(nu=2.5, ard_num_dims=x.shape[1]))
    kernel.initialize(**{"outputscale": 1.0, "base_kernel.lengthscale": lengthscale})
    likelihood.initialize(noise=noise)
    covariance = kernel
    if z is not None:
        covariance = gpt.kernels.InducingPointKernel(kernel, torch.as_tensor(z).clone(), likelihood)

    class Regression(gpt.models.ExactGP):
        def __init__(self) -> None:
            super().__init__(inputs, targets, likelihood)
            self.mean_module, self.covar_module = gpt.means.ZeroMean(), covariance

        def forward(self, at: Any) -> Any:
            return gpt.distributions.MultivariateNormal(self.mean_module(at), self.covar_module(at))

    model = Regression()
    evidence = gpt.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimiser.zero_grad()
        loss = -evidence(model(inputs), targets)
        loss.backward()
        return loss

    optimiser.step(closure)
    return TorchRegression(model, likelihood, kernel, covariance)
