"""The report: its numbers, its words, and that nothing in it can run."""

import dataclasses
import html.parser

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import (
    Certificate,
    Check,
    DensityPosterior,
    DrawsPosterior,
    Fit,
    History,
    PointPosterior,
    Run,
    Space,
    StopCode,
    StorageError,
    Variable,
    positive,
)
from jensen.families import Gaussian
from jensen.report import Row, render_report, summarise, write_report
from jensen.report._words import verdict

EVIL = '<script>alert("x")</script>'
SPACE = Space((Variable(EVIL, (3,)), Variable("sigma", (), positive())))
TRIL = jnp.diag(jnp.array([1.0, 2.0, 0.5, 0.3]))
MEAN = jnp.array([10.0, -1.0, 0.0, 0.5])
HOLDS = Check("k-hat", 0.3, 0.05, 0.7, True, f"far modes {EVIL}", True, "Heavy.", "Flow.", "V.")
FAILS = dataclasses.replace(HOLDS, holds=False, words=f"Heavy {EVIL}.")
NAN = float("nan")


def a_fit(posterior=None, check=HOLDS, **changes):
    run = Run(
        EVIL,
        {"rate": 0.1, "inner": {"class": EVIL}},
        History(np.arange(9.0), np.ones(9), {}),
        StopCode.STEPS,
        2.0,
        (EVIL,),
    )
    posterior = DensityPosterior(SPACE, Gaussian(MEAN, TRIL)) if posterior is None else posterior
    info = {"model": EVIL, "seed": 3, "command": EVIL, "data": {EVIL: EVIL}, "versions": {EVIL: EVIL}, "priors": EVIL}
    data = {"predictive": {EVIL: np.random.default_rng(0).normal(size=(20, 7))}, "observed": {EVIL: np.arange(7.0)}}
    certificate = None if check is None else Certificate((check,), khat=0.3, elbo=-1.0, elbo_standard_error=0.1)
    return Fit(posterior, certificate, (run,), **({"info": info} | data | changes))


def test_the_summary_is_that_of_the_posterior():
    rows = {f"{r.site}|{r.label}": r for r in summarise(a_fit())}
    n = 4000
    for i in range(3):
        row, sd = rows[f"{EVIL}|{i}"], float(TRIL[i, i])
        assert abs(row.mean - MEAN[i]) < 5 * sd / np.sqrt(n)
        assert abs(row.sd - sd) < 5 * sd / np.sqrt(2 * n)
        assert abs(row.q50 - MEAN[i]) < 5 * 1.2533 * sd / np.sqrt(n)
        # the sd of a sample quantile is sqrt(q (1 - q) / n) / density
        error = np.sqrt(0.05 * 0.95 / n) / (np.exp(-0.5 * 1.6449**2) / np.sqrt(2 * np.pi))
        assert abs(row.q95 - MEAN[i] - 1.6449 * sd) < 5 * sd * error
        assert row.ess is None
    assert abs(np.log(rows["sigma|"].q50) - 0.5) < 5 * 1.2533 * 0.3 / np.sqrt(n)


def test_chains_have_effective_sample_sizes(key):
    z = jax.random.normal(key, (4, 500, 4))
    rows = summarise(a_fit(DrawsPosterior(SPACE, z)))
    assert len(rows) == 4
    # independent draws are worth their number; the spread of the estimate at 2,000 draws is about a tenth
    assert all(1000 < row.ess < 3000 for row in rows)


def test_numbers_are_shown_to_two_figures_of_the_sd():
    row = Row("a", "", 123.4567, 0.012, 0.0, 0.0, 0.0)
    assert row.text(row.mean) == "123.457"
    assert Row("a", "", 1234.4, 321.0, 0.0, 0.0, 0.0).text(1234.4) == "1234"
    assert Row("a", "", 2e-9, 1e-10, 0.0, 0.0, 0.0).text(2e-9) == "2e-09"
    assert Row("a", "", NAN, NAN, 0.0, 0.0, 0.0).text(NAN) == "nan"
    assert Row("a", "", 3.0, 0.0, 3.0, 3.0, 3.0).text(3.0) == "3.000"


@pytest.mark.parametrize(("check", "tone"), [(HOLDS, "good"), (FAILS, "bad"), (None, "unknown")])
def test_the_verdict_comes_first(check, tone):
    fit = a_fit(check=check)
    judged = verdict(fit.certificate)
    assert judged.tone == tone
    text = render_report(fit)
    assert f'class="verdict {tone}"' in text
    assert text.index(judged.title, text.index("<main>")) < text.index("Posterior summary")


def test_a_fit_that_no_check_can_judge_is_not_called_certified():
    assert verdict(Certificate(())).title == "Not certified"
    only_own = dataclasses.replace(HOLDS, independent=False)
    assert verdict(Certificate((only_own,))).tone == "unknown"


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in ("href", "src", "xlink:href"):
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)


@pytest.mark.parametrize("check", [HOLDS, FAILS])
def test_nothing_in_the_file_can_run_or_be_fetched(check):
    reader = Reader()
    text = render_report(a_fit(check=check))
    reader.feed(text)
    assert not {"script", "iframe", "object", "link", "img", "base", "form"} & set(reader.tags)
    assert all(address.startswith("#") for address in reader.addresses)
    assert len(reader.ids) == len(set(reader.ids))
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "url(http" not in text


OWNED = "document.title='OWNED'"
ATTACKS = (
    f"<script>{OWNED}</script>",
    f'"><img src=x onerror={OWNED}>',
    f"'><svg/onload={OWNED}>",
    f"</style><script>{OWNED}</script>",
    f"</title><script>{OWNED}</script>",
    f"</svg>]]>--><script>{OWNED}</script>",
    f"</metadata><script>{OWNED}</script><metadata>",
    f"<a href='javascript:{OWNED}'>x</a>",
    r"$\href{javascript:alert(1)}{x}$",
    "{{ 7 * 7 }}{% raw %}",
    f"font: 10px 'x\" onload={OWNED}",
    f"url(#x) expression({OWNED})",
    "&lt;script&gt;",
    f'<iframe srcdoc="<script>{OWNED}</script>">',
    "<base href=//evil.example><meta http-equiv=refresh content=0;//evil.example><form><input autofocus>",
)


class Words(Reader):
    def __init__(self):
        super().__init__()
        self.words = []

    def handle_data(self, data):
        self.words.append(data)


def test_every_string_of_a_user_is_only_words():
    """All places at once: sites, levels, names of checks, runs, settings, notes, priors, the model, its data."""
    space = Space((*(Variable(a, ()) for a in ATTACKS), Variable("g", (len(ATTACKS),))))
    d = space.dimension
    checks = tuple(
        dataclasses.replace(HOLDS, name=a, holds=i % 2 == 0, words=a, advice=a, source=a, blind_to=a)
        for i, a in enumerate(ATTACKS)
    )
    history = History(np.arange(9.0), np.ones(9), {})
    runs = tuple(Run(a, {a: 0.1, "i": {"class": a}}, history, StopCode.STEPS, 2.0, (a,), a) for a in ATTACKS)
    every = " ".join(ATTACKS)
    info = dict.fromkeys(("model", "command", "method", "created", "machine", "precision", "priors"), every)
    info |= {"data": {a: a for a in ATTACKS}, "versions": {a: a for a in ATTACKS}, "labels": {"g": [list(ATTACKS)]}}
    rows = {a: np.random.default_rng(0).normal(size=(20, 7)) for a in ATTACKS[:2]}
    posterior = DensityPosterior(space, Gaussian(jnp.zeros(d), jnp.eye(d)))
    fit = Fit(posterior, Certificate(checks, khat=0.3, elbo=-1.0), runs, info, rows, {a: np.arange(7.0) for a in rows})
    reader, harmless = Words(), Words()
    reader.feed(render_report(fit))
    plain = {"model": "y ~ x", "labels": {"g": [[str(i) for i in range(len(ATTACKS))]]}}
    named = Space((*(Variable(f"a{i}", ()) for i in range(len(ATTACKS))), Variable("g", (len(ATTACKS),))))
    harmless.feed(render_report(Fit(DensityPosterior(named, posterior.q), fit.certificate, runs, plain)))
    assert set(reader.tags) <= set(harmless.tags) | {"dd", "dl", "dt", "pre"}
    assert reader.tags.count("style") == 1 + reader.tags.count("svg")
    assert reader.tags.count("meta") == harmless.tags.count("meta")
    assert all(address.startswith("#") for address in reader.addresses)
    shown = " ".join(reader.words)
    assert all(shown.count(a) >= 5 for a in ATTACKS)


@pytest.mark.parametrize(
    "posterior",
    [
        PointPosterior(SPACE, MEAN),
        DrawsPosterior(SPACE, jnp.tile(MEAN, (1, 5, 1))),
        DrawsPosterior(SPACE, jnp.zeros((2, 40, 4)), jnp.ones((2, 40), bool)),
        DensityPosterior(Space((Variable("a", ()),)), Gaussian(jnp.zeros(1), jnp.eye(1))),
    ],
    ids=["point", "few equal draws", "stuck chains", "one dimension"],
)
def test_odd_posteriors_have_a_report_too(posterior):
    assert "Posterior summary" in render_report(a_fit(posterior, info={}, predictive={}, observed={}))


def test_a_fit_without_runs_has_a_report_too():
    assert "No run is recorded" in render_report(dataclasses.replace(a_fit(check=None), runs=()))


def test_the_file_is_written_whole_or_not_at_all(tmp_path):
    path = write_report(a_fit(), tmp_path / "report.html")
    assert path.read_text().rstrip().endswith("</html>")
    with pytest.raises(StorageError):
        write_report(a_fit(), path / "report.html")
