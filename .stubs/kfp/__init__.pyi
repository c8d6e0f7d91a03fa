# kfp turns a function into a component that takes no outputs as arguments, which its decorators do not say.
from typing import Any

def __getattr__(name: str) -> Any: ...
