"""The loss of DeepConvSep, in which the estimates of the stems are compared with each other."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.losses.base import Loss, mean_of_stems


class DeepConvSep(Loss):
    """Squared error of the stems less their dissimilarity.

    With magnitudes E_i, S_i, the mean |·|² over examples, channels, bins and frames, and K the
    stems other than "other", for each stem i of K:

        L_i = |E_i - S_i|² - α·Σ_{j in K, j ≠ i} |E_i - E_j|² - β_i·|E_i - E_other|²

    β_i is β_vocals for the vocals and β for the rest. "other" gathers instruments that have little
    in common, and has no error of its own: ratio masks leave it what the rest do not take. Without
    a stem of that name the last term is left out, and K is all stems.

    For perfect estimates the loss is not 0 but below: less the dissimilarity of the true stems.

    Reference:
        Chandna, Miron, Janer and Gómez, "Monoaural Audio Source Separation Using Deep
        Convolutional Neural Networks", LVA/ICA 2017, section 2.3. Its values are the defaults.

    Differences from the paper:
        Means, where the paper has sums, so that sizes of batch and segment do not scale the
        loss. The authors' program compares E_i with S_j instead of E_j (`against="targets"`), as
        the discriminative training of Huang et al. 2014 does; and takes the absolute value of the
        total, which is left out here, because it would turn the gradient round.

    Attributes:
        alpha: Weight of the dissimilarity between stems.
        beta: Weight of the dissimilarity between "other" and a stem.
        beta_vocals: The same for the vocals.
        against: Whether estimates shall differ from the other "estimates" or the other "targets".
    """

    kind: Literal["deepconvsep"] = "deepconvsep"
    domain: Literal["spectrum"] = "spectrum"
    alpha: float = Field(default=0.001, ge=0)
    beta: float = Field(default=0.01, ge=0)
    beta_vocals: float = Field(default=0.03, ge=0)
    against: Literal["estimates", "targets"] = "estimates"

    def terms(
        self, estimates: Tensor, targets: Tensor, mixture: Tensor, stems: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """Return the error and the three dissimilarities, with their weights and signs."""
        if set(stems) == {"other"}:
            raise ParameterError(
                "loss 'deepconvsep' has no error for stems=['other'] alone; add other stems"
            )
        e, s = estimates.abs(), targets.abs()
        rivals = e if self.against == "estimates" else s
        known = torch.tensor([float(name != "other") for name in stems]).to(e)
        voice = torch.tensor([float(name == "vocals") for name in stems]).to(e)
        # [S, S]: how far the estimate of i is from its rival j.
        apart = torch.stack(
            [mean_of_stems((e - rival[:, None]).square()) for rival in rivals.unbind(1)], dim=1
        )
        between = known * ((apart * (1 - torch.eye(len(stems)).to(e))) @ known)
        from_other = known * (apart @ (1 - known))
        return {
            "deepconvsep/error": known * mean_of_stems((e - s).square()),
            "deepconvsep/alpha": -self.alpha * between,
            "deepconvsep/beta": -self.beta * (1 - voice) * from_other,
            "deepconvsep/beta_vocals": -self.beta_vocals * voice * from_other,
        }
