import numpy as np
import pytest
from made_up import write_result

from components.errors import UsageError
from components.runtime.cells import Store
from components.stats.paired_effects import Spread
from components.steps.probe import Probe, _Trial, probe
from components.study.study import Study
from pipeline.commands.plan import OVERHEAD_SECONDS, Plan, lines, make_plan, read_duration, within_budget

ARMS = {"a": {"model.units": [4]}, "b": {"model.units": [8]}, "c": {"model.units": [12]}}


def study_of(seeds: int = 10, **changes) -> Study:
    values = {"study": "planned", "data": {"source": "sklearn:iris"}, "arms": ARMS, "seeds": seeds}
    return Study.model_validate({**values, **changes})


def plan_of(a_cell: float = 10.0, spread: float = 0.01, tasks: int = 2, **changes) -> Plan:
    study = study_of(**changes)
    spreads = {name: Spread(times * spread**2, 0.0, 3, 2, 288) for name, times in (("a", 1), ("b", 4), ("c", 9))}
    return Plan(study, Probe({arm.name: a_cell for arm in study.expand()}, spreads, 0), tasks)


def test_time_grows_with_the_seeds_and_shrinks_with_the_tasks():
    assert plan_of().seconds(10) == OVERHEAD_SECONDS + 10 * 4 * 10 / 2
    assert plan_of(tasks=4).seconds(10) == OVERHEAD_SECONDS + 10 * 4 * 10 / 4


def test_more_seeds_show_smaller_effects():
    shown = np.array([list(row[2].values()) for row in plan_of().rows()])
    assert (np.diff(shown, axis=0) < 0).all()


def test_every_arm_has_its_own():
    plan = plan_of()
    shows = plan.shows(10)
    assert (shows["b"] / shows["a"], shows["c"] / shows["a"]) == pytest.approx((2, 3))
    (_, _, shown), *_ = lines(plan)[0]
    least, most = (f"{100 * plan.shows(3)[arm]:.1f}" for arm in ("a", "c"))
    assert shown == f"{least} to {most} points"
    assert list(plan.table.columns) == ["seeds", "seconds", "a", "b", "c"]


def test_seeds_on_rows_that_others_have_show_less():
    """Five folds have no row in common, ten have each of them twice: 25 of their 45 pairs may share one."""
    study = study_of()

    def shown(seeds: int, shared: float) -> float:
        spreads = {"a": Spread(1e-4, shared, 2, 1, 288)}
        return Plan(study, Probe(dict.fromkeys(("reference", *ARMS), 10.0), spreads, 0), 2).shows(seeds)["a"]

    assert shown(5, 1e-5) == shown(5, 0.0)
    assert (shown(10, 1e-5) / shown(10, 0.0)) ** 2 == pytest.approx((1e-5 + 25 / 45 * 1e-5) / 1e-5)


def test_what_is_read_off_one_training_takes_its_time_once():
    arms = {"a": {"model.units": [4]}, "to the end": {"train.early_stopping": False}, "average": {"train.ema": 0.9}}
    assert plan_of(arms=arms).seconds_a_seed() == 2 * 10 / 2


def test_the_studys_own_seeds_are_among_the_rows():
    rows, about = lines(plan_of(seeds=7))
    assert "7" in [row[0] for row in rows]
    assert "where all 3 intervals hold at once" in about


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), (" 2M ", 120)]
)
def test_times_are_read(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "m", "20 minutes", "-5m", "0s", "1m30"])
def test_what_is_no_time_is_said(text):
    with pytest.raises(UsageError, match="expected a time such as 20m"):
        read_duration(text)


def test_a_budget_pays_for_so_many_seeds_of_all_arms():
    assert within_budget(plan_of(), 200) == int((0.9 * 200 - OVERHEAD_SECONDS) / 20)


def test_a_budget_for_less_than_two_seeds_is_refused_with_the_least():
    with pytest.raises(UsageError, match="less than two seeds; expected at least 1 min 07 s"):
        within_budget(plan_of(), 30)


def test_fractions_of_the_data_and_pairs_are_not_corrected_for():
    """As in the verdict, of which the plan says what it will show."""
    arms = {"a": {"model.units": [4]}, "b": {"train.ema": 0.9}, "half": {"data": 0.5}}
    plan = plan_of(arms=arms, pairs=True)
    assert len(plan.study.expand()) == 5
    assert plan.comparisons == 2
    assert "where all 2 intervals hold at once" in lines(plan)[1]


def test_a_loss_may_differ_by_more_than_one():
    (_, _, shown), *_ = lines(plan_of(spread=1.0, metric="loss"))[0]
    assert float(shown.split(" to ")[1]) > 1


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A real plan of a small study, trained for."""
    home = tmp_path_factory.mktemp("home")
    return make_plan(study_of(recipe={"train": {"epochs": 12, "early_stopping": False}}), 2, home)


def test_a_probe_says_how_long_every_arm_takes(planned):
    assert planned.probe.cells == 0
    assert set(planned.probe.seconds) == {"reference", "a", "b", "c"}
    assert all(0 < seconds < 60 for seconds in planned.probe.seconds.values())


@pytest.mark.parametrize(("reference", "arm"), [("logistic", "random_forest"), ("random_forest", "logistic")])
def test_trees_are_fitted_once_and_networks_every_epoch(tmp_path, monkeypatch, reference, arm):
    monkeypatch.setattr(_Trial, "epoch_seconds", 2.0)
    recipe = {"model": {"name": reference}, "train": {"epochs": 40, "early_stopping": False}}
    study = study_of(arms={"other": {"model.name": arm}}, recipe=recipe)
    seconds = make_plan(study, 2, tmp_path).probe.seconds
    assert {reference: seconds["reference"], arm: seconds["other"]} == {"logistic": 80.0, "random_forest": 2.0}


def test_a_probe_says_how_much_every_arm_varies(planned):
    assert set(planned.probe.spreads) == {"a", "b", "c"}
    assert all(1e-5 < of.variance < 0.1 for of in planned.probe.spreads.values())


def test_finished_cells_tell_more_than_a_probe(tmp_path):
    """A verdict's own spread and seconds are found again."""
    from components.data.preparation import prepare

    study = study_of(seeds=3, recipe={"train": {"epochs": 3}})
    prepared = prepare(study, tmp_path / "data")
    store = Store(tmp_path / "store", prepared.schema.fingerprint)
    rng = np.random.default_rng(0)
    for cell in study.cells():
        with store.write(cell.key) as folder:
            rows = prepared.split(cell.seed)[1]
            made = rng.dirichlet(np.ones(3), len(rows)).astype(np.float32)
            np.save(folder / "validation.npy", made)
            write_result(folder, seconds=2.5, seed=cell.seed)
    found = probe(study, prepared, store)
    assert found.cells == 12
    assert found.seconds == dict.fromkeys(("reference", "a", "b", "c"), 2.5)
    assert all(0.03 < of.variance**0.5 < 0.3 for of in found.spreads.values())
