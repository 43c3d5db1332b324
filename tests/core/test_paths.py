"""Names and links lead nowhere but into the folder that was asked for."""

import arviz
import numpy as np
import pytest
from tests.core.fits import a_fit

from jensen import datasets
from jensen._cli.fitting import free_folder
from jensen._cli.show import harmless
from jensen.core import UnknownName
from jensen.core._arviz import write_netcdf
from jensen.core.files import write_atomic
from jensen.core.storage import load_fit, save_fit
from jensen.targets import posteriordb

UP = ("../../etc/passwd", "/etc/passwd", "..", "a/../../b", "..\\..\\x", "\0", "con:x", "~/x", "$(id)", "x" * 5000)


@pytest.mark.parametrize("name", UP)
def test_names_are_no_paths(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for look_up in (datasets.load, datasets.describe, posteriordb):
        with pytest.raises(UnknownName):
            look_up(name)
    for model in (name, f"{name}.py:model", f"y ~ `{name}`"):
        folder = free_folder(model)
        assert folder.parent == type(folder)(".")
        assert folder.name.startswith("jensen-")
        assert len(folder.name) <= 70


def test_links_in_a_folder_are_replaced_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    inside = tmp_path / "out"
    inside.mkdir()
    for name in ("report.html", "posterior.nc", ".posterior.nc.new"):
        (inside / name).symlink_to(outside)
    write_atomic(inside / "report.html", b"report")
    write_netcdf(arviz.from_dict({"a": np.ones((1, 3))}), inside / "posterior.nc")
    assert outside.read_text() == "mine"
    assert not (inside / "report.html").is_symlink()
    assert not (inside / "posterior.nc").is_symlink()


def test_a_link_to_a_folder_stays_one(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    save_fit(a_fit(), real)
    link.symlink_to(real)
    save_fit(a_fit(info={"seed": 7}), link, overwrite=True)
    assert link.is_symlink()
    assert load_fit(real).info == {"seed": 7}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_a_terminal_is_told_nothing():
    assert harmless("a\x1b]0;owned\x07b\rc\x9bd") == r"a\x1b]0;owned\x07b\x0dc\x9bd"
    assert harmless("\u202egnp.exe") == r"\u202egnp.exe"
    assert harmless("two lines\n\tétage μ") == "two lines\n\tétage μ"
