"""The report of a variational autoencoder: reconstructions, samples, traversals, the test bound."""

from typing import Any

import numpy as np

from jensen.plots._style import BLUE, INK, MUTED, ORANGE, headline, new_figure, tidy, to_svg

SHOWN, STEPS, REACH = 8, 9, 2.5
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ title }}</title><style>{{ style }}</style></head><body><main>
<h1>{{ title }}</h1>
<p>{{ verdict }}</p>
<table>{% for name, value in numbers %}<tr><th>{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}</table>
{% for figure, words in figures %}<figure>{{ figure }}<figcaption>{{ words }}</figcaption></figure>
{% endfor %}</main></body></html>
"""


def render(
    vae: Any,
    train: np.ndarray,
    test: np.ndarray,
    shape: tuple[int, ...],
    bounds: np.ndarray,
    use: Any = None,
    judged: Any = None,
) -> str:
    """The report as HTML text: no script, nothing loaded.

    Args:
        vae: a fitted `jensen.vae.VAE`.
        train: its rows.
        test: rows that it has not seen, flat.
        shape: of a row, (height, width) or (height, width, channels) for images.
        bounds: of the test rows, in nats.
        use: `vae.latent_use(test)`, or None.
        judged: `vae.certify(test)`, or None.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(loader=PackageLoader("jensen.report", ""), autoescape=True)
    style = Markup(environment.loader.get_source(environment, "style.css")[0])  # pyright: ignore[reportOptionalMemberAccess]
    image = len(shape) in (2, 3)
    make = (_reconstructed_images, _sampled_images, _image_traversals) if image else (_reconstructed, _sampled, _moved)
    figures = [_curve(vae, len(train)), *(fn(vae, test, shape) for fn in make)]
    words = (
        "The bound of a row over training: of minibatches, and of the rows held out, by which the best epoch was kept.",
        "Test rows, and their reconstructions E[x | mean of q(z | x)].",
        "Rows drawn from the model." if image else "Quantiles of columns of the test rows, and of rows drawn.",
        "What the decoder makes of one latent moved from -2.5 to 2.5, the others at zero; the most used latents first.",
    )
    error = np.std(bounds) / np.sqrt(len(bounds))
    numbers = [
        ("test bound, nats a row", f"{np.mean(bounds):.3f} ± {error:.3f}"),
        ("importance weights a row", str(vae.num_draws)),
        ("rows: trained on, tested", f"{len(train)}, {len(test)}"),
        ("likelihood", type(vae.likelihood_).__name__),
        ("latents", str(vae.latent_dim)),
        ("steps", str(vae.n_iter_)),
    ]
    if use is not None:
        numbers += [
            ("active units", str(use.active_units)),
            ("divergence from the prior a row", f"{float(np.sum(use.divergence)):.3f}"),
            ("mutual information of row and latents", f"{float(use.mutual_information):.3f}"),
            ("total correlation of the latents", f"{float(use.total_correlation):.3f}"),
            ("aggregate posterior from the prior", f"{float(use.aggregate):.3f}"),
        ]
    verdict = "The test bound is a lower bound on the log likelihood in expectation."
    if judged is not None:
        certificate = judged.certificate
        verdict += " Certificate of the rows' posteriors: " + ("passed." if certificate.passed else "not passed. ")
        verdict += " ".join(certificate.reasons)
        numbers += [
            (f"k-hat, worst of {len(judged.khat)} rows", f"{judged.worst:.2f}"),
            ("rows with k-hat above 0.7", f"{judged.share:.1%}"),
        ]
    svgs = [Markup(to_svg(figure, inline=f"f{i}")) for i, figure in enumerate(figures)]
    return environment.from_string(PAGE).render(
        title="Variational autoencoder",
        style=style,
        verdict=verdict,
        numbers=numbers,
        figures=list(zip(svgs, words, strict=True)),
    )


def _curve(vae: Any, rows: int) -> Any:
    figure = new_figure(2.4)
    ax = figure.subplots()
    history = vae.history_
    trained = rows - int(vae.validation_fraction * rows) if "held_out" in history.scalars else rows
    values = -history.objective / trained
    window = max(1, len(values) // 100)
    smooth = np.convolve(values, np.ones(window) / window, "valid")
    ax.plot(np.arange(len(smooth)) + window, smooth, color=BLUE, linewidth=1.2, label="training")
    if "held_out" in history.scalars:
        ax.plot(-history.scalars["held_out"], color=ORANGE, linewidth=1.2, label="held out")
    low = np.nanpercentile(smooth, 10)
    ax.set(xlabel="step", ylim=(low - 0.2 * abs(np.nanmax(smooth) - low), None))
    ax.legend(frameon=False, fontsize=8)
    headline(ax, "bound, nats a row")
    tidy(ax, "y")
    return figure


def _grid(rows: list[np.ndarray], shape: tuple[int, ...], labels: list[str]) -> Any:
    """Images in a grid; each row shares one grey scale with the others."""
    figure = new_figure(0.45 * len(rows) + 0.1)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    low, high = min(float(r.min()) for r in rows), max(float(r.max()) for r in rows)
    for line, images, label in zip(axes, rows, labels, strict=True):
        for ax, values in zip(line, images, strict=True):
            picture = values.reshape(shape)
            picture = picture[..., 0] if picture.ndim == 3 and shape[2] != 3 else picture
            colour = (picture - low) / max(high - low, 1e-12)
            ax.imshow(colour, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            ax.set_axis_off()
        line[0].text(-0.15, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=7, color=MUTED)
    return figure


def _reconstructed_images(vae: Any, test: np.ndarray, shape: tuple[int, ...]) -> Any:
    rows = test[:SHOWN]
    return _grid([rows, vae.inverse_transform(vae.transform(rows))], shape, ["row", "back"])


def _sampled_images(vae: Any, test: np.ndarray, shape: tuple[int, ...]) -> Any:
    draws = vae.sample(4 * SHOWN)
    return _grid([draws[i : i + SHOWN] for i in range(0, len(draws), SHOWN)], shape, [""] * 4)


def _traversals(vae: Any, test: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The latents whose means vary most over test rows, and rows decoded along each."""
    order = np.argsort(-np.var(vae.transform(test), 0))[:SHOWN]
    out = []
    for unit in order:
        Z = np.zeros((STEPS, vae.latent_dim))
        Z[:, unit] = np.linspace(-REACH, REACH, STEPS)
        out.append((int(unit), vae.inverse_transform(Z)))
    return out


def _image_traversals(vae: Any, test: np.ndarray, shape: tuple[int, ...]) -> Any:
    found = _traversals(vae, test)
    return _grid([rows for _, rows in found], shape, [f"z{unit}" for unit, _ in found])


def _reconstructed(vae: Any, test: np.ndarray, shape: tuple[int, ...]) -> Any:
    back = vae.inverse_transform(vae.transform(test))
    spread = np.std(test, 0)
    kept = np.flatnonzero(spread > 0)[:SHOWN]
    figure = new_figure(3.0)
    ax = figure.subplots()
    standard = lambda a: (a[:, kept] - test[:, kept].mean(0)) / spread[kept]  # noqa: E731
    ax.plot(standard(test).ravel(), standard(back).ravel(), ".", color=BLUE, markersize=2, alpha=0.5)
    ends = np.array([-3, 3])
    ax.plot(ends, ends, color=MUTED, linewidth=0.8)
    ax.set(xlabel="value", ylabel="reconstruction", xlim=ends, ylim=ends)
    headline(ax, f"{len(kept)} columns, standardised")
    tidy(ax)
    return figure


def _sampled(vae: Any, test: np.ndarray, shape: tuple[int, ...]) -> Any:
    draws, levels = vae.sample(2000), np.linspace(0.02, 0.98, 49)
    figure = new_figure(3.0)
    ax = figure.subplots()
    for column in range(min(SHOWN, test.shape[1])):
        spread = np.std(test[:, column]) or 1.0
        theirs, ours = (np.quantile(a[:, column], levels) for a in (test, draws))
        ax.plot((theirs - test[:, column].mean()) / spread, (ours - test[:, column].mean()) / spread, linewidth=1)
    ends = np.array([-3, 3])
    ax.plot(ends, ends, color=INK, linewidth=0.8)
    ax.set(xlabel="quantile of test rows", ylabel="quantile of draws", xlim=ends, ylim=ends)
    headline(ax, "columns, standardised")
    tidy(ax)
    return figure


def _moved(vae: Any, test: np.ndarray, shape: tuple[int, ...]) -> Any:
    found = _traversals(vae, test)[:4]
    figure = new_figure(1.2 * len(found) + 0.3)
    axes = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    spread = np.where(np.std(test, 0) > 0, np.std(test, 0), 1.0)
    for ax, (unit, rows) in zip(axes, found, strict=True):
        ax.plot(np.linspace(-REACH, REACH, STEPS), ((rows - test.mean(0)) / spread)[:, :SHOWN], linewidth=1)
        headline(ax, f"z{unit}")
        tidy(ax, "y")
    return figure
