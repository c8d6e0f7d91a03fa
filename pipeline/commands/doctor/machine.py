"""The checks of `assay doctor` on this machine: Python, packages, disk, memory, GPU, Docker."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from components.errors import AssayError
from components.runtime.devices import gpus
from pipeline.commands.doctor.check_result import ANSWER_SECONDS, DEEP_SECONDS, CheckResult, State
from pipeline.kubeflow.settings import IMAGE

DISTRIBUTION = "assay-pipeline"
GIGABYTE = 10**9
DISK = (1 * GIGABYTE, 5 * GIGABYTE)  # with less it is missing, or worth a warning
MEMORY = (GIGABYTE // 2, 2 * GIGABYTE)  # TensorFlow alone takes half of the first
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes


def check_python() -> CheckResult:
    """Compare this Python with what Assay's package asks for."""
    from packaging.specifiers import SpecifierSet

    wanted = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"]
    here = ".".join(str(part) for part in sys.version_info[:3])
    if SpecifierSet(wanted).contains(here):
        return CheckResult("ok", f"{here}, {sys.executable}")
    return CheckResult("missing", f"{here} at {sys.executable}; Assay wants {wanted}", "make setup PYTHON=python3.12")


def check_packages(wanted: Sequence[str] | None = None) -> CheckResult:
    """Compare the installed packages with requirements such as `numpy>=2.0`, by default those of Assay itself.

    A requirement of an extra counts only where its package is installed.
    """
    from packaging.requirements import Requirement

    wrong, fine = [], 0
    for requirement in map(Requirement, wanted or importlib.metadata.requires(DISTRIBUTION) or ()):
        extra = requirement.marker is not None and "extra" in str(requirement.marker)
        if requirement.marker and not extra and not requirement.marker.evaluate():
            continue
        installed = _installed(requirement.name)
        if installed is None and not extra:
            wrong.append(f"{requirement.name} is not installed (wanted: {requirement.specifier})")
        elif installed and not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} (wanted: {requirement.specifier})")
        else:
            fine += installed is not None
    if wrong:
        return CheckResult(
            "missing", "; ".join(wrong), "make setup, or pip install --constraint docker/constraints.txt ."
        )
    return CheckResult("ok", f"{fine} have a version that fits")


def _installed(name: str) -> str | None:
    """Return a package's version; tensorflow-cpu is TensorFlow, too."""
    for alias in (name, "tensorflow-cpu") if name == "tensorflow" else (name,):
        try:
            return importlib.metadata.version(alias)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_disk() -> CheckResult:
    """Look for room in this folder, where runs are kept."""
    return _enough(shutil.disk_usage(Path.cwd()).free, DISK, "free here", "make room")


def check_memory() -> CheckResult:
    """Look for memory that a training process can have."""
    return _enough(_memory(), MEMORY, "available", "close programs, or run with --fan-out 1")


def _enough(found: int, wanted: tuple[int, int], where: str, mend: str) -> CheckResult:
    """Compare a number of bytes with the least that is needed and the least that is comfortable."""
    told = f"{found / GIGABYTE:.1f} GB {where}"
    if found >= wanted[1]:
        return CheckResult("ok", told)
    state: State = "warning" if found >= wanted[0] else "missing"
    return CheckResult(state, f"{told}; {wanted[1] / GIGABYTE:.1f} GB are comfortable", mend)


def _memory() -> int:
    """Return how many bytes of memory are available, at most a container's limit."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(available, int(MEMORY_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return available


def check_gpu(deep: bool) -> CheckResult:
    """Look for NVIDIA's GPUs; `deep` asks TensorFlow and JAX themselves, which takes many seconds."""
    models = gpus() or _listed_by_driver()
    if not models:
        return CheckResult("ok", "none; the CPU computes")
    told = ", ".join(models)
    if not any((package.name or "").startswith("nvidia-cudnn") for package in importlib.metadata.distributions()):
        return CheckResult("warning", f"{told}, but no CUDA for TensorFlow", f"pip install '{DISTRIBUTION}[gpu]'")
    if not deep:
        return CheckResult("ok", f"{told}, and CUDA's libraries; --deep asks TensorFlow")
    seen = _seen_by_libraries()
    blind = [name for name, devices in seen.items() if devices == 0]
    if blind:
        mend = "compare the CUDA version that `nvidia-smi` prints with the nvidia- packages; JAX wants jax[cuda12]"
        return CheckResult("warning", f"{told}, but {' and '.join(blind)} can't use it", mend)
    return CheckResult("ok", f"{told}, usable by {' and '.join(seen)}")


def _listed_by_driver() -> list[str]:
    """Return the GPUs that nvidia-smi lists, for machines whose driver is not in /proc."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1") or not shutil.which("nvidia-smi"):
        return []
    done = _command("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def _seen_by_libraries() -> dict[str, int]:
    """Return how many GPUs TensorFlow and, where it is installed, JAX see; each is asked in a process of its own."""
    asked = {"TensorFlow": "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"}
    if _installed("jax"):
        asked["JAX"] = "import jax; print(sum(device.platform == 'gpu' for device in jax.devices()))"
    seen = {}
    for name, program in asked.items():
        done = _command(sys.executable, "-c", program, seconds=DEEP_SECONDS / 3)
        if done.returncode:
            raise AssayError(f"{name} can't be imported: {_last_line(done.stderr)}")
        seen[name] = int(done.stdout.split()[-1])
    return seen


def check_docker() -> CheckResult:
    """Ask the Docker engine for its version; it is needed by what runs in containers only."""
    state: State = "missing" if os.environ.get("DOCKER_HOST") else "warning"
    if not shutil.which("docker"):
        return CheckResult(
            state, "not installed; only runs in containers need it", "https://docs.docker.com/engine/install/"
        )
    done = _command("docker", "version", "--format", "{{.Server.Version}}")
    if done.returncode == 0:
        return CheckResult("ok", f"engine {done.stdout.strip()}")
    reason = _last_line(done.stderr)
    if "permission denied" in reason.lower():
        mend = "sudo usermod --append --groups docker $USER, then log in again; who may do so is as good as root"
        return CheckResult(state, "the engine is there, and you may not use it", mend)
    return CheckResult(
        state, f"the engine does not answer: {reason}", "start it (sudo systemctl start docker), or see DOCKER_HOST"
    )


def check_image() -> CheckResult:
    """Look whether Assay's image is built."""
    if not shutil.which("docker") or _command("docker", "version").returncode:
        return CheckResult("ok", "not looked for, as no engine answers")
    done = _command("docker", "image", "inspect", "--format", "{{.Id}}", IMAGE)
    if done.returncode == 0:
        return CheckResult("ok", f"{IMAGE}, {done.stdout.strip().removeprefix('sha256:')[:12]}")
    return CheckResult("warning", f"there is no image {IMAGE}", "`assay run STUDY --on docker` builds it")


def _command(*words: str, seconds: float = ANSWER_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command; one that hangs has failed."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"no answer within {seconds:g} s")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
