"""The techniques: what leave-one-out turns off, and what a verdict speaks of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components.study.recipe import Augment, Recipe, change


@dataclass(frozen=True)
class Technique:
    """A switch that leave-one-out turns off: its name, where it is, and its value when off."""

    name: str
    path: str
    off: Any


TECHNIQUES = (
    Technique("augmentation", "augment", "none"),
    Technique("scaling", "scale", "none"),
    Technique("batch normalization", "model.batch_norm", False),
    Technique("layer normalization", "model.layer_norm", False),
    Technique("dropout", "model.dropout", 0.0),
    Technique("L1", "model.l1", 0.0),
    Technique("L2", "model.l2", 0.0),
    Technique("weight decay", "train.weight_decay", 0.0),
    Technique("label smoothing", "train.label_smoothing", 0.0),
    Technique("class weights", "train.class_weights", "none"),
    Technique("learning-rate schedule", "train.schedule", "constant"),
    Technique("warm-up", "train.warm_up", 0),
    Technique("gradient clipping", "train.clip_norm", 0.0),
    Technique("weight averaging", "train.ema", 0.0),
    Technique("early stopping", "train.early_stopping", None),
)
# Single augmentations. Leave-one-out does not take them one by one: each more arm makes every verdict less sure.
AUGMENTATIONS = tuple(
    Technique(name.replace("_", " "), f"augment.{name}", field.default) for name, field in Augment.model_fields.items()
)


def techniques_on(recipe: Recipe, techniques: Iterable[Technique] = TECHNIQUES) -> list[Technique]:
    """Return the techniques that the recipe uses: those for which "off" would change it."""
    return [t for t in techniques if change(recipe, {t.path: t.off}, ()) != recipe]
