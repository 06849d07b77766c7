"""Which channels of a layout go through a model of one or two channels together."""

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
