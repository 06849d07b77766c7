import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from desmezcla.errors import ParameterError
from desmezcla.losses import losses_from
from desmezcla.models import build_model
from desmezcla.training import list_recipes, parse_changes, read_recipe
from desmezcla.training.objective import Objective
from desmezcla.training.recipes import changed, parse_recipe, recipe_content


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_of_the_package_can_be_trained(name: str) -> None:
    recipe = read_recipe(name)
    key = recipe.model.architecture
    assert name == key or name.startswith(f"{key}_")  # a variant
    assert recipe.description
    losses_from(recipe.losses, stems=recipe.stems)


@pytest.mark.parametrize("name", list_recipes())
def test_a_step_of_every_recipe_has_finite_gradients(name: str) -> None:
    recipe = read_recipe(name)
    key = recipe.model.architecture
    tiny = importlib.import_module(f"desmezcla.models.{key}").TINY
    if recipe.model.fields.get("causal"):
        tiny = tiny | {"causal": True, "synthesis_samples": 2 * tiny["hop_length"]}
    channels = recipe.config().channels
    torch.manual_seed(0)
    model = build_model(key, **tiny | {"stems": recipe.stems, "channels": channels}).train()
    stems = 0.1 * torch.randn(2, len(recipe.stems), channels, 6000)
    # In the seed's case of one stem, the mixture has more than that.
    mixture = stems.sum(1) + 0.1 * torch.randn(2, channels, 6000)
    terms = Objective(recipe, model)(model, mixture, stems)
    torch.autograd.backward(terms["total"])
    trained = [p.grad for p in model.parameters() if p.grad is not None]
    assert trained
    assert all(bool(gradient.isfinite().all()) for gradient in trained)


def test_the_seeds_values_are_those_of_their_tables() -> None:
    first, second = read_recipe("open_unmix"), read_recipe("open_unmix_conv")
    for recipe, batch_size in ((first, 16), (second, 32)):
        assert recipe.batch_size == batch_size
        assert recipe.data.segment_s == 6.0
        assert recipe.data.random_mixing == 1
        assert (recipe.optimizer.lr, recipe.optimizer.weight_decay) == (1e-3, 1e-5)
        assert recipe.model.fields["hidden_size"] == 512
    assert (first.epochs, first.patience) == (1000, 250)
    assert recipe_content(first)["schedule"] == {
        "kind": "plateau",
        "factor": 0.3,
        "patience": 80,
        "cooldown": 10,
    }
    # 100 tracks of MUSDB18 less 14 for validation: 172 steps, as the thesis shows.
    assert second.epoch_steps(86) == 172


def test_a_recipe_survives_yaml() -> None:
    recipe = read_recipe("open_unmix", {"start": {"release": "umxl", "stems": ["vocals"]}})
    again = parse_recipe(yaml.safe_load(yaml.safe_dump(recipe_content(recipe))), "test")
    assert again == recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimzer.lr": 1}, "optimzer is not a key; did you mean optimizer"),
        ({"optimizer.lrr": 1}, "optimizer.lrr is not a key; did you mean lr"),
        ({"model.hiden_size": 1}, "model.hiden_size is not a key; did you mean hidden_size"),
        ({"schedule.facto": 1}, "did you mean factor"),
        ({"data.validation.qqq": 1}, "known are every_epochs, excerpt_s"),
        ({"schedule.kind": "plato"}, "schedule"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"model.hidden_size": "wide"}, "hidden_size='wide'"),
        ({"model.architecture": "open"}, "not an architecture"),
        ({"model.stems": ["a"]}, "give the stems as stems"),
        ({"losses.3.weight": 1}, "a place in a list of 1"),
        ({"losses": []}, "losses"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        read_recipe("open_unmix", changes)


def test_an_unknown_recipe_names_the_like() -> None:
    with pytest.raises(ParameterError, match="did you mean open_unmix"):
        read_recipe("open_umix")
    with pytest.raises(ParameterError, match="cannot be read as YAML"):
        read_recipe("no/such.yaml")


def test_a_recipe_of_ones_own_is_found_by_its_path(recipe_file: Path) -> None:
    assert read_recipe(recipe_file).seed == 5
    recipe_file.write_text("- a list")
    with pytest.raises(ParameterError, match="keys and values"):
        read_recipe(recipe_file)


def test_settings_are_yaml_with_plain_exponents() -> None:
    texts = ["a=1e-4", "b=[x, 2]", "c=null", "d=true", "e=text", "f.g={k: 1}", "h=a=b"]
    assert parse_changes(texts) == {
        "a": 1e-4,
        "b": ["x", 2],
        "c": None,
        "d": True,
        "e": "text",
        "f.g": {"k": 1},
        "h": "a=b",
    }
    for wrong in ("nothing", "=1", "a=[1"):
        with pytest.raises(ParameterError, match="--set"):
            parse_changes([wrong])


def test_changes_leave_the_content_alone() -> None:
    content = {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}
    assert changed(content, {"a.b": 3, "c.1.d": 4, "e.f": 5}) == {
        "a": {"b": 3},
        "c": [{"d": 1}, {"d": 4}],
        "e": {"f": 5},
    }
    assert content == {"a": {"b": 1}, "c": [{"d": 1}, {"d": 2}]}
