import numpy as np
import pytest

from components.data.encoding import Inputs
from components.data.prepared import RowFile
from components.study.recipe import Recipe
from components.training.backends.tensorflow_program import Program
from components.training.engine import Split
from components.training.feed import Feed, Streamed

ROWS, COLUMNS = 100, 3


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(np.float32)


@pytest.fixture
def y(x):
    return (x[:, 0] > 0).astype(np.int32)


def in_the_order_wanted(feed, order):
    blocks = [(x.numpy()[wanted], y.numpy()[wanted]) for x, y, wanted in feed.blocks(order)]
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)], [len(block[1]) for block in blocks]


@pytest.mark.parametrize(
    ("block", "sizes"), [(32, [32, 32, 32, 4]), (40, [32, 32, 32, 4]), (1, [16] * 6 + [4]), (500, [100])]
)
def test_streamed_blocks_are_whole_batches_and_give_every_row_in_order(x, y, block, sizes):
    order = np.random.default_rng(1).permutation(ROWS).astype(np.int32)
    numbers = np.arange(ROWS)[::-1]  # the feed's row 0 is the file's last
    feed = Feed(Streamed(lambda rows: x[rows], numbers, block), y[::-1], batch=16)
    (found_x, found_y), found_sizes = in_the_order_wanted(feed, order)
    np.testing.assert_array_equal(found_x, x[::-1][order])
    np.testing.assert_array_equal(found_y, y[::-1][order])
    assert found_sizes == sizes


def test_an_array_is_one_block(x, y):
    order = np.arange(ROWS, dtype=np.int32)[::-1]
    (found_x, _), sizes = in_the_order_wanted(Feed(x, y, batch=16), order)
    np.testing.assert_array_equal(found_x, x[order])
    assert sizes == [ROWS]


@pytest.mark.parametrize("block", [16, 48])
def test_training_on_streamed_rows_gives_the_same_numbers_bit_by_bit(x, y, block):
    recipe = Recipe.model_validate(
        {
            "augment": {"noise": 0.1},
            "model": {"units": [8], "dropout": 0.2},
            "train": {"epochs": 3, "batch_size": 16, "early_stopping": False},
        }
    )
    train, validation = np.arange(0, 70), np.arange(70, ROWS)

    def stream(numbers):
        return Streamed(lambda rows: x[rows], numbers, block)

    program = Program(recipe, Inputs((COLUMNS,)), 2, len(train))
    spread = np.ones(COLUMNS)
    held = program.fit(Split(x[train], y[train], x[validation], y[validation]), recipe.train, 0, spread)
    weights = program.network.get_weights()
    streamed_split = Split(stream(train), y[train], stream(validation), y[validation])
    streamed = program.fit(streamed_split, recipe.train, 0, spread)
    assert streamed.curves == held.curves
    for after, before in zip(program.network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(program.probabilities(stream(validation)), program.probabilities(x[validation]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (4, 3, 1)])
def test_a_row_file_reads_the_rows_asked_for(tmp_path, dtype, shape):
    rows = np.random.default_rng(0).integers(0, 256, (20, *shape)).astype(dtype)
    np.save(tmp_path / "x.npy", rows)
    numbers = np.array([7, 0, 19, 7])
    found = RowFile(tmp_path / "x.npy")[numbers]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, rows[numbers])


def test_a_row_file_reads_no_rows(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    assert RowFile(tmp_path / "x.npy")[np.array([], int)].shape == (0, 2)
