import keras
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.study.recipe import EarlyStopping, Train
from components.training.epoch_control import EarlyStop, LearningRate

# Early stopping

curve_values = st.lists(st.floats(0, 4, width=32), min_size=1, max_size=25)


def ours_on(curve: list[float], rule: EarlyStopping) -> tuple[int, int]:
    """Return how many epochs were trained, and the best of them."""
    stopper, curves, best = EarlyStop(rule), {rule.monitor: []}, 0
    for epoch, value in enumerate(curve):
        curves[rule.monitor].append(value)
        if stopper.improved(curves):
            best = epoch
        if stopper.stop():
            return epoch + 1, best
    return len(curve), best


def keras_on(curve: list[float], rule: EarlyStopping) -> tuple[int, int]:
    callback = keras.callbacks.EarlyStopping(
        rule.monitor,
        min_delta=rule.min_delta,
        patience=rule.patience,
        mode="min" if "loss" in rule.monitor else "max",
        restore_best_weights=True,
        start_from_epoch=rule.start_from_epoch,
    )
    model = keras.Sequential([keras.Input((1,))])
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(curve):
        callback.on_epoch_end(epoch, {rule.monitor: value})
        if model.stop_training:
            return epoch + 1, callback.best_epoch
    return len(curve), callback.best_epoch if callback.best_weights is not None else len(curve) - 1


@given(
    curve_values,
    st.integers(0, 6),
    st.sampled_from([0.0, 1e-4, 0.25]),
    st.sampled_from(["val_loss", "val_accuracy", "val_macro_f1", "loss", "accuracy"]),
    st.sampled_from([0, 1, 7]),
)
@example([1.0, 1.0, 1.0], 0, 0.0, "val_loss", 0)
@example([1.0, 0.75, 0.5, 0.5], 1, 0.25, "val_loss", 0)
@example([0.0, 3.0, 2.0, 2.0, 2.0], 1, 0.0, "val_loss", 1)
def test_early_stopping_decides_as_keras_does(curve, patience, min_delta, monitor, start):
    rule = EarlyStopping(monitor=monitor, patience=patience, min_delta=min_delta, start_from_epoch=start)
    assert ours_on(curve, rule) == keras_on(curve, rule)


# Learning rates


def every_rate(steps: int = 3, curve: list[float] | None = None, **recipe) -> np.ndarray:
    """Return the learning rates of all steps, with val_loss going as the curve says."""
    train = Train.model_validate({"epochs": 8, "early_stopping": None, **recipe})
    schedule, rates = LearningRate(train, steps), []
    for epoch, value in enumerate(curve or range(train.epochs, 0, -1)):
        rates.append(schedule.rates(epoch))
        schedule.update(float(value))
    return np.concatenate(rates)


def test_a_constant_rate_never_changes():
    np.testing.assert_array_equal(every_rate(learning_rate=0.5), np.full(24, 0.5, np.float32))


@pytest.mark.parametrize("warm_up", [0, 1, 3])
def test_cosine_rates_are_those_of_keras(warm_up):
    warming = {"warmup_target": 0.5, "warmup_steps": 3 * warm_up} if warm_up else {}
    keras_rates = keras.optimizers.schedules.CosineDecay(0.0 if warm_up else 0.5, 24 - 3 * warm_up, **warming)
    found = every_rate(learning_rate=0.5, schedule="cosine", warm_up=warm_up)
    np.testing.assert_allclose(found, [float(keras_rates(step)) for step in range(24)], atol=1e-7)
    assert found[3 * warm_up] == found.max() == 0.5
    assert found[-1] < 0.01


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_any_schedule_can_warm_up(schedule):
    rates = every_rate(schedule=schedule, warm_up=2, learning_rate=0.6)
    np.testing.assert_allclose(rates[:8], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6], rtol=1e-6)


@given(curve_values, st.integers(1, 4), st.sampled_from([0.1, 0.5]))
@example([1.0, 1.0, 1.0, 1.0, 1.0], 2, 0.5)
def test_a_plateau_lowers_the_rate_as_keras_does(curve, patience, factor):
    callback = keras.callbacks.ReduceLROnPlateau("val_loss", factor=factor, patience=patience)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd")
    model.optimizer.learning_rate = 0.5
    callback.set_model(model)
    callback.on_train_begin()
    expected = []
    for epoch, value in enumerate(curve):
        expected.append(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)))
        callback.on_epoch_end(epoch, {"val_loss": value})
    plateau = {"patience": patience, "factor": factor}
    found = every_rate(1, curve, learning_rate=0.5, schedule="plateau", plateau=plateau, epochs=25)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
