"""A study's cells are spread well over train tasks."""

import itertools
from collections import Counter

import pytest

from components.study.model_catalogue import APPLICATIONS
from components.study.shards import batch, batches, labels
from pipeline.study_file import read_study


def study(*overrides, source="sklearn:digits", seeds=5):
    return read_study(source, list(overrides), seeds)


@pytest.mark.parametrize("fan_out", [1, 2, 3, 8, 500])
def test_every_cell_is_in_one_batch_and_no_batch_is_empty(fan_out):
    whole = study()
    parts = batches(whole, fan_out)
    assert all(parts)
    assert len(parts) <= fan_out
    assert sorted(cell.id for part in parts for cell in part) == sorted(cell.id for cell in whole.cells())
    told = labels(whole, fan_out)
    assert told == [f"{number}/{len(parts)}" for number in range(1, len(parts) + 1)]
    assert [batch(whole, fan_out, label) for label in told] == parts
    assert batch(whole, fan_out, f"{len(parts) + 1}/{len(parts)}") == []


@pytest.mark.parametrize("fan_out", [2, 3, 4])
def test_at_most_one_arm_a_cut_is_torn_and_networks_stay_together(fan_out):
    parts = batches(study(), fan_out)
    tasks_of_arm = Counter(arm for part in parts for arm in {cell.arm for cell in part})
    assert sum(count - 1 for count in tasks_of_arm.values()) <= fan_out - 1
    for part in parts:
        networks = [(cell.recipe.model, cell.recipe.augment) for cell in part]
        changes = sum(one != other for one, other in itertools.pairwise(networks))
        assert changes == len(set(networks)) - 1


def test_equal_cells_share_a_batch_so_that_none_is_trained_twice():
    twins = study("arms={same: {}, again: {}, other: {scale: tanh}}", seeds=4)
    for part in batches(twins, 3):
        arms_by_seed = {}
        for cell in part:
            arms_by_seed.setdefault(cell.seed, set()).add(cell.arm)
        for arms in arms_by_seed.values():
            assert not arms & {"reference", "same", "again"} or {"reference", "same", "again"} <= arms


def test_costly_models_share_a_batch_with_fewer_cells():
    long = study(f"recipe.model.name={APPLICATIONS}MobileNet", "arms={trees: {model.name: random_forest}}", seeds=2)
    first, second = batches(long, 2)
    assert {cell.arm for cell in first} == {"reference"}
    assert {cell.arm for cell in second} == {"reference", "trees"}
