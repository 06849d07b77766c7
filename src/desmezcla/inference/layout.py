"""Any channel layout through a model of one or two channels, and back."""

import torch
from torch import Tensor

Group = tuple[int, ...]
"""Channels of the source that go through the model together: one, or a pair of left and right."""


def channel_groups(layout: tuple[str, ...], model_channels: int) -> list[Group]:
    """Say which channels go through the model together.

    A mono model takes each channel by itself. A stereo model takes pairs of left and right (front,
    side, back, …); a channel without a partner (centre, low frequencies, a mono file) goes alone.

    Args:
        layout: Name of each channel, for example `("FL", "FR", "FC")`.
        model_channels: 1 or 2.

    >>> channel_groups(("FL", "FR", "FC", "LFE", "SL", "SR"), 2)
    [(0, 1), (2,), (3,), (4, 5)]
    """
    if model_channels == 1:
        return [(index,) for index in range(len(layout))]
    groups: list[Group] = []
    for index, name in enumerate(layout):
        right, left = name.replace("L", "R"), name.replace("R", "L")
        if "L" in name and right in layout:
            groups.append((index, layout.index(right)))
        elif "R" in name and left in layout:
            continue  # it went with its left partner
        else:
            groups.append((index,))
    return groups


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
