"""Step `scale`: for each seed, encoders from the TRAIN rows of that seed.

The winner's becomes part of the saved model.
"""

from components.data.prepared import Prepared
from components.data.scaling import write
from components.runtime.events import step


def scale(data: str, scalers: str) -> None:
    """Write the encoders of all seeds and of all scalings that an arm uses, as JSON: `{seed: {scaling: encoder}}`.

    Args:
        data: the prepared data.
        scalers: file to write.
    """
    with step("scale") as this, this.span("data"):
        prepared = Prepared(data)
        write(prepared.study, prepared, scalers)
