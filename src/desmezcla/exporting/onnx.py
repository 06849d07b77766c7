"""The network of a model as an ONNX file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from desmezcla.errors import ParameterError
from desmezcla.models import Core, SeparationModel

OUTPUT = "output"


def export_core(model: SeparationModel[Any], path: Path, example: Tensor) -> Core:
    """Write the network that a model declares as its core to an ONNX file.

    The length of the mixture stays free: the axes that follow it (`Core.length_axes`) are dynamic.
    The batch has the size of the example's.

    Args:
        model: The model, in evaluation mode.
        path: Where to.
        example: A mixture that the network is traced with, a second or so.

    Shape:
        example: `[B, C, T]`.

    Returns:
        The core; its `enter` and `leave` are what another program has to do itself.

    Errors:
        ParameterError: if the model declares no core.
    """
    core = model.core()
    if core is None:
        key = type(model).__module__.rpartition(".")[2]
        raise ParameterError(
            f"model={key!r} declares no network that ONNX can hold; run it with PyTorch"
        )
    inputs = core.enter(example)
    with torch.no_grad(), quiet():
        # The newer exporter fixes the number of steps of an LSTM, the older one the lengths that
        # are computed from a shape (rotary positions).
        if any(isinstance(module, nn.LSTM) for module in core.network.modules()):
            axes = zip(core.inputs, core.length_axes, strict=True)
            torch.onnx.export(
                core.network,
                inputs,
                path,
                dynamo=False,
                opset_version=17,
                input_names=list(core.inputs),
                output_names=[OUTPUT],
                dynamic_axes={name: {axis: "length"} for name, axis in axes},
            )
        else:
            torch.onnx.export(
                core.network,
                inputs,
                path,
                dynamo=True,
                # The exporter's simplifier takes x + 1e-8 for x, which divides silence by zero.
                optimize=False,
                external_data=False,
                input_names=list(core.inputs),
                output_names=[OUTPUT],
                dynamic_shapes=tuple({axis: torch.export.Dim.DYNAMIC} for axis in core.length_axes),
            )
    return core


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
