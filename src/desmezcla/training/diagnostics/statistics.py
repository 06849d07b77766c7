"""Statistics of tensors, computed where they lie and fetched from a GPU all at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Values of a tensor that its histogram is made of.
SAMPLE = 4096


def layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a model: modules without others in them, or with weights of their own.

    >>> [name for name, _ in layers(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())))]
    ['0', '1.0']
    """
    for name, module in model.named_modules():
        is_leaf = next(module.children(), None) is None
        if is_leaf or next(module.parameters(recurse=False), None) is not None:
            yield name or type(module).__name__, module


def tensors(value: Any) -> list[Tensor]:
    """Return the floating-point tensors in what a layer takes or gives, in their order."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() or value.is_complex() else []
    if isinstance(value, dict):
        return [found for part in value.values() for found in tensors(part)]
    if isinstance(value, (list, tuple)):
        return [found for part in value for found in tensors(part)]
    return []


def real(value: Tensor) -> Tensor:
    """Return the values of a tensor as real numbers in float32, without their history."""
    value = value.detach()
    return (torch.view_as_real(value.resolve_conj()) if value.is_complex() else value).float()


def norm(values: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all values of some tensors, at least one."""
    norms = torch._foreach_norm(list(values))
    found: Tensor = torch.linalg.vector_norm(torch.stack([value.float() for value in norms]))
    return found


def on_gradient(value: Tensor, look: Callable[[Tensor], None]) -> None:
    """Show the gradient of a tensor to a function, as soon as it is there; if it gets one."""
    if value.requires_grad:
        value.register_hook(look)  # type: ignore[no-untyped-call]


class Spread:
    """How the values of one or more tensors are spread, taken together."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._rows: list[Tensor] = []
        self._sample: Tensor | None = None

    def add(self, value: Tensor, *, sample: bool = False) -> None:
        """Take a tensor's values in.

        Args:
            value: Any shape; without values it counts for nothing.
            sample: Keep some of them for a histogram.
        """
        count = value.numel()
        if count == 0:
            return
        value = real(value)
        var, mean = torch.var_mean(value, correction=0)
        largest = torch.linalg.vector_norm(value, torch.inf)
        nonzero = torch.count_nonzero(value) / count
        # x - x is 0 for what is finite, and NaN for what is not.
        bad = torch.count_nonzero(value - value) / count
        self._counts.append(count)
        self._rows.append(torch.stack([mean, var, largest, 1 - nonzero, bad]))
        if sample:
            places = torch.linspace(0, count - 1, min(count, SAMPLE), device=value.device).long()
            self._sample = value.reshape(-1)[places.clamp(max=count - 1)]

    @property
    def rows(self) -> list[Tensor]:
        """Mean, variance, largest magnitude, shares of zeros and of what is not finite, each."""
        return self._rows

    @property
    def sample(self) -> Tensor | None:
        """Some of the values of the tensor that was added last, if that was asked for."""
        return self._sample

    def summary(self, rows: Iterable[list[float]]) -> dict[str, float]:
        """Return the statistics of all values together.

        Args:
            rows: `rows`, fetched.
        """
        parts = list(zip(self._counts, rows, strict=True))
        total = sum(self._counts)

        def average(place: int) -> float:
            return sum(count * row[place] for count, row in parts) / total

        mean = average(0)
        # The variance of all is the mean of the variances and the variance of the means.
        between = sum(count * (row[0] - mean) ** 2 for count, row in parts) / total
        return {
            "mean": mean,
            "std": (average(1) + between) ** 0.5,
            "max": max(row[2] for _, row in parts),
            "zeros": average(3),
            "nonfinite": average(4),
        }


def dead_units(layer: nn.Module) -> Tensor | None:
    """Return how many units of a layer learn nothing, as all of their gradient is exactly zero.

    That is what a unit looks like whose activation is cut off for the whole batch, wherever in the
    model the cutting is done. None if the layer has no weights with gradients.
    """
    rows = [_rows(layer, name, grad) for name, grad in _weight_gradients(layer)]
    return torch.stack([(row == 0).all(dim=1).sum() for row in rows]).sum() if rows else None


def units(layer: nn.Module) -> int:
    """Return how many units of a layer have weights with gradients."""
    return sum(_rows(layer, name, grad).shape[0] for name, grad in _weight_gradients(layer))


def _weight_gradients(layer: nn.Module) -> list[tuple[str, Tensor]]:
    found = [(n, p.grad) for n, p in layer.named_parameters(recurse=False) if p.grad is not None]
    return [(name, grad) for name, grad in found if grad.ndim and "bias" not in name]


def _rows(layer: nn.Module, name: str, grad: Tensor) -> Tensor:
    """Return a gradient with one row for each unit that a weight leads to."""
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if isinstance(layer, transposed) and name == "weight":
        # [inputs, outputs per group, ...]: the outputs of a group come from its share of inputs.
        inputs, outputs, *rest = grad.shape
        grouped = grad.reshape(layer.groups, inputs // layer.groups, outputs, *rest)
        grad = grouped.transpose(1, 2).flatten(0, 1)
    return grad.reshape(grad.shape[0], -1)
