"""From a model and a batch to losses: in the domain that the recipe's losses compare in."""

from typing import Any

from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.losses import losses_from
from desmezcla.models import SeparationModel, SpectralModel
from desmezcla.training.recipe import Recipe


class Objective(nn.Module):
    """The losses of a recipe, on what a model puts out.

    Args:
        recipe: Names the losses, and the stems that they look at.
        model: A model of the recipe's architecture.

    Errors:
        ParameterError: if a loss is not allowed, or compares spectra and the model has none.
    """

    def __init__(self, recipe: Recipe, model: SeparationModel[Any]) -> None:
        super().__init__()
        left_out = [stem for stem in recipe.stems if stem not in recipe.trained_stems]
        self.losses = losses_from(
            recipe.losses,
            stems=recipe.stems,
            stem_weights={**recipe.stem_weights, **dict.fromkeys(left_out, 0.0)},
        )
        if self.losses.domain != "waveform" and not isinstance(model, SpectralModel):
            raise ParameterError(
                f"losses={[loss.kind for loss in self.losses.losses]} compare spectra, but "
                f"{recipe.model.architecture} estimates waveforms; choose others, such as l1"
            )

    def forward(
        self, model: SeparationModel[Any], mixture: Tensor, stems: Tensor
    ) -> dict[str, Tensor]:
        """Return "total", and every term's share of it by name.

        Shape:
            mixture: `[B, C, T]`.
            stems: `[B, S, C, T]`; returns scalars.
        """
        count = stems.shape[1]  # a model may give out a residual after its stems
        losses = self.losses
        terms: dict[str, Tensor]
        if losses.domain == "waveform":
            estimates = model.training_waveforms(mixture, stems)[:, :count]
            terms = losses(estimates, stems, mixture)
        elif losses.domain == "energy":
            assert isinstance(model, SpectralModel)
            terms = losses(*model.frame_energies(mixture, stems))
        else:
            assert isinstance(model, SpectralModel)
            estimates = model.spectra(mixture)[:, :count]
            terms = losses(estimates, model.transform(stems), model.transform(mixture))
        return terms
