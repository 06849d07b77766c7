"""The network of a model as an ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.models import Core, InnerCore, SeparationModel
from desmezcla.releases.release import Release
from desmezcla.version import VERSION

OUTPUT = "output"
"""What the result of an `InnerCore` is called."""


def export_core(model: SeparationModel[Any], path: Path, example: Tensor) -> Core | InnerCore:
    """Write the network that a model declares as its core to an ONNX file.

    The length of the mixture stays free: the axes that follow it are dynamic. The batch has the
    size of the example's.

    Args:
        model: The model, in evaluation mode.
        path: Where to.
        example: A mixture that the network is traced with, a second or so.

    Shape:
        example: `[B, C, T]`; B = 1 for a `Core`.

    Returns:
        The core; what is before and after its network is what another program has to do itself.

    Errors:
        ParameterError: if the model declares no core.
    """
    core = model.core()
    if core is None:
        key = origin_of(model, None)["name"]
        raise ParameterError(
            f"model={key!r} declares no network that ONNX can hold; run it with PyTorch"
        )
    if isinstance(core, InnerCore):
        inputs, axes = core.enter(example), core.length_axes
        names = core.inputs
        outputs: dict[str, int | None] = {OUTPUT: None}
    else:
        front = core.front_end
        inputs = tuple(map(torch.from_numpy, front.before(example.numpy())))
        axes = (2,) * len(inputs)  # of frames or, where there are none, of samples
        names, outputs = front.inputs, dict.fromkeys(front.outputs, 3)
    _export(core.network, path, inputs, dict(zip(names, axes, strict=True)), outputs)
    return core


def _export(
    network: nn.Module,
    path: Path,
    inputs: tuple[Tensor, ...],
    axes: dict[str, int],
    outputs: Mapping[str, int | None],
) -> None:
    """Write a network; `axes` and `outputs` say which axis of which tensor is free, if known."""
    named: dict[str, Any] = {"input_names": list(axes), "output_names": list(outputs)}
    free = {**axes, **outputs}
    with torch.no_grad(), quiet():
        # The newer exporter fixes the number of steps of an LSTM, the older one the lengths that
        # are computed from a shape (rotary positions).
        if any(isinstance(module, nn.LSTM) for module in network.modules()):
            torch.onnx.export(
                network,
                inputs,
                path,
                dynamo=False,
                opset_version=17,
                dynamic_axes={n: {a: "length"} for n, a in free.items() if a is not None},
                **named,
            )
        else:
            torch.onnx.export(
                network,
                inputs,
                path,
                dynamo=True,
                # The exporter's simplifier takes x + 1e-8 for x, which divides silence by zero.
                optimize=False,
                external_data=False,
                dynamic_shapes=tuple({axis: torch.export.Dim.DYNAMIC} for axis in axes.values()),
                **named,
            )


def origin_of(model: SeparationModel[Any], release: Release | None) -> dict[str, Any]:
    """Return the fields of `FileFacts`: what a file is made of."""
    return {
        "desmezcla": VERSION,
        "name": release.name if release else type(model).__module__.rpartition(".")[2],
        "weights_sha256": release.sha256 if release else None,
        "license": release.info.license if release else "unknown",
        "stems": model.spec.stems,
        "sample_rate": model.spec.sample_rate,
        "channels": model.spec.channels,
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what the exporters print, log and warn of; the caller compares the results."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
