"""How fast does the bound on the log likelihood of MNIST's test images rise with passes, on a processor?

Burda, Grosse and Salakhutdinov's one-layer protocol (`jensen_papers.vae._burda` says what of it is ours): after 1, 4,
13, 40, ... passes the mean of the importance-weighted bound by 5,000 weights over `--test-rows` test images, in nats,
with its standard error, and processor seconds of a pass (the first line's with compilation). `dynamic`: pixels drawn
anew at each visit, 60,000 images. `fixed`: the binary images of Salakhutdinov and Murray, another protocol, whose
numbers are not to be set beside the first. Theirs after 3,280 passes on all 10,000 images: -86.76 (vae), -84.78 (iwae).

    jensen bench mnist_curve --objective vae --stages 4 --test-rows 10000 > vae.md
    jensen bench mnist_curve --tables vae.md iwae.md --figure curve.png    (draws kept tables, trains nothing)
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jensen.core import InputError
from jensen_papers.vae._burda import BINARISATIONS, OBJECTIVES, STAGES, curve


def points(table: Path) -> list[tuple[str, str, float, float, float]]:
    """(objective, binarisation, passes, bound, standard error) of each row. Raises `InputError` for another file."""
    try:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.read_text().splitlines()]
        kept = [cells for cells in rows if cells and cells[0] in OBJECTIVES]
        found = [(cells[0], cells[1], float(cells[2]), float(cells[3]), float(cells[4])) for cells in kept]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{table} is no table of this benchmark ({error}): give what it printed") from error
    if not found:
        raise InputError(f"{table} holds no row of this benchmark: give what it printed")
    return found


def draw(tables: Sequence[Path], path: Path) -> None:
    """Test bound against passes, a line for each objective and binarisation, bars of one standard error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.5), layout="constrained")
    axes = figure.subplots()
    for table in tables:
        found = points(table)
        passes, bounds, errors = zip(*(row[2:] for row in found), strict=True)
        axes.errorbar(passes, bounds, errors, marker="o", capsize=3, label=f"{found[0][0]}, {found[0][1]}")
    axes.set(xscale="log", xlabel="passes over the training images", ylabel="test bound, nats")
    axes.set_xticks([1, 4, 13, 40], ["1", "4", "13", "40"])
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objective", default="vae", choices=list(OBJECTIVES))
    parser.add_argument("--binarisation", default="dynamic", choices=BINARISATIONS)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--test-rows", type=int, default=500)
    parser.add_argument("--tables", type=Path, nargs="*", default=[])
    parser.add_argument("--figure", type=Path, default=Path("mnist_curve.png"))
    options = parser.parse_args(list(arguments))
    if options.tables:
        draw(options.tables, options.figure)
        return 0
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
