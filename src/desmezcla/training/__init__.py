"""Training: recipes, the loop, checkpoints, and the folder of a run.

`recipe` says what a recipe is and `recipes` finds them; `run` is where everything comes together;
`module` is what Lightning trains and `keeper` what it calls around the steps: epochs, validation,
checkpoints, the record. Lightning is imported only when a training begins.
"""

from desmezcla.training.machine import RunOptions
from desmezcla.training.recipe import Recipe
from desmezcla.training.recipes import list_recipes, parse_changes, read_recipe
from desmezcla.training.run import TrainingResult, train

__all__ = [
    "Recipe",
    "RunOptions",
    "TrainingResult",
    "list_recipes",
    "parse_changes",
    "read_recipe",
    "train",
]
