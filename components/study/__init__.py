"""What is asked: the study with its data, recipe and arms, and every default. Imports nothing heavier than NumPy."""

from components.study.dataset import DatasetSpec
from components.study.recipe import Recipe
from components.study.study import Study

__all__ = ["DatasetSpec", "Recipe", "Study"]
