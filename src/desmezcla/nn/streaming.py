"""What a causal network remembers, so that it can be run on a few frames at a time.

The memory lies beside the network, not in it: the network is a function of the frames and of the
tensors that the last call left, and gives back the tensors for the next. Several streams can share
one network, a run over a whole signal is the same code with an empty memory, and an exported
network has the tensors as inputs and outputs.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

State: TypeAlias = tuple[Tensor, ...]
"""What a network remembers, in the order in which its layers run; at the start all zeros."""

# With so few frames, products of one vector after another are quicker than `nn.LSTM`, which
# arranges its weights anew at each call (0.7 ms against 5.3 ms for one frame and 1000 units).
_FEW_FRAMES = 8


class Memory:
    """One pass through a network: each layer gets what it left last time, and leaves it anew.

    Layers must come in the same order in every pass.

    Args:
        state: What the last pass left; None at the beginning of a signal.
    """

    def __init__(self, state: State | None = None) -> None:
        self._before: Iterator[Tensor] | None = iter(state) if state else None
        self._after: list[Tensor] = []

    @property
    def state(self) -> State:
        """What this pass has left."""
        return tuple(self._after)

    def recall(self, shape: Iterable[int], like: Tensor) -> Tensor:
        """Return the next tensor that was kept; at the beginning of a signal, zeros.

        Args:
            shape: Of the zeros.
            like: Tensor whose type and device they have.
        """
        return like.new_zeros(tuple(shape)) if self._before is None else next(self._before)

    def keep(self, tensor: Tensor) -> None:
        """Keep a tensor for the next pass."""
        self._after.append(tensor)

    def joined(self, x: Tensor, past: int, axis: int) -> Tensor:
        """Return x behind so many entries that came before it along an axis."""
        shape = list(x.shape)
        shape[axis] = past
        joined = torch.cat([self.recall(shape, x), x], axis)
        self.keep(joined.narrow(axis, x.shape[axis], past))
        return joined


class Streaming(nn.Module):
    """A layer that looks back in time, with a memory if it looks no other way."""

    @abstractmethod
    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Run on the frames that follow those of the last pass."""


def in_turn(layers: Iterable[nn.Module], x: Tensor, memory: Memory | None) -> Tensor:
    """Run layers one after the other, with the memory where they take one."""
    for layer in layers:
        x = layer(x, memory) if isinstance(layer, Streaming) else layer(x)
    return x


def recurrent(lstm: nn.LSTM, x: Tensor, memory: Memory) -> Tensor:
    """Return what an LSTM makes of frames.

    Args:
        lstm: Looks in one direction.
        x: The frames, on the axis that the LSTM has them on.
        memory: Gets hidden state and cell of each layer.

    Shape:
        x: `[B, N, H]` for an LSTM with `batch_first`, `[N, B, H]` otherwise; returns the same
        with as many features as it has units.
    """
    frames_axis = int(lstm.batch_first)
    shape = (lstm.num_layers, x.shape[1 - frames_axis], lstm.hidden_size)
    hidden, cell = memory.recall(shape, x), memory.recall(shape, x)
    if x.shape[frames_axis] > _FEW_FRAMES or lstm.training:
        y, (hidden, cell) = lstm(x, (hidden, cell))
    else:
        y, hidden, cell = _cells(lstm, x.unbind(frames_axis), hidden, cell)
        y = y if frames_axis == 0 else y.transpose(0, 1)
    memory.keep(hidden)
    memory.keep(cell)
    result: Tensor = y
    return result


def _cells(
    lstm: nn.LSTM, frames: tuple[Tensor, ...], hidden: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM frame by frame.

    Shape:
        frames: `[B, H]` each; hidden, cell: `[L, B, H]`; returns `[N, B, H]`, hidden and cell.
    """
    states = list(zip(hidden, cell, strict=True))
    outputs = []
    for x in frames:
        for layer, weights in enumerate(lstm.all_weights):
            states[layer] = torch.lstm_cell(x, states[layer], *weights)
            x = states[layer][0]
        outputs.append(x)
    hidden, cell = (torch.stack(part) for part in zip(*states, strict=True))
    return torch.stack(outputs), hidden, cell
