"""What the code is, as a hash: of what decides the numbers of a cell, and of all that the image holds.

A finished cell is used again only under the same `code_version`. So that mending a page or a message trains nothing
again, that hash knows only the modules that come between the user's rows and a cell's scores, and of those only what
runs: no comments, docstrings or formatting, and no message of an error or a warning.
"""

import ast
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from components.study.recipe import content_hash

PACKAGE = Path(__file__).parents[1]

# What comes between prepared rows and a cell's scores, or makes the model that is kept with them: folders and modules.
# How rows are read is not in it, since the data's own fingerprint is of what was read: a new source trains nothing
# again.
DECIDES = (
    "stats/metrics.py",
    "study",
    *("runtime/devices.py", "runtime/checkpoint.py", "runtime/cells.py"),
    *("data/splitting.py", "data/prepared.py", "data/encoding.py", "data/scaling.py"),
    "serving",
    "training",
)
# Of those folders, what decides none: how a study is read and cut into cells, whose recipe, seed and data are in each
# cell's own key; how MLflow keeps a model; and a picture. A new module decides until it stands here.
DECIDES_NONE = (
    *("study/arms.py", "study/dataset.py", "study/part.py", "study/shards.py", "study/source_types.py"),
    *("study/study.py", "study/techniques.py", "study/validation_errors.py"),
    *("serving/mlflow_model.py", "serving/mlflow_pyfunc.py"),
    "training/augmentation_preview.py",
)

# Of other packages, what computes.
LIBRARIES = ("keras", "tensorflow", "numpy", "scikit-learn", "jax")


@cache
def code_version() -> str:
    """Return a hash of what may change the numbers of a cell, besides its recipe, seed and data."""
    return content_hash([decisive_code(PACKAGE), [library_version(library) for library in LIBRARIES]])


def decisive_code(package: Path) -> dict[str, str]:
    """Return what runs in each module that decides numbers, by its path in the package.

    The text is Python's own rendering of the parsed module: another version of Python may write another one, and then
    trains again.
    """
    return {
        str(file.relative_to(package)): ast.unparse(_without_words(ast.parse(file.read_text("utf-8"))))
        for place in DECIDES
        for file in _modules(package / place)
        if str(file.relative_to(package)) not in DECIDES_NONE
    }


def source_version(package: Path = PACKAGE) -> str:
    """Return a hash of all of the package's files but hidden ones and byte code: what an image holds."""
    files = {file.relative_to(package): file for file in sorted(package.rglob("*")) if file.is_file()}
    left_out = {name for name in files if any(part.startswith((".", "__pycache__")) for part in name.parts)}
    return content_hash({str(name): file.read_text("utf-8") for name, file in files.items() if name not in left_out})


def _modules(place: Path) -> Iterator[Path]:
    """Yield a module, or those of a folder; one that is not there would leave the hash blind."""
    if not place.exists():
        raise FileNotFoundError(f"{place} decides numbers, and is not there")
    yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _without_words(module: ast.Module) -> ast.Module:
    """Return the module without docstrings, and without what errors and warnings say."""
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        elif isinstance(node, ast.keyword) and node.arg in ("message", "description"):
            node.value = ast.Constant("")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "option":  # of a part of the study
            node.args[1:] = []
    return module


def library_version(library: str) -> str | None:
    """Return a library's version; None of an extra that is not installed."""
    for name in (library, f"{library}-cpu"):  # TensorFlow without CUDA is a package of its own, and computes the same
        with suppress(PackageNotFoundError):
            return version(name)
    return None
