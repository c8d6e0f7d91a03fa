# The stubs that come with pyright cover only a part of TensorFlow, and refuse the rest.
from typing import Any

def __getattr__(name: str) -> Any: ...
