"""Finds the layer in which a training step stops being finite.

Each step is checked by two numbers only, the loss and the norm of the gradient. When one of them is
not finite, the step is done once more, with the same weights and the same random numbers, and every
layer is looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from desmezcla.training.diagnostics.statistics import Spread, layers, norm, on_gradient, tensors

Batch = tuple[Tensor, Tensor]
LossOf = Callable[[Tensor, Tensor], Tensor]
Phase = Literal["batch", "weights", "forward", "loss", "backward", "norm", "elsewhere"]


@dataclass(frozen=True)
class Finding:
    """Where numbers stop being finite.

    Attributes:
        phase: "batch" if the examples are not finite, "weights" if weights are not; "forward" or
            "backward" if a layer makes them so; "loss" if all layers are finite and the loss is
            not; "norm" if each number is finite, but the gradient's norm is too large for float32;
            "elsewhere" if nothing is wrong with the step when it is done again by this process.
        layer: The layer, or "" where there is none to name.
        kind: Its class.
        inside: Whether the layer itself does it. If not, it is what is done between it and the
            layer before (forward) or behind (backward).
        statistics: Of what came into the layer, forward or backward.
        examples: Places in the batch of the examples with which it happens, each by itself; none
            if it happens with no single one.
    """

    phase: Phase
    layer: str = ""
    kind: str = ""
    inside: bool = True
    statistics: dict[str, float] | None = None
    examples: tuple[int, ...] = ()

    def content(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def text(self) -> str:
        """Return the finding as a part of a sentence."""
        layer = f"layer {self.layer} ({self.kind})"
        if self.phase == "batch":
            return "the batch itself is not finite"
        if self.phase == "weights":
            return f"weights of {layer} are not finite; the update before made them so"
        if self.phase == "loss":
            return "every layer is finite, but the loss is not"
        if self.phase == "norm":
            return f"the gradient is too large for float32, most of all in {layer}"
        if self.phase == "elsewhere":
            return (
                "done again by this process alone, the step is finite; see what the other ones "
                "say, or suspect the hardware if there are none"
            )
        side = "before" if self.phase == "forward" else "behind"
        where = layer if self.inside else f"what is done just {side} {layer}"
        return f"the first to go wrong, {self.phase}, is {where}{_told(self.statistics)}"


def trace(model: nn.Module, loss_of: LossOf, batch: Batch) -> Finding:
    """Do a step again and find out where it stops being finite.

    Weights, their gradients and the state of the model stay as they are.

    Args:
        model: In the state before the step, in training mode.
        loss_of: Returns the loss of a batch, with the same random numbers each time.
        batch: What the step was about.
    """
    # Processes that do not go wrong at the same place must not wait for each other.
    with _unchanged(model), _fixed(model, nn.SyncBatchNorm):
        found = _weights(model) or _step(model, loss_of, batch)
    bad = tuple(i for i, example in enumerate(zip(*batch, strict=True)) if not _finite(*example))
    if bad and found.phase != "weights":
        return Finding("batch", examples=bad)
    if found.phase in ("forward", "loss", "backward"):
        found = replace(found, examples=_alone(model, loss_of, batch, found))
    return found


def _step(model: nn.Module, loss_of: LossOf, batch: Batch) -> Finding:
    watch = _Watch(model)
    with watch.hooks():
        loss = loss_of(*batch)
        if watch.found:
            return watch.found
        if not _finite(loss):
            return Finding("loss")
        parameters = [p for p in model.parameters() if p.requires_grad]
        # Not `backward`: that would tell other processes of gradients which they do not expect.
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    return watch.found or watch.of_gradients(parameters, grads)


def _alone(model: nn.Module, loss_of: LossOf, batch: Batch, found: Finding) -> tuple[int, ...]:
    """Return the examples with which the same happens when each is alone."""
    bad = []
    with _unchanged(model), _fixed(model, nn.modules.batchnorm._BatchNorm):
        for place in range(batch[0].shape[0]):
            mixture, stems = (part[place : place + 1] for part in batch)
            alone = _step(model, loss_of, (mixture, stems))
            if (alone.phase, alone.layer) == (found.phase, found.layer):
                bad.append(place)
    return tuple(bad)


def _weights(model: nn.Module) -> Finding | None:
    for name, layer in layers(model):
        if not _finite(*layer.parameters(recurse=False)):
            return Finding("weights", name, type(layer).__name__)
    return None


class _Watch:
    """Looks at what goes through each layer, and keeps the first thing that is not finite."""

    def __init__(self, model: nn.Module) -> None:
        self.found: Finding | None = None
        self._layers = dict(layers(model))
        self._executed: list[str] = []
        # What a layer takes in, to tell the layer from what is done behind the one before. The
        # tensors are kept so that their identities stay theirs.
        self._consumers: dict[int, tuple[Tensor, str]] = {}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Look at everything that happens meanwhile."""
        handles: list[Any] = []
        for name, layer in self._layers.items():
            handles.append(layer.register_forward_pre_hook(self._before(name)))
            handles.append(layer.register_forward_hook(self._after(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def of_gradients(self, parameters: list[nn.Parameter], grads: tuple[Any, ...]) -> Finding:
        """Return what the gradients of the weights show, as those of activations were finite."""
        by_parameter = dict(zip(parameters, grads, strict=True))
        norms: dict[str, Tensor] = {}
        for name in reversed(self._executed or list(self._layers)):
            own = [by_parameter.get(p) for p in self._layers[name].parameters(recurse=False)]
            values = [grad.detach() for grad in own if grad is not None]
            if not _finite(*values):
                return self._finding("backward", name, True, values)
            if values:
                norms[name] = norm(values)
        if norms and _finite(norm(list(norms.values()))):
            return Finding("elsewhere")
        largest = max(norms, key=lambda name: float(norms[name]))
        return Finding("norm", largest, type(self._layers[largest]).__name__)

    def _before(self, name: str) -> Callable[[nn.Module, Any], None]:
        def look(layer: nn.Module, inputs: Any) -> None:
            values = tensors(inputs)
            for value in values:
                self._consumers[id(value)] = (value, name)
                on_gradient(value, self._arrived(name, value, inside=True))
            if self.found is None and not _finite(*values):
                # Nothing before this layer has put out such a thing.
                self.found = self._finding("forward", name, False, values)

        return look

    def _after(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(layer: nn.Module, inputs: Any, output: Any) -> None:
            self._executed.append(name)
            values = tensors(output)
            if self.found is None and not _finite(*values):
                self.found = self._finding("forward", name, True, tensors(inputs))
            for value in values:
                on_gradient(value, self._arrived(name, value, inside=False))

        return look

    def _arrived(self, name: str, value: Tensor, *, inside: bool) -> Callable[[Tensor], None]:
        """Return what looks at a gradient, which comes from what was done with a tensor.

        If a layer took the tensor in, the layer made the gradient. If a layer put it out, and no
        other took in this very tensor, something between the two did.
        """
        key = id(value)

        def look(grad: Tensor) -> None:
            if self.found is not None or _finite(grad):
                return
            consumer = self._consumers.get(key)
            maker = consumer[1] if consumer else name
            self.found = self._finding("backward", maker, inside or consumer is not None, [grad])

        return look

    def _finding(self, phase: Phase, name: str, inside: bool, values: list[Tensor]) -> Finding:
        spread = Spread()
        for value in values:
            spread.add(value)
        statistics = spread.summary([row.tolist() for row in spread.rows]) if spread.rows else None
        return Finding(phase, name, type(self._layers[name]).__name__, inside, statistics)


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Leave the buffers of a model, such as running means, as they are."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(before[name])


@contextmanager
def _fixed(model: nn.Module, kind: type[nn.Module]) -> Iterator[None]:
    """Let batch normalisation of a kind use its running means, so that examples do not mix."""
    norms = [module for module in model.modules() if isinstance(module, kind)]
    modes = [norm.training for norm in norms]
    try:
        for norm in norms:
            norm.eval()
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.train(mode)


def _finite(*values: Tensor) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in values)


def _told(statistics: dict[str, float] | None) -> str:
    """Return statistics in words."""
    if statistics is None:
        return ""
    if statistics["nonfinite"]:
        return f" (what came in is not finite in {100 * statistics['nonfinite']:.3g} %)"
    return (
        f" (what came in has mean {statistics['mean']:.3g}, deviation {statistics['std']:.3g}, "
        f"largest magnitude {statistics['max']:.3g})"
    )
