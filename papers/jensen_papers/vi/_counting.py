"""A small attend-infer-repeat: how many digits are in an image, and where; one amortised guide, several estimators."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax

import jensen as jn
from jensen.gradient_estimators import PerSite, sites
from jensen.objectives import NegativeElbo
from jensen_papers.result import Claim

SIDE, SLOTS, HIDDEN, BATCH, NOISE = 12, 2, 64, 32, 0.3
DIGIT = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0]], float)
CENTRES = np.array([[4.0, 1.0], [4.0, 7.0]])  # of the slots: rows, columns


def render(present: Any, where: Any) -> Any:
    """The image of digits: each is moved by linear interpolation from the centre of its slot."""
    pixels = jnp.arange(SIDE)

    def tent(at: Any, length: int) -> Any:
        return jnp.maximum(0.0, 1 - jnp.abs(pixels[:, None] - at - jnp.arange(length)))

    def one(shown: Any, moved: Any, centre: Any) -> Any:
        row, column = centre[0] + moved[0], centre[1] + moved[1]
        return shown * tent(row, DIGIT.shape[0]) @ DIGIT @ tent(column, DIGIT.shape[1]).T

    return jnp.sum(jax.vmap(one)(present, where, jnp.asarray(CENTRES)), axis=0).reshape(-1)


def model(image: Any) -> None:
    """Coins for which slots show a digit, normal places, pixels with noise."""
    present: Any = numpyro.sample("present", dist.Bernoulli(0.5 * jnp.ones(SLOTS)).to_event(1))
    where: Any = numpyro.sample("where", dist.Normal(jnp.zeros((SLOTS, 2)), 1.0).to_event(2))
    numpyro.sample("image", dist.Normal(render(1.0 * present, where), NOISE).to_event(1), obs=image)


def batch_model(images: Any) -> None:
    """The same for many images, as NumPyro has it."""
    with numpyro.plate("images", len(images)):
        present = numpyro.sample("present", dist.Bernoulli(0.5 * jnp.ones(SLOTS)).to_event(1))
        where = numpyro.sample("where", dist.Normal(jnp.zeros((SLOTS, 2)), 1.0).to_event(2))
        numpyro.sample("image", dist.Normal(jax.vmap(render)(1.0 * present, where), NOISE).to_event(1), obs=images)


def _weights(name: str, inputs: int, outputs: int, size: float = 1.0) -> Any:
    return numpyro.param(name, lambda key: size * jax.random.normal(key, (inputs, outputs)) / np.sqrt(inputs))


def network(images: Any) -> Any:
    """(logits of presence, means, log scales), from one hidden layer."""
    hidden = jnp.tanh(images @ _weights("first", SIDE**2, HIDDEN) + numpyro.param("first shift", jnp.zeros(HIDDEN)))
    out = hidden @ _weights("last", HIDDEN, 5 * SLOTS, 0.1) + numpyro.param("last shift", jnp.zeros(5 * SLOTS))
    logits, mean, log_scale = jnp.split(out, [SLOTS, 3 * SLOTS], axis=-1)
    places = (*images.shape[:-1], SLOTS, 2)
    return logits, mean.reshape(places), log_scale.reshape(places) - 1.0


def guide(image: Any, estimator: Any) -> None:
    """Presence and places given the image."""
    logits, mean, log_scale = network(image)
    numpyro.sample("present", dist.Bernoulli(logits=logits).to_event(1), infer={"estimator": estimator})
    numpyro.sample("where", dist.Normal(mean, jnp.exp(log_scale)).to_event(2))


def batch_guide(images: Any) -> None:
    """The same for many images, as NumPyro has it."""
    logits, mean, log_scale = network(images)
    with numpyro.plate("images", len(images)):
        numpyro.sample("present", dist.Bernoulli(logits=logits).to_event(1))
        numpyro.sample("where", dist.Normal(mean, jnp.exp(log_scale)).to_event(2))


def images(num: int, seed: int) -> tuple[Any, Any]:
    """Images of the model with noise, and which slots of each show a digit."""
    rng = np.random.default_rng(seed)
    present, where = rng.random((num, SLOTS)) < 0.5, rng.normal(size=(num, SLOTS, 2))
    clean = jax.vmap(render)(jnp.asarray(present, float), jnp.asarray(where))
    return clean + NOISE * rng.normal(size=clean.shape), present


def loss(estimator: Any, num_draws: int) -> tuple[Any, Any]:
    """(the mean over images of -ELBO as a function of parameters, key and images; initial parameters)."""
    blank = jnp.zeros(SIDE**2)
    target = jn.targets.from_numpyro(model, blank)
    q = jn.families.program(guide, blank, estimator).family(jax.random.key(0), target)
    objective = NegativeElbo(PerSite(num_draws))

    def mean(parameters: Any, key: Any, batch: Any) -> Any:
        def one(key: Any, image: Any) -> Any:
            at = eqx.tree_at(lambda q: (q.parameters, q.guide.args[0]), q, (parameters, image))
            return objective.loss(key, at, eqx.tree_at(lambda t: t.model.args[0], target, image))

        estimates = jax.vmap(one)(jax.random.split(key, len(batch)), batch)
        return jnp.mean(estimates.surrogate), jnp.mean(estimates.value)

    return mean, q.parameters


def train(mean: Any, parameters: Any, data: Any, steps: int) -> tuple[Any, float]:
    """Adam on random batches: (parameters, seconds of the compiled run)."""
    optimiser = optax.adam(3e-3)

    @jax.jit
    def run(parameters: Any) -> Any:
        def step(carry: Any, key: Any) -> Any:
            parameters, adam = carry
            rows = jax.random.choice(key, len(data), (BATCH,))
            gradient, _ = jax.grad(mean, has_aux=True)(parameters, key, data[rows])
            change, adam = optimiser.update(gradient, adam)
            return (optax.apply_updates(parameters, change), adam), None

        return jax.lax.scan(step, (parameters, optimiser.init(parameters)), jax.random.split(jax.random.key(1), steps))[
            0
        ][0]

    compiled = run.lower(parameters).compile()
    began = time.perf_counter()
    trained = jax.block_until_ready(compiled(parameters))
    return trained, time.perf_counter() - began


def compare(steps: int = 2000) -> dict[str, tuple[float, float, float]]:
    """By estimator, and for NumPyro: ELBO an image and share of right counts on fresh images, seconds of training."""
    from numpyro.infer import SVI, TraceGraph_ELBO

    data, _ = images(1024, 0)
    fresh, truth = images(512, 1)
    judge = jax.jit(lambda p: loss(sites.Enumeration(), 50)[0](p, jax.random.key(2), fresh)[1])
    _, start = loss(sites.Enumeration(), 2)

    def right(parameters: Any) -> float:
        substituted = numpyro.handlers.substitute(network, data=parameters)
        logits: Any = numpyro.handlers.seed(substituted, jax.random.key(0))(fresh)
        logits = logits[0]
        return float(np.mean((np.asarray(logits) > 0).sum(1) == truth.sum(1)))

    found = {}
    plans = {"enumerated": sites.Enumeration(), "measure-valued": sites.MeasureValued(), "score": sites.ScoreFunction()}
    for name, estimator in plans.items():
        trained, seconds = train(loss(estimator, 2)[0], start, data, steps)
        found[name] = -float(judge(trained)), right(trained), seconds
    svi = SVI(batch_model, batch_guide, optax.adam(3e-3), TraceGraph_ELBO(num_particles=2))

    @jax.jit
    def peer(key: Any) -> Any:
        first = svi.init(key, data[:BATCH], init_params=start)

        def step(state: Any, key: Any) -> Any:
            return svi.update(state, data[jax.random.choice(key, len(data), (BATCH,))])[0], None

        return svi.get_params(jax.lax.scan(step, first, jax.random.split(jax.random.key(1), steps))[0])

    compiled = peer.lower(jax.random.key(0)).compile()
    began = time.perf_counter()
    trained = jax.block_until_ready(compiled(jax.random.key(0)))
    found["NumPyro"] = -float(judge(trained)), right(trained), time.perf_counter() - began
    return found


def counting_claims(paper: str) -> list[Claim]:
    """Each estimator against score functions, and against NumPyro in the same run."""
    found = compare()
    where = f"{paper}, attend-infer-repeat (figure): here a small one on synthetic digits, 2,000 steps"
    score, peer = found["score"], found["NumPyro"]
    claims = []
    for name in ("enumerated", "measure-valued"):
        elbo, right, seconds = found[name]
        claims += [
            Claim(
                f"ELBO an image on fresh images, {name} presence, against score functions",
                where,
                elbo,
                "> baseline",
                score[0],
                elbo > score[0],
            ),
            Claim(
                f"The same against NumPyro's TraceGraph_ELBO, {name}",
                where,
                elbo,
                "> baseline",
                peer[0],
                elbo > peer[0],
            ),
            Claim(f"Share of right counts, {name}, against NumPyro", where, right, "> 0.9", peer[1], right > 0.9),
            Claim(
                f"Seconds of training, {name}, against NumPyro in the same process",
                where,
                seconds,
                "<= 1.2 baseline",
                peer[2],
                seconds <= 1.2 * peer[2],
            ),
        ]
    return claims
