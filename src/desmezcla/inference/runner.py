"""What runs a network, whichever program computes it."""

from typing import Literal, Protocol

from desmezcla.inference.blocks import Block
from desmezcla.spec import ModelSpec

EngineName = Literal["auto", "torch", "onnx"]


class Runner(Protocol):
    """A model on arrays; `torch_runner` and `onnx_runner` each have one."""

    @property
    def spec(self) -> ModelSpec:
        """What the engine may know of the model."""

    @property
    def engine(self) -> Literal["torch", "onnx"]:
        """The program that computes."""

    @property
    def device(self) -> str:
        """Where it computes: cpu, cuda or mps."""

    @property
    def precision(self) -> str:
        """How exactly it computes."""

    def run(self, mix: Block) -> Block:
        """Separate some mixtures.

        Shape:
            mix: `[B, C, n]`; returns `[B, S, C, n]`.
        """
