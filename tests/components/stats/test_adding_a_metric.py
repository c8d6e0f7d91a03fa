"""A new metric is a row: a study may then decide on it, and it is in the verdict, on the page and in the gate."""

import numpy as np
import pytest

from components.stats.metrics import METRICS, Metric


def brier(probabilities: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distance to the row's class, over all classes (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[y]
    return ((probabilities - truth) ** 2).sum(axis=1)


@pytest.mark.slow
@pytest.mark.usefixtures("in_workplace")
def test_a_study_decides_on_the_metric(run_steps, monkeypatch):
    monkeypatch.setitem(METRICS, "brier", Metric("Brier score", False, brier, unit="", counts=False))
    recipe = {"model": {"units": [24]}, "train": {"learning_rate": 0.01, "early_stopping": False}}
    arms = {"narrow": {"model.units": [2]}}
    first = run_steps("adding a metric", metric="brier", recipe=recipe, arms=arms).all()
    (effect,) = first.verdict["effects"]
    prepared = first.prepared
    expected = [
        np.mean([brier(first.cell(f"{arm}-{seed}").probabilities("validation"), prepared.y[prepared.split(seed)[1]])])
        for arm in (0, 1)
        for seed in (0, 1)
    ]
    assert effect["effect"] == pytest.approx(sum(expected[:2]) / 2 - sum(expected[2:]) / 2)  # below 0 is worse
    assert first.verdict["winner"]["arm"] == "reference"
    assert {"accuracy", "loss"} <= effect["others"].keys()
    page = (first.folder / "verdict" / "report" / "report.html").read_text()
    assert "Brier score" in page
    assert first.decision.decision == "promoted"

    poor = {**recipe, "model": {"units": [2]}}
    second = run_steps("adding a metric", metric="brier", recipe=poor, arms={}, gate={"guard": ["brier"]}).all()
    assert second.decision.decision == "kept"
    assert "brier" in second.decision.reason
