"""A run that was killed ends with the numbers of one that was not."""

import os
import signal
import threading

import numpy as np
import pytest

from components.data.encoding import Inputs
from components.runtime.checkpoint import Checkpoint, TerminatedError
from components.study.recipe import Recipe, merge
from components.training.backends.tensorflow_program import Program
from components.training.engine import Split

ROWS = 150
SPREAD = np.array([0.3, 0.0, 1.0])
# All that training remembers from epoch to epoch: momenta, batch statistics, dropout's generators, the average of the
# weights, the best ones, and what early stopping and the plateau count.
RECIPE = {
    "augment": {"rotate": 10, "noise": 0.1},
    "model": {"units": [12, 8], "dropout": 0.3},
    "train": {
        "epochs": 12,
        "batch_size": 64,
        "learning_rate": 0.03,
        "ema": 0.5,
        "schedule": "plateau",
        "plateau": {"patience": 1},
        "early_stopping": {"patience": 4},
    },
}


class KilledError(Exception):
    """Ends training in the middle, as a kill does."""


def recipe_of(**changes) -> Recipe:
    return Recipe.model_validate(merge(RECIPE, changes))


@pytest.fixture(scope="module")
def split(digits) -> Split:
    x, y = np.asarray(digits.x[: ROWS + 60], np.float32) / 16, np.array(digits.y[: ROWS + 60])
    return Split(x[:ROWS], y[:ROWS], x[ROWS:], y[ROWS:])


def program_of(recipe: Recipe) -> Program:
    return Program(recipe, Inputs((8, 8, 1)), 10, ROWS)


def train(program: Program, split: Split, recipe: Recipe, checkpoint: Checkpoint, killed_in: int | None = None):
    """Train seed 3; returns the fit and the epochs that were told."""
    told: list[tuple[int, dict[str, float]]] = []

    def on_epoch(epoch: int, values: dict[str, float]) -> None:
        if epoch == killed_in:
            raise KilledError
        told.append((epoch, values))

    return program.fit(split, recipe.train, 3, SPREAD, on_epoch, checkpoint), told


@pytest.mark.parametrize("changes", [{}, {"train": {"ema": 0.0, "early_stopping": None}}], ids=["all", "last epoch"])
def test_training_continues_to_the_same_numbers(split, tmp_path, changes):
    recipe = recipe_of(**changes)
    whole = program_of(recipe)
    expected, told = train(whole, split, recipe, Checkpoint(tmp_path / "never", 99))
    assert not (tmp_path / "never").exists()
    epochs = len(expected.curves["loss"])
    checkpoint = Checkpoint(tmp_path / "cell", 0)
    for killed_in in (2, 5):
        with pytest.raises(KilledError):
            train(program_of(recipe), split, recipe, checkpoint, killed_in)
    used = program_of(recipe)
    used.fit(split, recipe.train, 0, SPREAD)  # another seed before it
    found, again = train(used, split, recipe, checkpoint)
    assert epochs > 6
    assert found.resumed == 5
    assert again == told
    assert (found.curves, found.epoch) == (expected.curves, expected.epoch)
    for ours, theirs in zip(used.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_killed_after_its_last_epoch_it_trains_no_more(split, tmp_path):
    recipe, checkpoint = recipe_of(), Checkpoint(tmp_path / "cell", 0)
    expected, _ = train(program_of(recipe), split, recipe, checkpoint)
    found, _ = train(program_of(recipe), split, recipe, checkpoint)
    assert found.resumed == len(found.curves["loss"])
    assert (found.curves, found.epoch) == (expected.curves, expected.epoch)


def test_it_is_written_when_the_minutes_are_over(tmp_path):
    checkpoint = Checkpoint(tmp_path / "cell", 1)
    assert not checkpoint.due()
    checkpoint._written -= 60
    assert checkpoint.due()
    checkpoint.write({}, [])
    assert not checkpoint.due()
    assert Checkpoint(tmp_path / "cell", 0).due()


@pytest.mark.parametrize("length", [0, 10, -1], ids=["empty", "cut off", "but for its last byte"])
def test_a_broken_checkpoint_counts_as_none(tmp_path, length):
    checkpoint = Checkpoint(tmp_path / "cell", 0)
    checkpoint.write({"curves": [[1.0]]}, [np.arange(5)])
    saved = checkpoint.read()
    assert saved is not None
    assert saved[0] == {"curves": [[1.0]]}
    np.testing.assert_array_equal(saved[1][0], np.arange(5))
    checkpoint.file.write_bytes(checkpoint.file.read_bytes()[:length])
    assert checkpoint.read() is None
    assert [file.name for file in tmp_path.iterdir()] == ["cell"]


def test_a_write_that_fails_leaves_the_old_one(tmp_path):
    checkpoint = Checkpoint(tmp_path / "cell", 0)
    checkpoint.write("old", [])
    with pytest.raises(TypeError):
        checkpoint.write(object(), [])
    saved = checkpoint.read()
    assert saved is not None
    assert saved[0] == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["cell"]


def test_sigterm_lets_the_epoch_end_and_loses_nothing(split, tmp_path):
    recipe, checkpoint = recipe_of(), Checkpoint(tmp_path / "cell", 99)
    expected, _ = train(program_of(recipe), split, recipe, Checkpoint(tmp_path / "never", 99))
    before = signal.getsignal(signal.SIGTERM)

    def told_in_the_third(epoch: int, values: dict[str, float]) -> None:
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TerminatedError, match="continues"):
        program_of(recipe).fit(split, recipe.train, 3, SPREAD, told_in_the_third, checkpoint)
    assert signal.getsignal(signal.SIGTERM) is before
    found, _ = train(program_of(recipe), split, recipe, Checkpoint(tmp_path / "cell", 99))
    assert found.resumed == 3
    assert found.curves == expected.curves


def test_sigterm_behind_the_last_epoch_ends_the_process_too(tmp_path):
    with pytest.raises(TerminatedError), Checkpoint(tmp_path / "cell", 99).on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)


def test_outside_of_the_main_thread_signals_are_left_alone(tmp_path):
    passed: list[bool] = []

    def guarded() -> None:
        with Checkpoint(tmp_path / "cell", 99).on_sigterm():
            passed.append(True)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert passed == [True]
