"""Are posteriordb's 31 reference posteriors solved, is every certificate true, and at what time beside NUTS?

Ours: `jensen.fit`, five seeds. A posterior is solved if each parameter's median is within 0.15 robust standard
deviations
of the reference and its 5-95 % width within 15 %; a certificate is false if it passed and the posterior is not solved.
Peers: NumPyro's and BlackJAX's NUTS, 4 chains of 1000 + 1000, in the same process. `cold` is the first call after all
compiled programs were dropped (imports are not counted); `warm` a later call with another key.
"""

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jensen as jn
from jensen.targets._posteriordb import flatten, posteriordb_names, reference
from jensen_bench._peers import blackjax_nuts, numpyro_model_nuts

MEDIAN, WIDTH = 0.15, 0.15
SHOWN = 4000


def errors(name: str, draws: dict[str, Any]) -> tuple[float, float]:
    """(largest median error in robust standard deviations, largest relative error of the 5-95 % width)."""
    ours, truth = flatten(name, draws), reference(name).flat
    a, b = (np.quantile(x.reshape(-1, ours.shape[1]), [0.05, 0.25, 0.5, 0.75, 0.95], axis=0) for x in (ours, truth))
    median = np.max(np.abs(a[2] - b[2]) / ((b[3] - b[1]) / 1.349))
    width = np.max(np.abs((a[4] - a[0]) / (b[4] - b[0]) - 1))
    return float(median), float(width)


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time of `run`, and what it gave."""
    began = time.perf_counter()
    value = jax.block_until_ready(run())
    return time.perf_counter() - began, value


def ours(name: str, seeds: int) -> dict[str, Any]:
    """Cold and warm time, and for every seed whether the fit was certified and solved."""
    target = jn.targets.posteriordb(name)
    jax.clear_caches()
    cold, fit = seconds(lambda: jn.fit(target, key=jax.random.key(0), progress=False))
    warm, rows = [], []
    for seed in range(seeds):
        if seed:
            took, fit = seconds(lambda seed=seed: jn.fit(target, key=jax.random.key(seed), progress=False))
            warm.append(took)
        median, width = errors(name, fit.posterior.sample(jax.random.key(1000 + seed), SHOWN))
        solved = median <= MEDIAN and width <= WIDTH
        rows.append({"median": median, "width": width, "solved": solved, "certified": fit.certificate.passed})
    return {
        "cold": cold,
        "warm": float(np.median(warm)) if warm else math.nan,
        "rung": fit.runs[-1].algorithm,
        "seeds": rows,
    }


def peer(name: str, make: Callable[[Any], Callable[[Any], Any]], constrain: bool) -> dict[str, Any]:
    """Cold and warm time of a peer, and its errors."""
    target = jn.targets.posteriordb(name)
    jax.clear_caches()
    run = make(target)
    cold, _ = seconds(lambda: run(jax.random.key(0)))
    warm, draws = seconds(lambda: run(jax.random.key(1)))
    if constrain:
        draws = jn.core.constrain_many(target.space, draws.reshape(-1, draws.shape[-1]))
    else:
        draws = {site: np.asarray(v).reshape(-1, *v.shape[2:]) for site, v in draws.items()}
    median, width = errors(name, draws)
    return {"cold": cold, "warm": warm, "solved": median <= MEDIAN and width <= WIDTH}


def table(results: dict[str, Any], peers: Sequence[str]) -> str:
    """The results as Markdown, with geometric means of the ratios."""
    head = ["posterior", "rung", "solved", "certified", "false", "median", "width", "cold s", "warm s"]
    head += [f"{kind}/{p}" for p in peers for kind in ("cold", "warm")]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    ratios: dict[str, list[float]] = {}
    for name, r in results.items():
        o = r["jensen"]
        rows = o["seeds"]
        false = sum(s["certified"] and not s["solved"] for s in rows)
        cells = [name, o["rung"], f"{sum(s['solved'] for s in rows)}/{len(rows)}"]
        cells += [f"{sum(s['certified'] for s in rows)}/{len(rows)}", str(false)]
        cells += [f"{max(s['median'] for s in rows):.3f}", f"{max(s['width'] for s in rows):.3f}"]
        cells += [f"{o['cold']:.2f}", f"{o['warm']:.3f}"]
        for p in peers:
            for kind in ("cold", "warm"):
                ratio = o[kind] / r[p][kind] if p in r else math.nan
                ratios.setdefault(f"{kind}/{p}", []).append(ratio)
                cells.append(f"{ratio:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    for name, values in ratios.items():
        kept = [v for v in values if v > 0]
        lines.append(f"\ngeometric mean {name}: {math.exp(np.mean(np.log(kept))):.4f} over {len(kept)} posteriors")
    seeds = [s for r in results.values() for s in r["jensen"]["seeds"]]
    solved, certified = (sum(s[kind] for s in seeds) for kind in ("solved", "certified"))
    lines.append(f"\nsolved {solved} of {len(seeds)} fits, certified {certified}")
    lines.append(f"false certificates: {sum(s['certified'] and not s['solved'] for s in seeds)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table; `--out` also writes the numbers as JSON after each posterior."""
    parser = argparse.ArgumentParser("jensen bench posteriordb", description=__doc__)
    parser.add_argument("--names", default="", help="comma-separated names; all where empty")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peers", default="numpyro,blackjax", help="comma-separated, or none")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args(list(arguments))
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)  # cold means cold
    warnings.filterwarnings("ignore")
    peers = [p for p in options.peers.split(",") if p and p != "none"]
    makers = {"numpyro": (numpyro_model_nuts, False), "blackjax": (blackjax_nuts, True)}
    results: dict[str, Any] = {}
    for name in options.names.split(",") if options.names else posteriordb_names():
        results[name] = {"jensen": ours(name, options.seeds)}
        for p in peers:
            results[name][p] = peer(name, *makers[p])
        summary = {k: (round(v["cold"], 2), round(v["warm"], 3)) for k, v in results[name].items()}
        print(name, summary, [(s["solved"], s["certified"]) for s in results[name]["jensen"]["seeds"]], flush=True)
        if options.out:
            options.out.write_text(json.dumps(results, indent=1))
    print(table(results, peers))
    return 0


if __name__ == "__main__":
    import sys

    raise SystemExit(main(sys.argv[1:]))
