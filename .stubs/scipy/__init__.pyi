# SciPy publishes no types: what it gives counts as Any, in strict modules too.
from typing import Any

def __getattr__(name: str) -> Any: ...
