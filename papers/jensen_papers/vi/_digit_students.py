"""One-step students of a small diffusion model of digits, for P264: seven divergences, one teacher a seed."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen import diffusion
from jensen.core import sample_many
from jensen.families import ImplicitBuilder, gaussian_from_cov
from jensen.objectives import generators
from jensen_papers.result import Claim
from jensen_papers.vae._images import digits

PAPER = "Xu et al. (2025)"
LATENT, WIDTH, JITTER, NEIGHBOURS, BLOCKS = 32, 128, 1e-4, 5, 4
THREE = (generators.REVERSE_KL, generators.JENSEN_SHANNON, generators.FORWARD_KL)
Scores = dict[str, float]
_sample: Any = eqx.filter_jit(sample_many)


class Judge:
    """Held-out digits and a classifier that was trained on the others: what samples are measured by."""

    def __init__(self, seed: int):
        self.rows, self.held = digits(seed)
        from sklearn.linear_model import LogisticRegression

        order = np.random.default_rng(seed).permutation(len(self.rows) + len(self.held))
        labels = np.asarray(jn.datasets.load("digits")["labels"], int)[order]
        self.classifier = LogisticRegression(C=1.0, max_iter=500).fit(self.rows, labels[: len(self.rows)])
        self.shares = np.bincount(labels, minlength=10) / len(labels)
        self.radius = np.sort(_distances(self.held, self.held), axis=1)[:, NEIGHBOURS]

    def scores(self, X: np.ndarray) -> Scores:
        """`coverage`: share of held-out digits nearer to a sample than to their fifth neighbour, by as many samples.

        `precision`: the share of samples that are so near to a held-out digit. `classes`: those of ten whose share of
        the samples is within a factor of two of theirs. Means over four blocks of samples. Kynkäänniemi et al. (2019),
        Naeem et al. (2020).
        """
        n = len(self.held)
        near = [_distances(self.held, X[i * n : (i + 1) * n]) <= self.radius[:, None] for i in range(BLOCKS)]
        shares = np.bincount(self.classifier.predict(X), minlength=10) / len(X)
        within = (shares > 0.5 * self.shares) & (shares < 2 * self.shares)
        return {
            "coverage": float(np.mean([block.any(1).mean() for block in near])),
            "precision": float(np.mean([block.any(0).mean() for block in near])),
            "classes": float(within.sum()),
        }


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(np.sum(a**2, 1)[:, None] + np.sum(b**2, 1) - 2 * a @ b.T, 0.0))


def measure(
    seed: int, divergences: tuple[Any, ...], samples: dict[str, np.ndarray], teacher_steps: int, steps: int
) -> dict[str, Scores]:
    """Scores of a teacher, of where its students begin, and of the students, in single precision."""
    judge = Judge(seed)
    n = BLOCKS * len(judge.held)
    with jax.enable_x64(False):
        key_teacher, key_start, key_students, key_draws = jax.random.split(jax.random.key(seed), 4)
        rows = jnp.asarray(judge.rows, jnp.float32)
        denoiser = diffusion.train_denoiser(
            key_teacher, rows, width=2 * WIDTH, steps=teacher_steps, progress=False
        ).denoiser
        levels = diffusion.levels_for(denoiser)
        draw = jax.jit(jax.vmap(lambda k: diffusion.draw_by_denoising(k, denoiser, levels, denoiser.centre)))
        samples["teacher"] = np.asarray(draw(jax.random.split(key_draws, n)), float)
        cov = jnp.cov(rows.T) + JITTER * jnp.eye(rows.shape[1])
        builder = ImplicitBuilder(size=LATENT, sigma=0.05, num_auxiliary=0, width=WIDTH, depth=2)
        start = builder.build(key_start, gaussian_from_cov(rows.mean(0), cov))
        samples["start"] = np.asarray(_sample(key_draws, start, n), float)
        target = diffusion.teacher(rows, denoiser)
        for f in divergences:
            made = diffusion.distil(
                key_students, start, target, f=f, steps=steps, learning_rate=1e-3, width=WIDTH, progress=False
            )
            samples[short_name(f)] = np.asarray(_sample(key_draws, made.student, n), float)
    return {name: judge.scores(X) for name, X in samples.items()}


def short_name(f: Any) -> str:
    """A divergence's name without its other names."""
    return f.name.split(",")[0].split(" (")[0]


def digit_students(figure: Path | None, seeds: int = 3, teacher_steps: int = 4000, steps: int = 2000) -> list[Claim]:
    """Seven students of the first seed's teacher, three of the others'; `figure`: where rows of samples are drawn."""
    samples: dict[str, np.ndarray] = {}
    found = [measure(0, generators.GENERATORS, samples, teacher_steps, steps)]
    found += [measure(seed, THREE, {}, teacher_steps, steps) for seed in range(1, seeds)]
    if figure is not None:
        _draw(samples, figure.with_name(f"{figure.stem}-digits{figure.suffix}"))
    mean = lambda name, score: float(np.mean([run[name][score] for run in found]))  # noqa: E731
    teacher, begun = mean("teacher", "coverage"), mean("start", "precision")
    where, claims = f"{PAPER}, distillation of diffusion models with a discriminator's ratio", []
    for f in generators.GENERATORS:
        name, seen = short_name(f), "mean of three seeds" if f in THREE else "one seed"
        runs = found if f in THREE else found[:1]
        coverage = float(np.mean([run[name]["coverage"] for run in runs]))
        claims.append(
            Claim(
                f"Coverage of held-out digits by one step, {name}, {seen}, against 32 steps of the teacher",
                where,
                coverage,
                "> 0.75 baseline",
                teacher,
                coverage > 0.75 * teacher,
            )
        )
    precise = min(mean(short_name(f), "precision") for f in THREE)
    classes = min(run[short_name(f)]["classes"] for run in found for f in THREE)
    words = "Precision of one step, the least of reverse KL, Jensen-Shannon and forward KL, against where they began"
    claims += [
        Claim(words, where, precise, "> baseline", begun, precise > begun),
        Claim(
            "Classes of ten with a share within a factor of two, the least of these three and of the seeds",
            where,
            classes,
            "= 10",
            None,
            classes == 10,
        ),
    ]
    return [*claims, *(_against(found, f) for f in THREE[1:])]


def _against(found: list[dict[str, Scores]], f: Any) -> Claim:
    """Coverage against reverse KL's, paired by seed."""
    reverse = np.array([run[short_name(THREE[0])]["coverage"] for run in found])
    ours = np.array([run[short_name(f)]["coverage"] for run in found])
    error = float((ours - reverse).std(ddof=1) / np.sqrt(len(found)))
    higher = float(ours.mean()) > float(reverse.mean())
    return Claim(
        f"Coverage by {short_name(f)} against reverse KL, {len(found)} seeds (s.e. of the difference {error:.3f})",
        f"{PAPER}, mode coverage",
        float(ours.mean()),
        "> baseline",
        float(reverse.mean()),
        higher,
    )


def _draw(samples: dict[str, np.ndarray], path: Path) -> None:
    """Sixteen samples a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.7 * len(samples)), layout="constrained")
    axes = figure.subplots(len(samples), 1)
    for at, (name, X) in zip(axes, samples.items(), strict=True):
        at.imshow(X[:16].reshape(16, 8, 8).transpose(1, 0, 2).reshape(8, 128), cmap="gray_r", vmin=0, vmax=1)
        at.set_ylabel(name, rotation=0, ha="right", va="center")
        at.set(xticks=[], yticks=[])
    figure.savefig(path)
