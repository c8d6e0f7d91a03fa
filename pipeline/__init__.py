"""What runs on the user's machine: a study becomes a Kubeflow pipeline, and a runner runs it.

The functions for notebooks and scripts, see `pipeline.api`, are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from pipeline.version import __version__

if TYPE_CHECKING:
    from pipeline.api import AssayError, Result, StoppedError, champion, compare, load_study, plan, predict, run

__all__ = ["__version__"]
__all__ += ["AssayError", "Result", "StoppedError", "champion", "compare", "load_study", "plan", "predict", "run"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("pipeline.api"), name)
