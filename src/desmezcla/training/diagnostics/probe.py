"""Measures all layers of a model in one training step, by hooks that are there only then."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from desmezcla.training.diagnostics.statistics import (
    Spread,
    dead_units,
    layers,
    norm,
    on_gradient,
    tensors,
    units,
)


@dataclass(frozen=True)
class Measured:
    """What one step shows.

    Attributes:
        layers: By name, in the order of execution: `kind`, and, as far as a layer has them,
            `activation` and `gradient` (of what it puts out: `mean`, `std`, `max`, `zeros`,
            `nonfinite`; the last two are shares) and `weight` (norms of the weights, their
            `gradient` and their `update`, and the share of `dead` units).
        samples: Some values of each `activation` and `gradient` by kind and name, for histograms.
    """

    layers: dict[str, dict[str, Any]]
    samples: dict[tuple[str, str], Tensor]


class Probe:
    """Measures the layers of a model, from the beginning of a step to its end.

    Args:
        model: The model.
        samples: Keep some values for histograms.
    """

    def __init__(self, model: nn.Module, *, samples: bool) -> None:
        self._layers = dict(layers(model))
        self._samples = samples
        self._handles: list[Any] = []
        self._spreads: dict[tuple[str, str], Spread] = {}
        self._before: dict[str, list[Tensor]] = {}
        self._scalars: dict[tuple[str, str], Tensor] = {}

    def install(self) -> None:
        """Begin to measure what layers put out, and the gradients of that."""
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_hook(self._hook(name)))

    def remove(self) -> None:
        """Take the hooks away; those at tensors go with these."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def before_update(self) -> None:
        """Measure weights and their gradients, and keep a copy of the weights."""
        for name, layer in self._layers.items():
            trained = _trained(layer)
            if not trained:
                continue
            self._before[name] = [parameter.detach().clone() for parameter in trained]
            self._scalars[name, "norm"] = norm(self._before[name])
            if grads := [parameter.grad for parameter in trained if parameter.grad is not None]:
                self._scalars[name, "gradient"] = norm(grads)
            dead = dead_units(layer)
            if dead is not None:
                self._scalars[name, "dead"] = dead / units(layer)

    def after_update(self) -> Measured:
        """Measure by how much the weights have changed, and return everything."""
        for name, before in self._before.items():
            after = [parameter.detach() for parameter in _trained(self._layers[name])]
            self._scalars[name, "update"] = norm(torch._foreach_sub(after, before))
        found = {name: {"kind": type(layer).__name__} for name, layer in self._in_order()}
        self._put_spreads(found)
        self._put_scalars(found)
        samples = {key: s.sample for key, s in self._spreads.items() if s.sample is not None}
        self._spreads, self._before, self._scalars = {}, {}, {}
        return Measured(found, samples)

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        activation, gradient = Spread(), Spread()

        def forward(layer: nn.Module, inputs: Any, output: Any) -> None:
            if not torch.is_grad_enabled():
                return
            for value in tensors(output)[:1]:  # what follows, in an LSTM, is its last state
                self._spreads[name, "activation"] = activation
                activation.add(value, sample=self._samples)
                on_gradient(value, backward)

        def backward(grad: Tensor) -> None:
            self._spreads[name, "gradient"] = gradient
            gradient.add(grad, sample=self._samples)

        return forward

    def _in_order(self) -> list[tuple[str, nn.Module]]:
        """Return the layers that were executed, in that order, then those that were not."""
        executed = [name for name, kind in self._spreads if kind == "activation"]
        return [(n, self._layers[n]) for n in dict.fromkeys([*executed, *self._layers])]

    def _put_spreads(self, found: dict[str, dict[str, Any]]) -> None:
        spreads = {key: spread for key, spread in self._spreads.items() if spread.rows}
        fetched = _fetch([row for spread in spreads.values() for row in spread.rows])
        for (name, kind), spread in spreads.items():
            rows = [next(fetched) for _ in spread.rows]
            found[name][kind] = spread.summary(rows)

    def _put_scalars(self, found: dict[str, dict[str, Any]]) -> None:
        fetched = _fetch(list(self._scalars.values()))
        for (name, key), value in zip(self._scalars, fetched, strict=True):
            found[name].setdefault("weight", {})[key] = value


def _trained(layer: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in layer.parameters(recurse=False) if parameter.requires_grad]


def _fetch(values: list[Tensor]) -> Any:
    """Return numbers from the device, which is waited for once."""
    return iter(torch.stack([v.float() for v in values]).tolist() if values else [])
