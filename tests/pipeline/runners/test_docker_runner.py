"""What of this machine a container is given; the containers themselves are in tests/docker."""

import os
from pathlib import Path

import pytest
from command import assay

from components.study.study import Study
from pipeline.runners.docker import _bounds, _mounts, _user_folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "work" / ".assay").mkdir(parents=True)
    return tmp_path / "work"


def study(source: str, **model: object) -> Study:
    return Study.model_validate({"study": "s", "data": {"source": source}, "recipe": {"model": model} if model else {}})


def test_with_a_server_only_the_store_is_written_and_data_are_read(tmp_path, home):
    (tmp_path / "photos").mkdir()
    (tmp_path / "key.json").touch()
    (tmp_path / "top.h5").touch()
    environment = {
        "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
        "ASSAY_EVENTS": str(home / ".assay"),
        "AWS_SESSION_TOKEN": "/" + 5000 * "x",
    }
    weights = {"name": "applications/MobileNetV2", "weights": str(tmp_path / "top.h5")}
    assert _mounts(study("images:../photos", **weights), home, environment) == {
        tmp_path / "photos": "ro",
        tmp_path / "key.json": "ro",
        tmp_path / "top.h5": "ro",
        home / ".assay": "rw",
    }


def test_with_files_of_mlflow_its_folders_are_written(tmp_path, home):
    (tmp_path / "runs").mkdir()
    given = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/runs/mlflow.db"}
    assert _mounts(study("sklearn:iris"), home, given) == {
        home / ".assay": "rw", home: "rw", tmp_path / "runs": "rw",
    }  # fmt: skip


@pytest.mark.parametrize(("prepared", "mode"), [(True, "ro"), (False, "rw")])
def test_a_data_set_of_tfds_is_prepared_where_it_is_for_all(tmp_path, home, prepared, mode):
    if prepared:
        (tmp_path / "sets" / "mnist" / "3.0.1").mkdir(parents=True)
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "TFDS_DATA_DIR": str(tmp_path / "sets")}
    assert _mounts(study("tfds:mnist:3.0.1"), home, environment) == {home / ".assay": "rw", tmp_path / "sets": mode}
    assert (tmp_path / "sets").is_dir()


def test_bounds_follow_the_engine():
    bounds = _bounds({"MemTotal": 1000, "NCPU": 1, "SecurityOptions": ["name=seccomp,profile=default"]})
    assert bounds["user"] == f"{os.getuid()}:{os.getgid()}"
    assert bounds["nano_cpus"] == 10**9
    assert bounds["mem_limit"] == bounds["memswap_limit"] == 900
    of_rootless = _bounds({"MemTotal": 1000, "NCPU": 1, "SecurityOptions": ["name=rootless", "name=selinux"]})
    assert of_rootless["user"] == "0:0"  # who is outside the user that started the engine
    assert "label=disable" in of_rootless["security_opt"]


@pytest.mark.parametrize(("home", "expected"), [("/home/ann", "/home/ann"), ("/usr/local", "/tmp"), ("/", "/tmp")])
def test_the_users_folder_never_hides_python(monkeypatch, home, expected):
    monkeypatch.setenv("HOME", home)
    assert _user_folder() == Path(expected)


def test_without_an_engine_one_sentence_says_so(tmp_path):
    done = assay("run", "iris", "--on", "docker", cwd=tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Docker engine answers (")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / ".assay").exists()


@pytest.mark.parametrize("option", [("--image", "assay:mine"), ("--gpu",)])
def test_options_of_containers_are_refused_without_them(tmp_path, option):
    done = assay("run", "iris", *option, cwd=tmp_path)
    assert done.returncode == 2
    assert "--image and --gpu are for `--on docker`" in done.stderr
