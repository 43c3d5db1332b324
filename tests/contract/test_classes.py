"""What every class keeps to: abstract or final, documented with a formula and a source, and in the table of cases."""

import importlib
import inspect
import pkgutil

import equinox as eqx
import pytest

import jensen
from jensen.core import Algorithm, Family, GradientEstimator, Objective
from jensen.diffusion import DenoisingScoreMatching, FDistillation
from tests.contract.cases import CASES

KINDS = (Algorithm, Family, GradientEstimator, Objective)


def classes():
    """Every `eqx.Module` class that Jensen defines."""
    found = {}
    for module in pkgutil.walk_packages(jensen.__path__, "jensen."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, eqx.Module) and value.__module__ == module.name:
                found[f"{module.name}.{name}"] = value
    return found


def is_abstract(cls) -> bool:
    return inspect.isabstract(cls) or bool(cls.__abstractvars__ or cls.__abstractclassvars__)


ALL = classes()
PUBLIC = {
    name: cls for name, cls in ALL.items() if issubclass(cls, KINDS) and not is_abstract(cls) and "._" not in name
}


# those whose target has rows and scores, and no density as those of the cases: their contract is in tests/diffusion
OF_NO_DENSITY = {DenoisingScoreMatching, FDistillation}


def test_every_class_is_abstract_or_final():
    extended = {
        f"{cls.__qualname__}({base.__qualname__})"
        for cls in ALL.values()
        for base in cls.__bases__
        if base in ALL.values() and not is_abstract(base)
    }
    assert extended == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_has_a_formula(name):
    text = vars(PUBLIC[name]).get("__doc__") or ""
    assert "=" in text or "<-" in text


@pytest.mark.parametrize("name", [n for n, c in PUBLIC.items() if not issubclass(c, Family)])
def test_docstring_names_its_source(name):
    assert "Source:" in (vars(PUBLIC[name]).get("__doc__") or "")


def test_every_algorithm_is_in_the_table_of_cases():
    tried = {type(case.make()) for case in CASES.values()} | OF_NO_DENSITY
    assert {c.__name__ for c in PUBLIC.values() if issubclass(c, Algorithm) and c not in tried} == set()
