"""Models on arrays, with PyTorch."""

from typing import Any, Literal

import torch

from desmezcla.inference.blocks import Block
from desmezcla.inference.device import choose_device, choose_dtype
from desmezcla.inference.engine import Engine, EngineOptions
from desmezcla.models.base import SeparationModel


class TorchRunner:
    """A model on a device; see `Runner`.

    Args:
        model: The model; it is moved to the device.
        options: Where and how exactly to run it.

    Errors:
        ParameterError: if an option is not possible on this machine.
    """

    engine: Literal["torch"] = "torch"

    def __init__(self, model: SeparationModel[Any], options: EngineOptions) -> None:
        self._device = choose_device(options.device)
        self._dtype = choose_dtype(options.precision, self._device)
        self._model = model.to(self._device).eval()
        self.spec = model.spec
        self.device = self._device.type
        self.precision = str(self._dtype).removeprefix("torch.")

    def run(self, mix: Block) -> Block:
        """Separate some mixtures. Shape: `[B, C, n] -> [B, S, C, n]`."""
        low = self._dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, enabled=low):
            stems = self._model(torch.from_numpy(mix).to(self._device)).float().cpu()
        result: Block = stems.numpy()
        return result


def torch_engine(model: SeparationModel[Any], options: EngineOptions) -> Engine:
    """Return a model, ready to separate sources; see `Engine`."""
    return Engine(TorchRunner(model, options), options)
