import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.stats.metrics import confusion, recalls, scores

# Four rows of three classes: right, right, taken for class 0, right.
PROBABILITIES = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.25, 0.25, 0.5]])
Y = np.array([0, 1, 1, 2])


def test_scores_are_those_of_a_hand_calculation():
    found = scores(PROBABILITIES, Y)
    assert found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx(-np.log([0.5, 0.5, 0.3, 0.5]).mean())
    assert found["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_recall_is_by_class():
    assert recalls(PROBABILITIES, Y) == [1.0, 0.5, 1.0]


def test_a_class_without_rows_has_no_recall_and_costs_no_warning():
    assert recalls(PROBABILITIES, np.array([0, 1, 0, 0])) == [pytest.approx(2 / 3), 1.0, 0.0]


def test_confusion_has_the_truth_in_rows():
    assert confusion(PROBABILITIES, Y).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


def test_a_certain_mistake_has_a_finite_loss():
    assert scores(np.array([[1.0, 0.0]]), np.array([1]))["loss"] == pytest.approx(87.3, abs=0.1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_accuracy_recall_and_confusion_agree(pairs):
    y, predicted = np.array(pairs).T
    probabilities = np.eye(4)[predicted]
    counts = confusion(probabilities, y)
    assert counts.sum() == len(y)
    assert scores(probabilities, y)["accuracy"] == pytest.approx(np.trace(counts) / len(y))
    of_class = counts.sum(axis=1)
    expected = np.divide(np.diag(counts), of_class, out=np.zeros(4), where=of_class > 0)
    np.testing.assert_allclose(recalls(probabilities, y), expected)
