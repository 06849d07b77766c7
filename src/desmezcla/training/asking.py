"""The recipe that a user asks for, and that of a run which is resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from desmezcla.errors import ParameterError
from desmezcla.training.folder import RunFolder
from desmezcla.training.recipe import Recipe
from desmezcla.training.recipes import changed, parse_recipe, read_recipe, recipe_content

# What may be another when a run is resumed: it does not change what is learnt up to there.
_FREE = ("epochs", "patience", "checkpoint_minutes", "checkpoint_steps", "description", "license")
_FREE_OF = {
    "data": ("path", "material", "workers", "cache"),
    "diagnostics": ("enabled", "every_steps", "histograms", "tensorboard"),
}


def asked_recipe(
    recipe: Recipe | str | Path | None,
    data: str | Path | None,
    changes: Mapping[str, Any] | None,
) -> Recipe | None:
    """Return the recipe that is asked for, with everything that was set on top."""
    if recipe is None:
        return None
    changes = dict(changes or {})
    if data is not None:
        # A run may be resumed from another folder.
        changes["data.path"] = str(Path(data).resolve())
    if isinstance(recipe, Recipe):
        return parse_recipe(changed(recipe_content(recipe), changes), "given")
    return read_recipe(recipe, changes)


def resumed_recipe(
    asked: Recipe | None,
    folder: RunFolder,
    data: str | Path | None,
    changes: Mapping[str, Any] | None,
) -> Recipe | None:
    """Return the recipe of a run in a folder, as it goes on; `asked` if there is none.

    Errors:
        ParameterError: if another recipe is asked for than the run was begun with.
    """
    if not folder.recipe_file.exists():
        return asked
    stored = read_recipe(folder.recipe_file)
    wanted = recipe_content(asked or asked_recipe(stored, data, changes) or stored)
    own = recipe_content(stored)
    # What the fields of a release have replaced.
    ignored = {*_FREE, *_FREE_OF, *(("model", "stems") if stored.start else ())}
    different = [key for key in own if key not in ignored and own[key] != wanted[key]]
    different += [
        f"{part}.{key}"
        for part, inner in _FREE_OF.items()
        for key in own[part]
        if key not in inner and own[part][key] != wanted[part][key]
    ]
    if different:
        raise ParameterError(
            f"out={str(folder.path)!r} holds a run with another {', '.join(different)}; resume it "
            "without changing these, or choose another folder"
        )
    free = {key: wanted[key] for key in _FREE} | {part: wanted[part] for part in _FREE_OF}
    if wanted["data"]["path"] is None:
        free["data"] = wanted["data"] | {"path": own["data"]["path"]}
    return parse_recipe(own | free, str(folder.recipe_file))
