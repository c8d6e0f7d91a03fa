import json
from typing import Any

import pytest

from components.evaluation.looks import FILE, Look, left_to_spend, looks, looks_at_test_rows, read, remember
from components.stats.paired_effects import ALPHA


def look(seeds: int, planned: int, alpha: float, run: str = "first") -> Look:
    return Look("question", "data", run, seeds, planned, alpha)


def spent(*seeds: int, planned: int) -> list[float]:
    """Return what each look spends."""
    earlier: list[Look] = []
    for count in seeds:
        earlier.append(look(count, planned, left_to_spend(earlier, count, planned)))
    return [one.alpha for one in earlier]


def test_planned_looks_spend_five_percent_in_all_and_most_of_it_at_last():
    found = spent(5, 10, 20, 40, planned=40)
    assert sum(found) == pytest.approx(ALPHA)
    assert found == sorted(found)
    assert found[0] == pytest.approx(ALPHA * 0.125**1.5)


def test_a_single_look_has_all_of_it_and_one_from_more_seeds_nothing():
    assert spent(10, planned=10) == [ALPHA]
    assert left_to_spend([look(10, 10, ALPHA)], 20, 20) == 0
    assert look(20, 20, 0.0).exploratory
    assert look(20, 20, 0.0).may_miss == ALPHA


def test_the_same_numbers_seen_again_are_no_new_look():
    assert left_to_spend([look(5, 40, 0.002)], 5, 5) == 0.002


def test_fewer_seeds_after_more_are_exploratory():
    """They would be chosen knowing what more of them say."""
    assert left_to_spend([look(10, 40, 0.006)], 5, 40) == 0


def test_who_plans_fewer_seeds_than_first_said_may_spend_what_is_left():
    first = spent(5, planned=40)
    assert left_to_spend([look(5, 40, first[0])], 10, 10) == pytest.approx(ALPHA - first[0])


def test_two_runs_that_remember_one_look_count_it_once():
    of_two = [look(5, 40, 0.002), look(5, 40, 0.002, "second")]
    assert left_to_spend(of_two, 40, 40) == pytest.approx(ALPHA - 0.002)


def test_a_look_is_at_one_arm_on_one_version_of_the_data(make_study, digits, iris):
    def questions(prepared=digits, run: Any = "first", **changes: Any) -> dict[str, str]:
        arms = {"tanh": {"scale": "tanh"}, "narrow": {"model.units": [4]}}
        study = make_study(**{"arms": arms, **changes})
        return {arm: one.question for arm, one in looks(study, prepared.schema, run, ()).items()}

    first = questions()
    assert len(set(first.values())) == 2
    assert questions(run="other", seeds=9, study="other") == first
    assert questions(arms={"named otherwise": {"scale": "tanh"}})["named otherwise"] == first["tanh"]
    for changed in ({"prepared": iris}, {"decide_on": "accuracy"}, {"recipe": {"train": {"epochs": 3}}}):
        assert not set(questions(**changed).values()) & set(first.values())


def test_the_runs_that_judged_on_the_same_data_have_looked_at_its_test_rows(digits):
    data = digits.schema.fingerprint[:12]
    earlier = [
        Look("one", data, "a", 5, 5, ALPHA),
        Look("two", data, "a", 5, 5, ALPHA),
        Look("one", data, "b", 9, 9, 0),
    ]
    assert looks_at_test_rows(digits.schema, "b", [*earlier, Look("one", "else", "c", 5, 5, ALPHA)]) == 1


def test_a_store_remembers_each_look_once_and_a_torn_line_is_none(tmp_path):
    assert read(tmp_path) == []
    first, second = look(5, 40, 0.002), look(10, 40, 0.004)
    remember(tmp_path, [first])
    remember(tmp_path, [first, second])
    assert read(tmp_path) == [first, second]
    with (tmp_path / FILE).open("a") as file:
        file.write('{"question": "tor')
    assert read(tmp_path) == [first, second]
    remember(tmp_path, [look(20, 40, 0.01)])
    assert read(tmp_path)[-1].seeds == 20
    assert json.loads((tmp_path / FILE).read_text().splitlines()[0])["seeds"] == 5
