import importlib
import inspect
import json
import pkgutil

import pytest

import jensen_papers
from jensen.core import Algorithm, Family, InputError, Objective, Target, UnknownName
from jensen_papers import Claim, Result


def test_every_paper_has_a_row_without_its_abstract():
    rows = jensen_papers.rows()
    assert len(rows) == 408
    assert len({row["id"] for row in rows}) == 408
    assert all(
        set(row) == {"id", "title", "topic", "verdict", "slug"} and row["title"] and row["topic"] for row in rows
    )
    assert {row["verdict"] for row in rows} == {"core", "recipe", "theory", "out"}
    assert json.loads(json.dumps(rows)) == rows


def test_slugs_lead_to_their_papers():
    assert jensen_papers.find("forward-backward").id == "P031"
    assert jensen_papers.find("P031").slug == "forward-backward"
    with pytest.raises(UnknownName, match="forward-backward"):
        jensen_papers.find("forward-backwards")
    with pytest.raises(InputError, match="not measured"):
        jensen_papers.find("P000")


def test_a_paper_shows_what_the_library_can_do_and_adds_nothing_to_it():
    for module in pkgutil.walk_packages(jensen_papers.__path__, "jensen_papers."):
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__.startswith("jensen_papers"):
                assert not issubclass(value, (Algorithm, Family, Target, Objective))


def test_a_result_is_plain_json_even_where_a_number_is_infinite():
    result = Result("P031", "x", 1.0, (Claim("c", "s", float("inf"), "< 1", None, False),))
    assert json.loads(result.to_json())["claims"][0] == {
        "claim": "c",
        "source": "s",
        "measured": None,
        "bound": "< 1",
        "baseline": None,
        "holds": False,
    }
    assert not result.holds


def test_a_time_is_part_of_the_verdict_but_not_of_unattended_tests():
    slow = Claim("seconds", "s", 2.0, "< 1", None, False, timed=True)
    wrong = Claim("nats", "s", 2.0, "< 1", None, False)
    assert Result("P031", "x", 1.0, (slow, wrong)).broken == ["nats"]
    alone = Result("P031", "x", 1.0, (slow,))
    assert alone.broken == []
    assert not alone.holds
