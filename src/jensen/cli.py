"""The command `jensen`."""

import os
import sys
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from jensen import __version__

app = App(
    name="jensen",
    help="Approximate Bayesian inference with a certificate: a model and data in, a posterior you can judge out.",
    version=__version__,
    version_flags=["--version"],
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

Priors = Annotated[list[str], Parameter(name="--prior", negative="")]
Flag = Parameter(negative="")


@app.command
def fit(
    model: str,
    /,
    *,
    data: str | None = None,
    method: str = "auto",
    out: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    time_limit: float | None = None,
    family: str = "gaussian",
    prior: Priors = [],  # noqa: B006
    missing: str = "error",
    overwrite: Annotated[bool, Flag] = False,
    log: str | None = None,
    log_file: str | None = None,
) -> int:
    """Fit a model, certify the posterior, write a report.

    Args:
        model: A formula ("y ~ x + (1|g)"), file.py:function (a NumPyro model; columns of the table become its
            arguments), or a name of posteriordb.
        data: A CSV or Parquet file, or the name of a data set.
        method: auto tries methods from cheap to dear until one is certified; a name of "jensen methods" runs
            that one.
        out: The folder to write to: the fit, report.html, posterior.nc. Default: jensen-MODEL. A fit that was killed or
            stopped by SIGTERM goes on from there when the same command is given with --out.
        seed: The same seed gives the same result.
        steps: At most so many steps of the one method.
        time_limit: Seconds after which nothing new is begun.
        family: Of a formula: gaussian, student, bernoulli, binomial, poisson, negative_binomial, gamma, ordered.
        prior: Of a formula, may be repeated: --prior "x=normal(0, 1)".
        missing: Rows of a formula's table that miss a value: error, or drop.
        overwrite: Replace the fit in the folder, and drop what another one left unfinished there.
        log: jsonl writes an object a line on how far it is: to standard error, or to --log-file.
        log_file: The file of the log; what is in it is replaced.
    """
    import dataclasses

    from jensen._cli.fitting import Request, fit_command

    limits = {"steps": steps, "time_limit": time_limit}
    formula = {"family": family, "prior": tuple(prior), "missing": missing}
    request = Request(model, data, method, out, seed, overwrite=overwrite, **limits, **formula)
    return fit_command(dataclasses.replace(request, log=log, log_file=log_file))


@app.command
def compare(
    model: str,
    /,
    *,
    methods: str,
    data: str | None = None,
    out: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    time_limit: float | None = None,
    family: str = "gaussian",
    prior: Priors = [],  # noqa: B006
    missing: str = "error",
) -> int:
    """Run several methods on one model: time, certificate, and error where the truth is known.

    Args:
        model: As for fit.
        methods: Names divided by commas, as in laplace,batch-match,auto.
        data: As for fit.
        out: A folder for compare.json and compare.svg; nothing is written without it.
        seed: As for fit.
        steps: At most so many steps of each method.
        time_limit: Seconds for each method.
        family: As for fit.
        prior: As for fit.
        missing: As for fit.
    """
    from jensen._cli.comparing import compare_command
    from jensen._cli.fitting import Request

    limits = {"steps": steps, "time_limit": time_limit}
    formula = {"family": family, "prior": tuple(prior), "missing": missing}
    return compare_command(Request(model, data, "", out, seed, **limits, **formula), methods)


@app.command
def methods(*, json: Annotated[bool, Flag] = False) -> int:
    """Every algorithm, family, objective and estimator: what it needs and gives, a line, its source.

    Args:
        json: Print JSON.
    """
    from jensen._cli.catalogue import methods_command

    return methods_command(json)


@app.command
def papers(*, topic: str | None = None, json: Annotated[bool, Flag] = False) -> int:
    """Every paper that the library answers to: whether it is measured, and the result.

    Args:
        topic: Only papers whose topic holds this text.
        json: Print JSON.
    """
    from jensen._cli.papers import papers_command

    return papers_command(topic, json)


@app.command
def reproduce(
    slug: str,
    /,
    *,
    full: Annotated[bool, Flag] = False,
    figure: str | None = None,
    json: Annotated[bool, Flag] = False,
) -> int:
    """Run the claims of a paper: claimed, measured, holds or fails (exit code 1).

    Args:
        slug: The paper, as "jensen papers" lists it.
        full: At the paper's own size.
        figure: A file to draw what was measured to (png, svg, pdf).
        json: Print JSON.
    """
    from jensen._cli.papers import reproduce_command

    return reproduce_command(slug, full, json, figure)


@app.command
def vae(
    data: str,
    /,
    *,
    out: str,
    latent: int = 2,
    likelihood: str = "auto",
    epochs: int = 100,
    seed: int = 0,
    overwrite: Annotated[bool, Flag] = False,
) -> int:
    """Train a variational autoencoder on the rows of an array, write a report.

    Args:
        data: An npz file: rows in X (or x_train, or its only array), those to test on in X_test or x_test. Images may
            have shape (rows, height, width); numbers of 8 bits are divided by 255.
        out: The folder to write to: report.html, results.npz. A run that was stopped goes on from there.
        latent: Number of latents.
        likelihood: auto, or a name of jensen.vae.VAE.
        epochs: At most so many passes over the rows.
        seed: The same seed gives the same result.
        overwrite: Replace what is in the folder.
    """
    from jensen._cli.autoencoding import vae_command

    return vae_command(data, out, latent, likelihood, epochs, seed, overwrite)


@app.command
def report(folder: str, /) -> int:
    """Write the HTML report of a saved fit.

    Args:
        folder: A folder that jensen fit or fit.save wrote.
    """
    from jensen._cli.fitting import report_command

    return report_command(folder)


@app.command
def watch(folder: str, /, *, port: int = 8350, host: str = "127.0.0.1", token: str | None = None) -> int:
    """Serve a live page on a running fit: its trace, certificate so far, throughput and memory. Read-only.

    Args:
        folder: What --out or checkpoint= of the run named.
        port: 0 takes any that is free.
        host: Where to listen. Anything but this machine itself needs a token.
        token: A secret of 16 characters or more that the page's address must hold; made up where one is needed.
    """
    from jensen._watch import watch_command

    return watch_command(folder, host, port, token)


@app.command
def bench(
    name: str | None = None,
    /,
    *arguments: Annotated[str, Parameter(allow_leading_hyphen=True)],
) -> int:
    """Run a benchmark, ours beside its peers; without a name, list them.

    Args:
        name: The benchmark, such as posteriordb.
        *arguments: What the benchmark itself takes.
    """
    from jensen._cli.papers import bench_command

    return bench_command(name, arguments)


def run(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 2 with one line on standard error for input that cannot be used."""
    try:
        return int(app(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0)
    except CycloptsError as error:
        return _fail(f"{_one_line(error)} (jensen --help)")
    except KeyboardInterrupt:
        return _fail("interrupted before there was anything to keep", 130)
    except BrokenPipeError:  # the reader, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not _expected(error):
            raise
        return _fail(str(error))


def _expected(error: Exception) -> bool:
    """Whether the error is one that names its cause: looked up among loaded modules, for importing them takes time."""
    names = (("jensen.core.errors", "JensenError"), ("jensen._cli.papers", "NotInstalled"))
    kinds = tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)
    return isinstance(error, kinds)


def _one_line(error: Any) -> str:
    return " ".join(str(error).split())


def _fail(words: str, code: int = 2) -> int:
    from jensen._cli.show import harmless

    print(f"jensen: {harmless(words)}", file=sys.stderr)
    return code


def main() -> None:
    """The entry point of the console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
