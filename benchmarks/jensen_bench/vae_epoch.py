"""What does an epoch of a variational autoencoder cost, beside a plain PyTorch loop and NumPyro's example?

Burda's network, 784-200-200-50 and back (GELU between), 50 latents, binary rows, minibatches of 100, one draw, Adam at
1e-3, single precision, CPU. Rows are random bits: time does not depend on what they show. Ours: `vae.train` as it
comes, with its own drawing of rows, clipping and schedule. NumPyro: SVI with `Trace_ELBO` on a minibatch, an epoch as
one compiled loop, as in its VAE example. PyTorch: eager, rows shuffled each epoch, the usual loop. A turn is a call
that trains for `--epochs`; all in one process, by turns, the least of `--repeats`; first turns, which compile, are not
counted. Ratios are ours over theirs, an epoch, in seconds of the clock and of the processor. On a machine with other
work PyTorch's threads wait for each other: OMP_NUM_THREADS=1 then, and look at the processor's seconds.

    jensen bench vae_epoch --rows 10000 --peers numpyro torch

PyTorch is not among the dependencies: `pip install torch` beside Jensen, or leave it out of `--peers`.
"""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.amortised import Encoded
from jensen.core import InputError
from jensen.vae import LatentModel, MeanField, StandardNormal, perceptron_decoder, perceptron_encoder, train
from jensen.vae.likelihoods import Bernoulli

PIXELS, HIDDEN, LATENT, BATCH, RATE = 784, (200, 200), 50, 100, 1e-3
Turn = Callable[[], float]  # some epochs of training; the last loss, a row


def ours(rows: np.ndarray, epochs: int) -> Turn:
    """`vae.train`."""
    keys = jax.random.split(jax.random.key(0), 3)
    head, held = MeanField(LATENT), jnp.asarray(rows)
    decoder = perceptron_decoder(keys[0], LATENT, HIDDEN, jnp.zeros((PIXELS, 1)))
    encoder = perceptron_encoder(keys[1], jnp.zeros(PIXELS), jnp.ones(PIXELS), HIDDEN, head.context)
    model, conditional = LatentModel(StandardNormal(LATENT), decoder, Bernoulli()), Encoded(encoder, head)

    def turn() -> float:
        options: Any = dict(epochs=epochs, batch_size=BATCH, learning_rate=RATE, progress=False)
        trained = train(keys[2], model, conditional, held, **options)
        return float(trained.run.history.objective[-1]) / len(rows)

    return turn


def numpyro_svi(rows: np.ndarray, epochs: int) -> Turn:
    """SVI on a model with `plate` and `subsample_size`, an epoch as one compiled loop."""
    import numpyro
    import numpyro.distributions as dist
    from jax.example_libraries import stax

    dense = [layer for width in HIDDEN for layer in (stax.Dense(width), stax.Gelu)]
    initialise_encoder, encode = stax.serial(*dense, stax.Dense(2 * LATENT))
    initialise_decoder, decode = stax.serial(*dense, stax.Dense(PIXELS))
    encoder_net, decoder_net = (initialise_encoder, encode), (initialise_decoder, decode)

    def model(batch: Any) -> None:
        net = numpyro.module("decoder", decoder_net, (BATCH, LATENT))
        with numpyro.plate("rows", len(rows), subsample_size=BATCH):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=net(z)).to_event(1), obs=batch)

    def guide(batch: Any) -> None:
        net = numpyro.module("encoder", encoder_net, (BATCH, PIXELS))
        mean, log_scale = jnp.split(net(batch), 2, axis=1)
        with numpyro.plate("rows", len(rows), subsample_size=BATCH):
            numpyro.sample("z", dist.Normal(mean, jnp.exp(log_scale)).to_event(1))

    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(RATE), numpyro.infer.Trace_ELBO())
    held, steps = jnp.asarray(rows), len(rows) // BATCH
    state = svi.init(jax.random.key(0), held[:BATCH])

    @jax.jit
    def run(state: Any, held: Any, key: Any) -> Any:
        order = jax.random.permutation(key, len(rows))[: steps * BATCH].reshape(steps, BATCH)

        def body(carry: Any, chosen: Any) -> Any:
            return svi.update(carry, held[chosen])

        return jax.lax.scan(body, state, order)

    def turn() -> float:
        now, loss = state, jnp.zeros(())
        for i in range(epochs):
            now, losses = run(now, held, jax.random.key(i))
            loss = losses[-1]
        return float(loss) / len(rows)

    return turn


def torch_loop(rows: np.ndarray, epochs: int) -> Turn:
    """The usual loop. Raises `InputError` where PyTorch is not installed."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise InputError("PyTorch is not installed: pip install torch, or --peers numpyro") from error
    torch.manual_seed(0)
    nn = torch.nn

    def network(size: int, out: int) -> Any:
        layers = []
        for width in HIDDEN:
            layers += [nn.Linear(size, width), nn.GELU(approximate="tanh")]
            size = width
        return nn.Sequential(*layers, nn.Linear(size, out))

    encoder, decoder = network(PIXELS, 2 * LATENT), network(LATENT, PIXELS)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=RATE)
    held = torch.from_numpy(rows)
    lost = nn.BCEWithLogitsLoss(reduction="sum")

    def turn() -> float:
        value = 0.0
        order = [chosen for _ in range(epochs) for chosen in torch.randperm(len(rows)).split(BATCH)]
        for chosen in order:
            x = held[chosen]
            mean, log_scale = encoder(x).chunk(2, dim=1)
            z = mean + torch.exp(log_scale) * torch.randn_like(mean)
            divergence = torch.sum(0.5 * (mean**2 + torch.exp(2 * log_scale) - 1) - log_scale)
            loss = (lost(decoder(z), x) + divergence) / len(x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            value = float(loss.detach())
        return value

    return turn


PEERS = {"numpyro": numpyro_svi, "torch": torch_loop}


def timed(turns: dict[str, Turn], epochs: int, repeats: int) -> dict[str, tuple[float, float, float]]:
    """(least seconds, least processor seconds, last loss a row) of an epoch of each; first turns are left out."""
    found = {name: (np.inf, np.inf, turn()) for name, turn in turns.items()}
    for _ in range(repeats):
        for name, turn in turns.items():
            clock, processor = time.perf_counter(), time.process_time()
            loss = turn()
            clock, processor = time.perf_counter() - clock, time.process_time() - processor
            found[name] = min(found[name][0], clock / epochs), min(found[name][1], processor / epochs), loss
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(list(arguments))
    if options.rows < BATCH or options.rows % BATCH or min(options.epochs, options.repeats) < 1:
        raise InputError(f"rows must be a multiple of the batch of {BATCH}, and epochs and repeats at least 1")
    shown = ("jensen", *options.peers)
    rows = (np.random.default_rng(0).random((options.rows, PIXELS)) < 0.3).astype(np.float32)
    with jax.enable_x64(False):
        turns = {name: make(rows, options.epochs) for name, make in {"jensen": ours, **PEERS}.items() if name in shown}
        found = timed(turns, options.epochs, options.repeats)
    own = found["jensen"]
    print("| method | seconds an epoch | processor seconds | ours over it | ours over it, processor | loss a row |")
    print("|" + " --- |" * 6)
    for name, (clock, processor, loss) in found.items():
        ratios = f"{own[0] / clock:.2f} | {own[1] / processor:.2f}"
        print(f"| {name} | {clock:.3f} | {processor:.3f} | {ratios} | {loss:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
