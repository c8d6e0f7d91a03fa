import sys

import numpy as np
import pytest
import tensorflow as tf
from trainers import trainer_on

from components.errors import AssayError
from components.runtime import devices
from components.runtime.cells import Store
from components.runtime.devices import Computed, Device, computed, set_up, unused
from components.study.recipe import Train

A100 = {"name": "NVIDIA A100", "bfloat16": True}


def train_of(**changes) -> Train:
    return Train.model_validate(changes)


@pytest.fixture
def on(monkeypatch):
    """Return a function that puts another device into this machine."""

    def put(**device) -> None:
        monkeypatch.setattr("components.runtime.devices.device", lambda backend: Device(**device))

    return put


# What computes


def test_the_cpu_computes_in_full_precision_without_xla():
    assert computed(Train()) == Computed("tensorflow", "cpu", 1, "float32", jit=False)
    assert unused(Train()) is None


def test_a_gpu_computes_in_half_precision_with_xla(on):
    on(**A100)
    assert computed(Train()) == Computed("tensorflow", "NVIDIA A100", 1, "bfloat16", jit=True)
    on(name="Tesla V100")
    assert computed(Train()).precision == "float16"


def test_what_the_recipe_says_is_done(on):
    on(**A100)
    asked = computed(train_of(precision="float32", jit=False))
    assert (asked.precision, asked.jit) == ("float32", False)


def test_jax_uses_as_many_gpus_as_divide_a_batch(on):
    on(**A100, count=8)
    assert [computed(train_of(backend="jax", batch_size=size)).devices for size in (64, 12, 7)] == [8, 6, 7]
    assert computed(train_of(batch_size=64)).devices == 1


def test_idle_gpus_are_told_with_what_to_do(on):
    on(**A100, count=4)
    assert unused(train_of(backend="jax", batch_size=64)) is None
    assert "1 of 4 devices (NVIDIA A100) computes: train.backend: jax uses all" in str(unused(Train()))
    assert "choose a train.batch_size divisible by 4" in str(unused(train_of(backend="jax", batch_size=33)))


def test_idle_gpus_are_a_warning_once(on, iris, make_study, tmp_path, monkeypatch):
    on(name="cpu", count=2)
    study = make_study("sklearn:iris", recipe={"train": {"epochs": 1}}, arms={"a": {"model.units": [4]}}, seeds=1)
    trainer, told = trainer_on(iris, study, tmp_path), []
    monkeypatch.setattr(trainer.running, "emit", lambda event, **fields: told.append((event, *fields.values())))
    for cell in study.cells():
        trainer.train([cell])
    assert [event for event, *_ in told] == ["warning"]


# Setting up


def test_without_jax_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr("os.environ", {})
    monkeypatch.setattr("components.runtime.devices._set_keras_backend", lambda backend: None)
    with pytest.raises(AssayError, match=r"jax is not installed; pip install \'assay-pipeline\[jax\]\'"):
        set_up(train_of(backend="jax"), threads=1)


def test_another_backend_needs_a_new_process():
    import keras

    assert keras.config.backend() == "tensorflow"
    with pytest.raises(AssayError, match="Keras computes with tensorflow in this process already"):
        set_up(train_of(backend="jax"), threads=1)


def test_the_cpu_is_always_deterministic():
    """TensorFlow refuses random numbers without a seed where it is."""
    set_up(Train(), threads=0)
    tf.random.set_seed(None)  # another test may have set one
    with pytest.raises(RuntimeError, match="determinism"):
        tf.random.uniform(())
    assert not np.any(devices.device("tensorflow").bfloat16)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ["NVIDIA A100", "Tesla T4"]), ("0", ["NVIDIA A100", "Tesla T4"]), ("", []), ("-1", [])],
)
def test_the_models_of_gpus_are_known_without_starting_anything(tmp_path, monkeypatch, visible, expected):
    for number, model in enumerate(("NVIDIA A100", "Tesla T4")):
        (tmp_path / f"000{number}").mkdir()
        (tmp_path / f"000{number}" / "information").write_text(f"Model: \t\t {model}\nIRQ: 5\n")
    monkeypatch.setattr(devices, "GPUS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.gpus() == expected
    monkeypatch.setattr(devices, "GPUS", tmp_path / "none")
    assert devices.gpus() == []


def test_a_cell_of_another_gpu_is_another_cell(tmp_path, monkeypatch):
    store = Store(tmp_path, "data")
    before = store.path("key")
    monkeypatch.setattr("components.runtime.cells.gpus", lambda: ["NVIDIA A100"])
    assert store.path("key") != before
