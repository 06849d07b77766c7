"""The model at the start of a training: new, or that of a release to be tuned."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from desmezcla.errors import ParameterError
from desmezcla.models import SeparationModel, build_model, config_class
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.release import Release
from desmezcla.releases.store import find_release
from desmezcla.training.recipe import Recipe


@runtime_checkable
class HasNetworks(Protocol):
    """A model with one network per stem, such as Open-Unmix."""

    def network_of(self, stem: str) -> nn.Module:
        """Return the network of a stem, which no other stem depends on."""


@dataclass(frozen=True)
class Beginning:
    """What training begins with.

    Attributes:
        model: The model.
        recipe: The recipe, with the fields of the release's configuration if there is one.
        frozen: Networks that stay as they are.
        release: What the weights come from, None for a new model.
    """

    model: SeparationModel[Any]
    recipe: Recipe
    frozen: tuple[nn.Module, ...]
    release: Release | None = None


def begin(recipe: Recipe, *, resume: bool) -> Beginning:
    """Return the model that a recipe asks for.

    Args:
        recipe: The recipe.
        resume: The weights will come from a checkpoint; a release is not asked for.

    Errors:
        ParameterError: if the release has another architecture or no such stems.
        ReleaseError: if there is no such release, or it is damaged.
    """
    release = None
    if recipe.start and not resume:
        release = find_release(recipe.start.release)
        if recipe.start.into:
            model, recipe = _around(release, recipe)
        else:
            model, recipe = _tuned(release, recipe)
    else:
        model = _new(recipe)
    if not any(True for _ in model.parameters()):
        raise ParameterError(
            f"model.architecture={recipe.model.architecture!r} has nothing to train; "
            "choose an architecture with weights"
        )
    return Beginning(model.train(), recipe, _freeze(model, recipe), release)


def _new(recipe: Recipe) -> SeparationModel[Any]:
    torch.manual_seed(recipe.seed)
    return build_model(recipe.model.architecture, stems=recipe.stems, **recipe.model.fields)


def _tuned(release: Release, recipe: Recipe) -> tuple[SeparationModel[Any], Recipe]:
    """Return a release's model, and the recipe with its configuration."""
    if release.info.model not in (None, recipe.model.architecture):
        raise ParameterError(
            f"start.release={release.name!r} is a model {release.info.model!r}, but "
            f"the recipe is for {recipe.model.architecture!r}; take a recipe for the former"
        )
    model = load_model(release)
    if recipe.start and recipe.start.keep_model:
        return _with_weights(model, release.name, recipe), recipe
    return model, _with_fields(recipe, model.config.model_dump(mode="json"))


def _with_weights(source: SeparationModel[Any], name: str, recipe: Recipe) -> SeparationModel[Any]:
    """Return the recipe's model with the weights of another one."""
    model = _new(recipe)
    weights = model.weights_from(source)
    wanted = {key: value.shape for key, value in model.state_dict().items()}
    given = {key: value.shape for key, value in weights.items()}
    different = sorted(key for key in wanted | given if wanted.get(key) != given.get(key))
    if different:
        raise ParameterError(
            f"start.keep_model=True: {len(different)} tensors of {name!r} do not fit the recipe's "
            f"model, such as {different[0]!r} ({given.get(different[0])} for "
            f"{wanted.get(different[0])}); take the same sizes, or leave keep_model out"
        )
    model.load_state_dict(weights)
    return model


def _around(release: Release, recipe: Recipe) -> tuple[SeparationModel[Any], Recipe]:
    """Return a new model around a release's, and the recipe with the latter's configuration."""
    architecture = recipe.model.architecture
    if "base_config" not in config_class(architecture).model_fields:
        raise ParameterError(
            f"start.into='base': {architecture!r} is no model around another one; "
            "leave start.into out, or take a recipe for such a model"
        )
    base = load_model(release)
    fields = base.config.model_dump(mode="json")
    shared = {name: fields.pop(name) for name in ("stems", "sample_rate", "channels")}
    inside = {"base": release.info.model, "base_config": fields}
    recipe = _with_fields(recipe, recipe.model.fields | inside | shared)
    model = _new(recipe)
    model.get_submodule("base").load_state_dict(base.state_dict(), strict=True)
    return model, recipe


def _with_fields(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    """Return the recipe with other fields of the model's configuration."""
    rest = {name: value for name, value in fields.items() if name != "stems"}
    return Recipe.model_validate(
        recipe.model_dump(mode="json")
        | {
            "model": {"architecture": recipe.model.architecture, **rest},
            "stems": tuple(fields["stems"]),
        }
    )


def _freeze(model: SeparationModel[Any], recipe: Recipe) -> tuple[nn.Module, ...]:
    """Freeze the networks that are not trained, and return them."""
    if recipe.start and recipe.start.into:
        if getattr(model.config, "train_base", False):
            return ()
        return (model.get_submodule("base").requires_grad_(False),)
    chosen = recipe.trained_stems
    asked = recipe.start.stems if recipe.start and recipe.start.stems else chosen
    if set(asked) - set(recipe.stems):
        raise ParameterError(
            f"start.stems={list(asked)} must be some of the model's: {', '.join(recipe.stems)}"
        )
    if len(chosen) == len(recipe.stems):
        return ()
    if not isinstance(model, HasNetworks):
        raise ParameterError(
            f"start.stems={list(chosen)}: {recipe.model.architecture} has no network of its own "
            "for each stem, so the others would change too; leave start.stems out"
        )
    frozen = tuple(model.network_of(stem) for stem in recipe.stems if stem not in chosen)
    for network in frozen:
        network.requires_grad_(False)
    return frozen
