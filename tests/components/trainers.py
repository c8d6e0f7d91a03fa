"""A trainer with a store of its own."""

from components.data import scaling
from components.data.prepared import Prepared
from components.runtime.cells import Store
from components.runtime.events import Step
from components.training.trainer import Trainer


def trainer_on(prepared: Prepared, study, folder) -> Trainer:
    """Return a trainer with a store and scalers of its own in the folder."""
    folder.mkdir(exist_ok=True)
    scaling.write(study, prepared, folder / "scalers.json")
    store = Store(folder / "store", prepared.schema.fingerprint)
    return Trainer(study, prepared, str(folder / "scalers.json"), store, Step("train"))
