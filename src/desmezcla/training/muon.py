"""Muon: steps along the nearest orthogonal matrix of the momentum, instead of the momentum.

Reference:
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the size of a
    step as in Liu et al., "Muon is Scalable for LLM Training", 2025, so that rates fit AdamW too.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from desmezcla.errors import ParameterError

_WITH_MATRIX = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class Muon(torch.optim.Optimizer):
    """Muon for the weights of dense layers and convolutions, AdamW for all the rest.

    A kernel of a convolution is taken as a matrix: its first axis against all others.

    Args:
        model: Whose parameters are trained; those that need no gradient are left out.
        lr: Learning rate of both.
        weight_decay: Of both.
        betas: Of AdamW.
        momentum: Of Muon.

    Errors:
        ParameterError: if PyTorch is too old to have it.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        momentum: float = 0.95,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ParameterError(
                "optimizer.kind='muon' needs PyTorch 2.9 or newer, but this is "
                f"{torch.__version__}; install it, or take adamw"
            )
        trained = [p for p in model.parameters() if p.requires_grad]
        layers = [layer for layer in model.modules() if isinstance(layer, _WITH_MATRIX)]
        known = {id(layer.weight) for layer in layers}
        matrices = [p for p in trained if id(p) in known]
        rest = [p for p in trained if id(p) not in known]
        groups = [{"params": params} for params in (matrices, rest) if params]
        super().__init__(groups, {"lr": lr})
        self._matrices = matrices
        # They share the memory of the parameters.
        self._views = [nn.Parameter(p.detach().flatten(1)) for p in matrices]
        options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            self._parts.append(
                torch.optim.Muon(
                    self._views, momentum=momentum, adjust_lr_fn="match_rms_adamw", **options
                )
            )
        if rest:
            self._parts.append(torch.optim.AdamW(rest, betas=betas, **options))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do a step; the learning rate is that of the groups."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for view, parameter in zip(self._views, self._matrices, strict=True):
            gradient = parameter.grad
            view.grad = None if gradient is None else gradient.flatten(1)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what a checkpoint holds."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
