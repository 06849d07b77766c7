"""Any channel layout through a model of one or two channels, and back."""

import torch
from torch import Tensor

from desmezcla.inference.groups import Group


def to_model(audio: Tensor, groups: list[Group], model_channels: int) -> Tensor:
    """Arrange channels as a batch for the model; a channel alone goes to both of its inputs.

    Shape:
        audio: `[C, n]`; returns `[G, model_channels, n]`.
    """
    return torch.stack([audio[list(group)].expand(model_channels, -1) for group in groups])


def from_model(stems: Tensor, groups: list[Group], channels: int) -> Tensor:
    """Put the model's outputs back in the source's channels; a channel alone gets their mean.

    Shape:
        stems: `[G, S, model_channels, n]`; returns `[S, channels, n]`.
    """
    if groups == [tuple(range(channels))] and stems.shape[2] == channels:
        return stems[0]  # all of them in one group, in order
    placed = stems.new_empty(stems.shape[1], channels, stems.shape[-1])
    for own, group in zip(stems, groups, strict=True):
        placed[:, list(group)] = own if own.shape[1] == len(group) else own.mean(1, keepdim=True)
    return placed
