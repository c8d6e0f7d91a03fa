"""`assay data`, and a study of the user's own images from the command line."""

import json

import numpy as np
import pytest
from command import assay, events
from PIL import Image

from components.errors import UsageError
from pipeline.study_file import read_study, write_study


@pytest.fixture
def pets(tmp_path):
    """Own splits of two classes of 4x5 images; a test row is also a train row, and a file is no image."""
    for i in range(60):
        file = tmp_path / "My pets!" / ("test" if i >= 48 else "train") / ("cat", "dog")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i % 59).integers(0, 99, (4, 5), np.uint8)).save(file)
    folder = tmp_path / "My pets!"
    (folder / "test" / "dog" / "59.png").rename(folder / "test" / "cat" / "59.png")
    (folder / "test" / "cat" / "notes.txt").write_text("")
    return folder


def test_the_report_is_printed_without_training_and_nothing_is_left(pets):
    done = assay("data", f"images:{pets.name}", cwd=pets.parent, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert (
        "60 rows of 2 classes, 4 x 5 x 1 images, uint8; 12 test rows, and 48 to train and validate on." in done.stdout
    )
    assert "files of other types are left out: 1 .txt" in done.stdout
    assert "the source has its own test rows (12)" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in pets.parent.iterdir()] == ["My pets!"]


def test_the_report_can_be_written(tmp_path):
    done = assay("data", "iris", "-o", "out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "wrote data.md, data.json and data.png to out\n")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["data.json", "data.md", "data.png"]
    assert json.loads((tmp_path / "out" / "data.json").read_text())["rows"] == 150


def test_what_would_falsify_the_answer_is_printed_and_fails(pets):
    done = assay("data", f"images:{pets.name}", "--set", "data.test=test", cwd=pets.parent, COLUMNS="200")
    assert done.returncode == 1
    assert "Errors: these falsify the answer" in done.stdout
    assert done.stderr.startswith("error: 1 of 12 test rows are also among the rows to train on")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["images:nowhere"], 1, ["error: images:nowhere: the folder is not there"]),
        (["My pets!"], 2, ["My pets! is a folder", "images:My pets!"]),
        (["images:My pets!", "--set", "data.allow=[duplicate]"], 2, ["data.allow", "did you mean duplicates?"]),
        (["images:My pets!", "--set", "data.kind=table"], 2, ["images:My pets! is image data, got 'table'"]),
        (["images:My pets!", "--set", "data.image_size=0"], 2, ["data.image_size", "at least 1"]),
        (["sklearn:iris", "--set", "data.image_size=8"], 2, ["only images:DIR has it"]),
        (["image:My pets!"], 2, ["no source is called 'image:My pets!'", "images:DIR"]),
        (["iris", "-o", "/proc/nowhere"], 2, ["can't write /proc/nowhere"]),
    ],
)
def test_bad_input_is_one_message(pets, arguments, code, parts):
    done = assay("data", *arguments, cwd=pets.parent)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_a_study_is_called_as_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source in ("images:a/My pets", "images:a/My pets/", "images:../x/My pets"):
        assert read_study(source, [], None).study == "My pets"
    assert read_study("images:.", [], None).study == tmp_path.name
    assert read_study("images:a/_?", [], None).study == "study"


def test_a_written_study_of_images_means_the_same(tmp_path):
    (tmp_path / "pets.yaml").write_text(write_study("images:pets"))
    assert read_study(str(tmp_path / "pets.yaml"), [], None) == read_study("images:pets", [], None)


def test_one_allowance_needs_no_list():
    study = read_study("images:pets", ["data.allow=unreadable-files", "data.image_size=[32, 48]"], None)
    assert study.data.allow == ("unreadable-files",)
    assert study.data.image_size == (32, 48)
    with pytest.raises(UsageError, match="expected one of duplicates, label-column, unreadable-files"):
        read_study("images:pets", ["data.allow=[all]"], None)


def test_a_study_of_own_images_runs_and_says_what_is_wrong_with_them(pets):
    settings = ("recipe.train.epochs=2", "recipe.model={name: mlp, units: [4]}", "arms={}", "recipe.augment=none")
    overrides = [part for setting in settings for part in ("--set", setting)]
    done = assay("run", f"images:{pets.name}", "--seeds", "2", *overrides, cwd=pets.parent)
    assert done.returncode == 0, done.stderr
    assert "warning: files of other types are left out: 1 .txt" in done.stderr.replace("\n", " ")
    assert len([event for event in events(pets.parent) if event["event"] == "warning"]) == 2
