"""What do variants of the autoencoder give for their cost, on one network, one budget and the same rows?

Digits of 8 x 8 in [0, 1], 1,437 rows to train on; 8 latents, one hidden layer of 64; Gaussian noise of 0.15 unless
learned. `bound`: importance-weighted by 100 draws, of held-out rows. `error`: squared error of a held-out row. `prior`
and `mixture`: Frechet distance in 20 principal components of 1,000 draws from the prior, and from a mixture of ten
fitted to the codes. `inactive`: latents whose mean variance is above 0.8. `variance`: mean over latents of Var(mean) +
E[variance]. `kflop`: of a training step, a row. `cpu s`: of the processor, for training with compilation. Means over
seeds. Energy is not measured: a container has no counter of it, and processor seconds stand in its place.

    jensen bench vae_zoo --epochs 120 --seeds 3
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence

import jax
import numpy as np

from jensen_papers.vae._zoo import ZOO, floor, measure

HEAD = ("bound", "error", "prior", "mixture", "inactive", "variance", "kflop", "cpu s")


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="*", default=list(ZOO), choices=list(ZOO))
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args(list(arguments))
    print("| variant | " + " | ".join(HEAD) + " |\n|" + " --- |" * (len(HEAD) + 1))
    with jax.enable_x64(False):
        for name in options.variants:
            rows = [dataclasses.astuple(measure(ZOO[name], seed, options.epochs)[0]) for seed in range(options.seeds)]
            cells = [f"{value:.3g}" if np.isfinite(value) else "-" for value in np.mean(rows, 0)]
            print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"held-out rows themselves: {np.mean([floor(seed) for seed in range(options.seeds)]):.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
