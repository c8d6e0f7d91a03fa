"""What computes: sets a process up for a backend, and says which device, precision and compilation training then has.

Keras has one backend in a process, and TensorFlow and JAX read most of their settings once, when they start. So the
step `train` calls `set_up` before anything imports Keras.
"""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from components.errors import AssayError
from components.study.recipe import Backend, Train

BFLOAT16_FROM = 8.0  # the compute capability (Ampere) from which an NVIDIA GPU computes bfloat16 fast
GPUS = Path("/proc/driver/nvidia/gpus")


def gpus() -> list[str]:
    """Return the models of this machine's NVIDIA GPUs, without starting anything; none where they are hidden."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return []
    told = [file.read_text() for file in sorted(GPUS.glob("*/information"))]
    return [line.partition(":")[2].strip() for text in told for line in text.splitlines() if line.startswith("Model:")]


@dataclass(frozen=True)
class Computed:
    """What computed a cell."""

    backend: str  # tensorflow, jax or scikit-learn
    device: str  # cpu, or what the GPU is called
    devices: int  # how many of them
    precision: str  # of the hidden layers
    jit: bool  # the training step is compiled by XLA


@dataclass(frozen=True)
class Device:
    """The devices that a backend sees; they are taken to be alike."""

    name: str  # `cpu`, or what a GPU is called
    count: int = 1
    bfloat16: bool = False  # it computes in bfloat16 faster than in float32


def set_up(train: Train, threads: int) -> None:
    """Start TensorFlow, and JAX where it computes, with what the recipe says of them.

    TensorFlow augments and streams for both; where JAX computes it leaves the GPUs alone. Memory of a GPU is taken when
    it is needed and not all at once, since several train tasks may share it.

    Args:
        train: the reference's; all arms have its backend and its determinism.
        threads: of the CPU; 0: as many as it has.

    Raises:
        AssayError: where JAX is not installed, or Keras has started with another backend.
    """
    _set_keras_backend(train.backend)
    on_jax = train.backend == "jax"
    if on_jax:
        _start_jax(train.deterministic, threads)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    with suppress(RuntimeError):  # TensorFlow has started, as in a notebook: then with what it has
        tf.config.set_visible_devices([] if on_jax else gpus[:1], "GPU")
        for gpu in gpus[:1]:
            tf.config.experimental.set_memory_growth(gpu, True)
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    if train.deterministic or on_jax or not gpus:
        tf.config.experimental.enable_op_determinism()


def computed(train: Train) -> Computed:
    """Return what computes a recipe in this process.

    JAX's devices share the rows of a step evenly: as many are used as the batch size can be divided by.
    """
    found, on_jax = device(train.backend), train.backend == "jax"
    devices = max(n for n in range(1, found.count + 1) if train.batch_size % n == 0) if on_jax else 1
    on_cpu = found.name == "cpu"
    jit = on_jax or (not on_cpu if train.jit == "auto" else train.jit)
    precision = train.precision
    if precision == "auto":
        precision = "float32" if on_cpu else "bfloat16" if found.bfloat16 else "float16"
    return Computed(train.backend, found.name, devices, precision, jit)


def unused(train: Train) -> str | None:
    """Return which GPUs a recipe leaves idle, and how to mend it; None where it uses all."""
    found, used = device(train.backend), computed(train).devices
    if used == found.count:
        return None
    mend = "train.backend: jax uses all"
    if train.backend == "jax":
        even = f"they share a step's {train.batch_size} rows evenly"
        mend = f"{even}; choose a train.batch_size divisible by {found.count}"
    return f"{used} of {found.count} devices ({found.name}) computes: {mend}"


@cache
def device(backend: Backend) -> Device:
    """Return what the backend computes on; starts it."""
    if backend == "jax":
        import jax

        first, *others = jax.local_devices()
        capability = 0.0
        with suppress(AttributeError, ValueError):  # it has none that is a number
            capability = float(first.compute_capability)
        name = "cpu" if first.platform == "cpu" else first.device_kind
        return Device(name, 1 + len(others), capability >= BFLOAT16_FROM)
    import tensorflow as tf

    if not tf.config.list_logical_devices("GPU"):
        return Device("cpu")
    gpus = tf.config.list_physical_devices("GPU")
    details = tf.config.experimental.get_device_details(gpus[0])
    major, minor = details.get("compute_capability", (0, 0))
    return Device(details.get("device_name", "gpu"), len(gpus), major + minor / 10 >= BFLOAT16_FROM)


def _set_keras_backend(backend: Backend) -> None:
    if "keras" in sys.modules:
        import keras

        if keras.config.backend() != backend:
            raise AssayError(
                f"train.backend: Keras computes with {keras.config.backend()} in this process already, and the recipe "
                f"says {backend}; start a new process"
            )
    os.environ["KERAS_BACKEND"] = backend


def _start_jax(deterministic: bool, threads: int) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if threads:
        os.environ["NPROC"] = str(threads)  # what JAX goes by on the CPU
    if deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    try:
        import jax
    except ImportError:
        raise AssayError(
            "train.backend: jax is not installed; pip install 'assay-pipeline[jax]', or set train.backend: tensorflow"
        ) from None
    jax.devices()


CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time in a period of microseconds


def cores() -> int:
    """Return how many processor cores this process may use; a container may have less than the machine."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # no limit is said as "max 100000"
        quota, period = map(int, CPU_LIMIT.read_text().split())
        found = min(found, max(quota // period, 1))
    return found
