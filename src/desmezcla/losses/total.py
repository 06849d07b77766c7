"""The losses of a recipe, added up."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.losses.base import Domain, Loss
from desmezcla.losses.combined import Combined
from desmezcla.losses.energy import FrameSdr
from desmezcla.losses.joint import DeepConvSep
from desmezcla.losses.spectral import MagnitudeL1, MagnitudeMse, MultiResolutionStft
from desmezcla.losses.waveform import L1, Mse, SiSdr
from desmezcla.releases.release import explain

AnyLoss = Annotated[
    L1
    | Mse
    | SiSdr
    | FrameSdr
    | MultiResolutionStft
    | MagnitudeMse
    | MagnitudeL1
    | DeepConvSep
    | Combined,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[tuple[Loss, ...]] = TypeAdapter(tuple[AnyLoss, ...])

_AXES: dict[Domain, tuple[int, str]] = {
    "waveform": (4, "[B, S, C, T]"),
    "spectrum": (5, "[B, S, C, F, N]"),
    "energy": (4, "[B, S, C, N]"),
}


class Losses(nn.Module):
    """The weighted sum of losses, over stems with weights of their own.

    The total is Σ_losses weight · Σ_i w_i·L_i / Σ_i w_i. All of it is computed in float32 or
    better, whatever the model computes in.

    Args:
        losses: The losses, all of one domain.
        stems: Names of the stems, in the order of the axis S.
        stem_weights: w_i by name, to train for some stems more than for others; 1 where a stem
            is not named, and 0 to leave it out.

    Attributes:
        domain: What `forward` takes: "waveform", "spectrum" or "energy".

    Errors:
        ParameterError: if there is no loss, one kind is there twice, domains differ, a weight is
            negative or for no stem, or all are 0.
    """

    stem_weights: Tensor

    def __init__(
        self,
        losses: Sequence[Loss],
        *,
        stems: Sequence[str],
        stem_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        kinds = [loss.kind for loss in losses]
        if not losses or len(set(kinds)) != len(kinds):
            raise ParameterError(f"losses={kinds} must be one or more different kinds")
        domains = {loss.kind: loss.domain for loss in losses}
        if len(set(domains.values())) > 1:
            raise ParameterError(
                f"losses={domains} must be of one domain; choose losses of the same, or set "
                "'domain' where a loss knows both"
            )
        self.domain: Domain = losses[0].domain
        self.losses = tuple(losses)
        self.stems = tuple(stems)
        # Not part of a checkpoint: it is configuration.
        weights = _normalised(self.stems, stem_weights or {})
        self.register_buffer("stem_weights", weights, persistent=False)

    def forward(self, estimates: Tensor, targets: Tensor, mixture: Tensor) -> dict[str, Tensor]:
        """Return "total", and every term's share of it by name.

        Shape:
            estimates, targets: for the domain, `[B, S, C, T]`, `[B, S, C, F, N]` complex, or
                `[B, S, C, N]`.
            mixture: the same without S; returns scalars.

        Errors:
            ParameterError: if the shapes do not fit.
        """
        self._check(estimates, targets, mixture)
        with torch.autocast(estimates.device.type, enabled=False):
            e, s, x = (_precise(values) for values in (estimates, targets, mixture))
            shares = {
                name: loss.weight * (self.stem_weights * values).sum()
                for loss in self.losses
                for name, values in loss.terms(e, s, x, self.stems).items()
            }
            return {"total": torch.stack(list(shares.values())).sum(), **shares}

    def _check(self, estimates: Tensor, targets: Tensor, mixture: Tensor) -> None:
        ndim, axes = _AXES[self.domain]
        fits = estimates.shape == targets.shape and targets.select(1, 0).shape == mixture.shape
        if estimates.ndim != ndim or estimates.shape[1] != len(self.stems) or not fits:
            raise ParameterError(
                f"estimates {tuple(estimates.shape)}, targets {tuple(targets.shape)} and mixture "
                f"{tuple(mixture.shape)} must be {axes}, the same, and that without S, with "
                f"S={len(self.stems)}: the losses compare in the domain {self.domain!r}"
            )


def _normalised(stems: tuple[str, ...], weights: Mapping[str, float]) -> Tensor:
    values = torch.tensor([float(weights.get(stem, 1.0)) for stem in stems])
    if not weights.keys() <= set(stems) or not (values >= 0).all() or values.sum() == 0:
        raise ParameterError(
            f"stem_weights={dict(weights)} must be at least 0, not all 0, and only for the stems "
            f"{', '.join(stems)}"
        )
    return values / values.sum()


def _precise(values: Tensor) -> Tensor:
    """Return float32 or complex64 for what has less."""
    least = torch.complex64 if values.is_complex() else torch.float32
    return values.to(torch.promote_types(values.dtype, least))


def losses_from(
    data: Sequence[Mapping[str, Any]],
    *,
    stems: Sequence[str],
    stem_weights: Mapping[str, float] | None = None,
) -> Losses:
    """Return the losses that a recipe lists.

    Args:
        data: One mapping for each, with its `kind` and the fields of that class.
        stems: Names of the stems, in the order of the axis S.
        stem_weights: As in `Losses`.

    Errors:
        ParameterError: if a kind or a key is unknown, a value is not allowed, or the losses do not
            go together.
    """
    try:
        losses = _ADAPTER.validate_python(list(data))
    except ValidationError as error:
        raise ParameterError(
            f"losses={list(data)!r} are not allowed ({explain(error)}); "
            "docs/losses.md lists the kinds and their fields"
        ) from error
    return Losses(losses, stems=stems, stem_weights=stem_weights)
