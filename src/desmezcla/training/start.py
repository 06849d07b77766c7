"""The model at the start of a training: new, or that of a release to be tuned."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from desmezcla.errors import ParameterError
from desmezcla.models import SeparationModel, build_model
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
        if release.info.model not in (None, recipe.model.architecture):
            raise ParameterError(
                f"start.release={recipe.start.release!r} is a model {release.info.model!r}, but "
                f"the recipe is for {recipe.model.architecture!r}; take a recipe for the former"
            )
        model = load_model(release)
        recipe = _with_config(recipe, model)
    else:
        torch.manual_seed(recipe.seed)
        fields = recipe.model.fields
        model = build_model(recipe.model.architecture, stems=recipe.stems, **fields)
    if not any(True for _ in model.parameters()):
        raise ParameterError(
            f"model.architecture={recipe.model.architecture!r} has nothing to train; "
            "choose an architecture with weights"
        )
    return Beginning(model.train(), recipe, _freeze(model, recipe), release)


def _with_config(recipe: Recipe, model: SeparationModel[Any]) -> Recipe:
    """Return the recipe with the configuration of a release's model."""
    fields = model.config.model_dump(mode="json")
    stems = tuple(fields.pop("stems"))
    return Recipe.model_validate(
        recipe.model_dump(mode="json")
        | {"model": {"architecture": recipe.model.architecture, **fields}, "stems": stems}
    )


def _freeze(model: SeparationModel[Any], recipe: Recipe) -> tuple[nn.Module, ...]:
    """Freeze the networks of stems that are not trained, and return them."""
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
