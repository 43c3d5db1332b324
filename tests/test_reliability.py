"""The short forms of `make reliability` that no other test runs: damage to a run's files, and the cost of a save."""

import numpy as np
from jensen_bench import reliability
from jensen_bench.reliability import cost, damage


def test_no_damage_changes_a_number_in_silence():
    outcomes = damage.ours(len(damage.KINDS))
    assert set(outcomes) == set(damage.KINDS)
    assert set().union(*outcomes.values()) == {"same bits, said so"}
    assert sum(sum(counts.values()) for counts in outcomes.values()) == len(damage.KINDS)


def test_a_save_writes_no_more_late_than_early():
    _, written, size = cost.saves(80)
    assert size > 80 * 100 * 6 * 8  # all records are there
    early, late = np.median(written[5:20]), np.median(written[-15:])
    assert abs(late - early) < 0.001 * early  # digits of numbers in the header


def test_an_unknown_section_is_named(capsys):
    assert reliability.main(["nothing"]) == 2
    assert "kills, damage, cost" in capsys.readouterr().err
