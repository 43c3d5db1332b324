"""`jensen vae`: what it writes, and one line for each kind of bad input."""

import numpy as np
import pytest

from jensen.cli import run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    rng = np.random.default_rng(0)
    images = (rng.random((60, 1, 1)) * 200 + 50 * rng.random((60, 4, 4))).astype(np.uint8)
    np.savez(folder / "images.npz", x_train=images, x_test=images[:10], y_train=np.zeros(60))
    np.savez(folder / "table.npz", X=rng.normal(size=(60, 3)))
    np.savez(folder / "two.npz", a=np.zeros((3, 2)), b=np.zeros((3, 2)))
    np.savez(folder / "none.npz", labels=np.zeros(4))
    np.savez(folder / "shapes.npz", X=np.zeros((5, 2)), X_test=np.zeros((5, 3)))
    (folder / "broken.npz").write_bytes(b"no archive")
    return folder


@pytest.mark.parametrize("name", ["images", "table"])
def test_it_writes_a_report_that_loads_nothing_and_refuses_to_replace_it(place, name, capsys):
    out = str(place / f"out-{name}")
    command = ["vae", str(place / f"{name}.npz"), "--out", out, "--epochs", "2"]
    assert run(command) == 0
    assert "test bound" in capsys.readouterr().out
    page = (place / f"out-{name}" / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 4
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "")
    with np.load(place / f"out-{name}" / "results.npz") as results:
        assert results["bound"].shape == (10 if name == "images" else 6,)
        assert results["khat"].shape == results["bound"].shape
    assert run(command) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.npz"], "No file"),
        (["broken.npz"], "truncated"),
        (["two.npz"], "under the name X.*a \\(3, 2\\)"),
        (["none.npz"], "none"),
        (["shapes.npz"], "have shape"),
        (["table.npz", "--latent", "0"], "at least 1"),
        (["table.npz", "--likelihood", "poisson"], "counts"),
        (["table.npz", "--seed", "-1"], "--seed"),
    ],
)
def test_bad_input_is_one_line(place, tmp_path, arguments, words, capsys):
    import re

    assert run(["vae", str(place / arguments[0]), "--out", str(tmp_path / "out"), *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert error.count("\n") == 1
