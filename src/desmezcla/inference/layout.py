"""Any channel layout through a model of one or two channels, and back."""

import numpy as np

from desmezcla.inference.blocks import Block
from desmezcla.inference.groups import Group


def to_model(audio: Block, groups: list[Group], model_channels: int) -> Block:
    """Arrange channels as a batch for the model; a channel alone goes to both of its inputs.

    Shape:
        audio: `[C, n]`; returns `[G, model_channels, n]`.
    """
    return np.stack([audio[np.resize(group, model_channels)] for group in groups])


def from_model(stems: Block, groups: list[Group], channels: int) -> Block:
    """Put the model's outputs back in the source's channels; a channel alone gets their mean.

    Shape:
        stems: `[G, S, model_channels, n]`; returns `[S, channels, n]`.
    """
    if groups == [tuple(range(channels))] and stems.shape[2] == channels:
        whole: Block = stems[0]  # all of them in one group, in order
        return whole
    placed = np.empty((stems.shape[1], channels, stems.shape[-1]), stems.dtype)
    for own, group in zip(stems, groups, strict=True):
        alone = own.shape[1] > len(group)
        placed[:, list(group)] = own.mean(1, keepdims=True) if alone else own
    return placed
