"""The command, in this process: what it writes, and one line for each kind of bad input."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from jensen import load
from jensen._cli.fitting import Request, command_line, free_folder
from jensen._cli.models import parse_priors
from jensen._cli.papers import reproduce_command
from jensen.cli import run
from jensen.core import InputError

MODEL = """
import numpyro
import numpyro.distributions as dist

def line(x, y):
    slope = numpyro.sample("slope", dist.Normal(0, 10))
    numpyro.sample("y", dist.Normal(slope * x, 1), obs=y)

def coin(x):
    numpyro.sample("n", dist.Poisson(3))

CONSTANT = 3
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model and tables, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("import no_such_module")
    rng = np.random.default_rng(0)
    x = rng.normal(size=30)
    rows = [f"{a:.4f},{2 * a + b:.4f}" for a, b in zip(x, rng.normal(size=30), strict=True)]
    (tmp_path / "data.csv").write_text("x,y\n" + "\n".join(rows))
    (tmp_path / "latin.csv").write_bytes("x,y\n1,é\n".encode("latin-1"))
    return tmp_path


def line_fit(*more):
    return run(["fit", "model.py:line", "--data", "data.csv", "--method", "laplace", "--seed", "7", *more])


def test_fit_writes_a_fit_a_report_and_netcdf(place, capsys):
    assert line_fit("--out", "out", "--log", "jsonl", "--log-file", "log.jsonl") == 0
    text, errors = capsys.readouterr()
    assert errors == ""
    assert re.search(r"^(Certified|Not certified)", text, re.MULTILINE)
    assert "slope" in text
    assert "report.html" in text
    assert sorted(p.name for p in (place / "out").iterdir()) == [
        "arrays.npz",
        "fit.json",
        "posterior.nc",
        "progress.jsonl",
        "report.html",
    ]
    told = [json.loads(line) for line in (place / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in told][-2:] == ["end", "certificate"]
    assert (told[0]["event"], told[0]["step"]) == ("step", 0)
    assert told[-3]["step"] == load("out").runs[0].steps
    assert told[-1]["run"] == "Laplace"
    assert (place / "out" / "progress.jsonl").read_text().count("\n") >= 4
    fit = load("out")
    x, y = np.loadtxt("data.csv", delimiter=",", skiprows=1).T
    precision = 0.01 + np.sum(x**2)
    mean, cov = fit.posterior.mean_and_cov()
    np.testing.assert_allclose(mean, [np.sum(x * y) / precision], rtol=1e-4)
    np.testing.assert_allclose(cov, [[1 / precision]], rtol=1e-4)
    assert fit.info["command"] == "jensen fit model.py:line --data data.csv --method laplace --seed 7"
    assert fit.info["data"]["rows"] == 30
    assert fit.predictive["y"].shape[1:] == (30,)

    before = (place / "out" / "arrays.npz").read_bytes()
    assert line_fit("--out", "out") == 2
    assert "already holds a fit" in capsys.readouterr().err
    assert line_fit("--out", "out", "--overwrite", "--log", "jsonl") == 0
    again, errors = capsys.readouterr()
    assert [json.loads(line)["event"] for line in errors.splitlines()][-1] == "certificate"
    assert "{" not in again
    assert (place / "out" / "arrays.npz").read_bytes() == before  # the same seed, the same result

    (place / "out" / "report.html").unlink()
    assert run(["report", "out"]) == 0
    assert (place / "out" / "report.html").exists()


def test_compare_writes_a_table_and_a_figure(place, capsys):
    assert (
        run(["compare", "model.py:line", "--data", "data.csv", "--methods", "laplace, Laplace", "--out", "both"]) == 0
    )
    assert "seconds" in capsys.readouterr().out
    methods = json.loads((place / "both" / "compare.json").read_text())["methods"]
    assert [m["method"] for m in methods] == ["laplace", "Laplace"]
    assert (place / "both" / "compare.svg").read_text().startswith("<?xml")


BAD = {
    "no model": (["fit"], "argument"),
    "no such command": (["fti"], "fit"),
    "seed is no number": (["fit", "a", "--seed", "x"], "seed"),
    "negative seed": (["fit", "a", "--seed", "-1"], "--seed"),
    "no steps": (["fit", "a", "--steps", "0"], "--steps"),
    "no time": (["fit", "a", "--time-limit", "0"], "--time-limit"),
    "steps of the autopilot": (["fit", "model.py:line", "--data", "data.csv", "--steps", "9"], "--method"),
    "unknown method": (["fit", "model.py:line", "--data", "data.csv", "--method", "laplas"], "Laplace"),
    "wrapper": (["fit", "model.py:line", "--data", "data.csv", "--method", "restarts"], "Python"),
    "unknown posterior": (["fit", "eight_school"], "eight_schools"),
    "posterior and data": (["fit", "eight_schools", "--data", "data.csv"], "its own data"),
    "formula without data": (["fit", "y ~ x"], "--data"),
    "no such file": (["fit", "y ~ x", "--data", "dat.csv"], "data.csv"),
    "no such data set": (["fit", "y ~ x", "--data", "mnisst"], "mnist"),
    "not UTF-8": (["fit", "y ~ x", "--data", "latin.csv"], "UTF-8"),
    "unknown column": (["fit", "y ~ z", "--data", "data.csv"], "z"),
    "unknown family": (["fit", "y ~ x", "--data", "data.csv", "--family", "gausian"], "gaussian"),
    "prior is no prior": (["fit", "y ~ x", "--data", "data.csv", "--prior", "x"], "name=dist"),
    "prior of a function": (["fit", "model.py:line", "--data", "data.csv", "--prior", "x=normal(0, 1)"], "formula"),
    "no function": (["fit", "model.py", "--data", "data.csv"], "model.py:NAME"),
    "unknown function": (["fit", "model.py:lime", "--data", "data.csv"], "'line'"),
    "not a function": (["fit", "model.py:CONSTANT", "--data", "data.csv"], "not a function"),
    "no such model file": (["fit", "modell.py:line", "--data", "data.csv"], "no file"),
    "model fails": (["fit", "broken.py:line", "--data", "data.csv"], "no_such_module"),
    "no column for an argument": (["fit", "model.py:line"], "'x'"),
    "discrete latent": (["fit", "model.py:coin", "--data", "data.csv"], "'n'"),
    "log of no known form": (["fit", "model.py:line", "--data", "data.csv", "--log", "json"], "jsonl"),
    "file of no log": (["fit", "model.py:line", "--data", "data.csv", "--log-file", "x"], "--log jsonl"),
    "log nowhere": (["fit", "a", "--log", "jsonl", "--log-file", "no/such/x"], "a folder that exists"),
    "out is a file": (["fit", "model.py:line", "--data", "data.csv", "--out", "data.csv"], "is a file"),
    "out is taken": (["fit", "model.py:line", "--data", "data.csv", "--out", "."], "not empty"),
    "no methods": (["compare", "model.py:line", "--data", "data.csv", "--methods", ","], "--methods"),
    "no fit": (["report", "nowhere"], "no folder"),
    "not a fit": (["report", "."], "not a saved fit"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_line_and_writes_nothing(arguments, words, place, capsys):
    before = sorted(place.iterdir())
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("jensen: ")
    assert words in err
    assert err.count("\n") == 1
    assert [p for p in sorted(place.iterdir()) if p.name != "__pycache__"] == before


def test_an_interrupt_with_nothing_to_keep_is_one_line(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("jensen._cli.fitting.report_command", stop)
    assert run(["report", "x"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_methods_lists_what_each_needs_and_gives(capsys):
    assert run(["methods", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    laplace = next(r for r in found["algorithms"] if r["name"] == "Laplace")
    assert (laplace["needs"], laplace["gives"]) == ("LogDensity", "Density")
    assert "Laplace (1774)" in laplace["source"]
    assert run(["methods"]) == 0
    assert "Laplace" in capsys.readouterr().out


class Package:
    """Stands for the package of papers."""

    holds = True

    def rows(self):
        row = {"id": "P001", "title": "A title", "topic": "gaussian-vi", "verdict": "core"}
        return [row | {"slug": "known"}, row | {"id": "P002", "slug": None, "topic": "flows"}]

    def reproduce(self, slug, full, figure=None):
        if figure is not None:
            figure.write_text("drawn")
        return self

    def to_json(self):
        claim = {"claim": "c", "source": "s", "measured": 0.5, "bound": 1, "baseline": None, "holds": self.holds}
        return json.dumps({"id": "P001", "slug": "known", "seconds": 1.0, "claims": [claim]})


@pytest.fixture
def package(monkeypatch):
    package = Package()
    monkeypatch.setattr("jensen._cli.papers.load_group", lambda *_: package)
    return package


def test_papers_and_reproduce(package, capsys):
    assert run(["papers", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert run(["papers", "--topic", "flow"]) == 0
    assert "1 papers, 0 measured" in capsys.readouterr().out
    assert run(["papers", "--topic", "flowz"]) == 2
    assert run(["reproduce", "knwon"]) == 2
    assert "'known'" in capsys.readouterr().err
    assert run(["reproduce", "known", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["claims"][0]["holds"]
    package.holds = False
    assert reproduce_command("known", False, False) == 1


def test_reproduce_draws_to_a_file_that_can_be_written(package, tmp_path, capsys):
    assert run(["reproduce", "known", "--figure", str(tmp_path / "a.svg")]) == 0
    assert (tmp_path / "a.svg").read_text() == "drawn"
    package.reproduce = lambda *_: pytest.fail("computed")
    for wrong, words in ((tmp_path / "a.xyz", "must end in"), (tmp_path / "no" / "a.png", "a folder that exists")):
        assert run(["reproduce", "known", "--figure", str(wrong)]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("full", [False, True])
def test_only_the_quick_mode_is_compiled_in_haste(package, monkeypatch, full):
    seen = []
    monkeypatch.setattr("jensen._cli.setup.configure", lambda in_haste=False: seen.append(in_haste))
    assert reproduce_command("known", full, True) == 0
    assert seen == [not full]


def test_priors_are_read_as_text():
    assert parse_priors(["x=normal(0, -1e3)", "sd(g|Intercept) = exponential(1)"]) == {
        "x": ("normal", 0.0, -1000.0),
        "sd(g|Intercept)": ("exponential", 1.0),
    }
    for text in ("x=__import__('os')", "x", "=normal(0)", "x=normal(a)", "x=normal((0))", "x=a.b(0)"):
        with pytest.raises(InputError):
            parse_priors([text])
    with pytest.raises(InputError, match="twice"):
        parse_priors(["x=normal(0, 1)", "x=normal(0, 2)"])


def test_the_command_line_is_recorded_as_it_must_be_typed(place):
    request = Request("y ~ x", "a b.csv", "auto", "out", 3, prior=("x=normal(0, 1)",), time_limit=2.0)
    assert (
        command_line(request)
        == "jensen fit 'y ~ x' --data 'a b.csv' --seed 3 --time-limit 2.0 --prior 'x=normal(0, 1)'"
    )
    assert str(free_folder("y ~ x + (1|g)")) == "jensen-y-x-1-g"
    (place / "jensen-model-line").mkdir()
    assert str(free_folder("a/model.py:line")) == "jensen-model-line-2"


def test_help_and_papers_wait_for_no_heavy_import():
    code = "import sys; from jensen.cli import run; run(['--help']); run(['papers']); "
    code += "print([m for m in ('jax', 'numpyro', 'arviz') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.rstrip().endswith("[]")
