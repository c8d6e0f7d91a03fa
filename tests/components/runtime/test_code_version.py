"""A change of what decides numbers trains again, and a change of what is only said trains nothing."""

import shutil
from pathlib import Path

import pytest

from components.runtime import code_version
from components.runtime.code_version import PACKAGE, decisive_code, source_version


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package to change."""
    return shutil.copytree(PACKAGE, tmp_path / "components", ignore=shutil.ignore_patterns("__pycache__"))


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text, f"{file} has no {old!r}; name another line"
    file.write_text(text.replace(old, new, 1), "utf-8")


def module(package: Path, name: str) -> Path:
    """Return the file of a module wherever it lives, so that a move leaves this test as it is."""
    (found,) = package.rglob(name)
    return found


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("augment.py", "0.5", "0.25"),
        ("engine.py", "epoch: int = 0", "epoch: int = 1"),
        ("metrics.py", "CONFIDENCE_BINS = 15", "CONFIDENCE_BINS = 16"),
        ("recipe.py", "option(0.001", "option(0.002"),
        ("checkpoint.py", "60", "61"),
    ],
)
def test_a_change_of_what_decides_numbers_retrains_everything(package, name, old, new):
    change(module(package, name), old, new)
    assert decisive_code(package) != decisive_code(PACKAGE)


def test_a_new_layer_retrains_everything(package):
    (module(package, "dense.py").parent / "new.py").write_text("LAYERS = 3\n")
    assert decisive_code(package) != decisive_code(PACKAGE)


def test_what_only_shows_or_reads_retrains_nothing_and_is_other_code_in_the_image(package):
    change(module(package, "source_types.py"), '"table:FILE"', '"table:PATH"')
    change(module(package, "validation_errors.py"), "a whole number", "an integer")
    change(module(package, "study.py"), "0.02,", "0.03,")  # of the gate
    change(module(package, "mlflow_model.py"), '"image"', '"picture"')
    change(module(package, "augmentation_preview.py"), "TEXT_WIDTH = 100", "TEXT_WIDTH = 99")
    for file in [*package.rglob("*.j2"), module(package, "charts.py"), module(package, "tfds.py")]:
        file.write_text(file.read_text("utf-8") + "\n\n", "utf-8")
    assert decisive_code(package) == decisive_code(PACKAGE)
    assert source_version(package) != source_version(PACKAGE)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("engine.py", '"""', '"""Said in another way: '),  # a docstring
        ("checkpoint.py", "import json", "import json  # that is how it is written"),
        ("trees.py", "needs all rows in memory", "wants all rows in memory"),  # an error
        ("recipe.py", '"rows in a step"', '"rows of a step"'),
    ],
)
def test_a_change_of_words_retrains_nothing(package, name, old, new):
    change(module(package, name), old, new)
    assert decisive_code(package) == decisive_code(PACKAGE)


def test_what_decides_none_is_there():
    assert [name for name in code_version.DECIDES_NONE if not (PACKAGE / name).is_file()] == []


def test_a_module_that_is_gone_is_no_silence(package):
    module(package, "metrics.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"metrics\.py decides numbers"):
        decisive_code(package)


def test_the_hash_is_of_code_and_libraries(monkeypatch):
    ours = code_version.code_version()
    monkeypatch.setattr(code_version, "library_version", lambda library: "0")
    assert code_version.code_version.__wrapped__() != ours


def test_what_no_image_gets_is_no_other_code(package):
    (package / ".netrc").write_text("a login")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_bytes(b"\xff")
    assert source_version(package) == source_version(PACKAGE)
