"""How fast does the bound on the log likelihood of MNIST's test images rise with passes, on a processor?

Burda, Grosse and Salakhutdinov's one-layer protocol (`jensen_papers.vae._burda` says what of it is ours): after 1, 4,
13, 40, ... passes the mean of the importance-weighted bound by 5,000 weights over `--test-rows` test images, in nats,
with its standard error, and processor seconds of a pass (the first line's with compilation). `dynamic`: pixels drawn
anew at each visit, 60,000 images. `fixed`: the binary images of Salakhutdinov and Murray, another protocol, whose
numbers are not to be set beside the first. Theirs after 3,280 passes on all 10,000 images: -86.76 (vae), -84.78 (iwae).

    jensen bench mnist_curve --objective vae --stages 4 --test-rows 10000
"""

import argparse
import sys
from collections.abc import Sequence

from jensen.core import InputError
from jensen_papers.vae._burda import BINARISATIONS, OBJECTIVES, STAGES, curve


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", default="vae", choices=list(OBJECTIVES))
    parser.add_argument("--binarisation", default="dynamic", choices=BINARISATIONS)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--test-rows", type=int, default=500)
    options = parser.parse_args(list(arguments))
    if not 1 <= options.stages <= STAGES or not 2 <= options.test_rows <= 10_000:
        raise InputError(f"stages must be 1 to {STAGES}, test-rows 2 to 10000")
    print("| objective | binarisation | passes | test bound | standard error | test rows | processor seconds a pass |")
    print("|" + " --- |" * 7, flush=True)
    for at in curve(options.objective, options.binarisation, options.stages, options.test_rows):
        cells = f"{at.passes} | {at.bound:.2f} | {at.standard_error:.2f} | {at.test_rows} | {at.seconds:.1f}"
        print(f"| {at.objective} | {at.binarisation} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
