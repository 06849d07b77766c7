"""Recipes by name or path, with the values that a user sets on top."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from desmezcla.errors import ParameterError
from desmezcla.models import config_class
from desmezcla.releases.release import explain
from desmezcla.training.recipe import Recipe

FOLDER = Path(__file__).parents[1] / "recipes"


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe of the package by its name, or one's own by the path of its file.

    Args:
        name: Name, or path of a YAML file.
        changes: Dotted key -> value, on top of the file: `{"optimizer.lr": 1e-4}`.

    Errors:
        ParameterError: if there is no such recipe, or a key or a value is not allowed.
    """
    path = _path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(
            f"recipe {str(path)!r} cannot be read as YAML ({' '.join(str(error).split())}); "
            f"give a file, or one of {', '.join(list_recipes())}"
        ) from error
    if not isinstance(content, dict):
        raise ParameterError(f"recipe {str(path)!r} must hold keys and values, as 'epochs: 10'")
    return parse_recipe(changed(content, changes or {}), str(path))


def changed(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a recipe with some dotted keys set.

    Errors:
        ParameterError: if a key leads to a place that a list does not have.
    """
    for key, value in changes.items():
        content = _changed(content, key.split("."), value, key)
    return content


def parse_recipe(content: Mapping[str, Any], origin: str) -> Recipe:
    """Return the recipe that keys and values stand for.

    Errors:
        ParameterError: if a key is unknown, or a value is not allowed.
    """
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise ParameterError(
            f"recipe {origin}: {_findings(error, Recipe)}; correct the recipe"
        ) from error
    try:
        recipe.config()
    except ValidationError as error:
        cls = config_class(recipe.model.architecture)
        raise ParameterError(
            f"recipe {origin}: {_findings(error, cls, 'model.')}; correct the recipe"
        ) from error
    return recipe


def recipe_content(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as keys and values, with every default, for YAML."""
    return recipe.model_dump(mode="json")


def parse_changes(texts: Iterable[str]) -> dict[str, Any]:
    """Return what `--set key=value` says, each value read as YAML.

    Errors:
        ParameterError: if one has no "=", or its value is not YAML.

    >>> parse_changes(["optimizer.lr=0.0001", "stems=[vocals, other]"])
    {'optimizer.lr': 0.0001, 'stems': ['vocals', 'other']}
    """
    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ParameterError(f"--set {text!r} must be KEY=VALUE, as in optimizer.lr=0.0001")
        try:
            changes[key] = _number(yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ParameterError(f"--set {text!r}: the value is not YAML; quote it") from error
    return changes


def _number(value: object) -> object:
    """Return 1e-4, which YAML 1.1 takes for text without a dot, as a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _path(name: str | Path) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    if str(name) in list_recipes():
        return FOLDER / f"{name}.yaml"
    close = difflib.get_close_matches(str(name), list_recipes(), n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(list_recipes())}"
    raise ParameterError(f"recipe {str(name)!r} does not exist; {hint}; or give a path to a file")


def _changed(content: Any, keys: list[str], value: Any, whole: str) -> Any:
    """Return nested keys and values with one of them set; nothing is changed in place."""
    if not keys:
        return value
    first, *rest = keys
    if isinstance(content, list):
        if not (first.isdigit() and int(first) < len(content)):
            raise ParameterError(
                f"--set {whole}: {first!r} must be a place in a list of {len(content)}, from 0"
            )
        place = int(first)
        return [
            *content[:place],
            _changed(content[place], rest, value, whole),
            *content[place + 1 :],
        ]
    inner = content if isinstance(content, dict) else {}
    return {**inner, first: _changed(inner.get(first), rest, value, whole)}


def _findings(error: ValidationError, cls: type[BaseModel], prefix: str = "") -> str:
    """Return pydantic's findings as one line, with the known key that is spelt like a wrong one."""
    unknown = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
    return "; ".join(_unknown(cls, place, prefix) for place in unknown) or explain(error)


def _unknown(cls: type[BaseModel], place: tuple[int | str, ...], prefix: str) -> str:
    *parents, key = map(str, place)
    classes = [cls]
    for part in parents:
        inner = [c for outer in classes for c in _models(outer, part)]
        # What is no field is the kind by which pydantic chose among several classes.
        classes = inner or [
            c for c in classes if part in get_args(c.model_fields["kind"].annotation)
        ]
    known = sorted({name for c in classes for name in c.model_fields})
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{prefix}{'.'.join((*parents, key))} is not a key; {hint}"


def _models(cls: type[BaseModel], field: str) -> list[type[BaseModel]]:
    """Return the classes of records that a field may hold."""
    if field not in cls.model_fields:
        return []
    annotation = cls.model_fields[field].annotation
    return [
        found
        for found in (annotation, *get_args(annotation))
        if isinstance(found, type) and issubclass(found, BaseModel)
    ]
