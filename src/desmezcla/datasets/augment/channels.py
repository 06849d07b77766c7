"""Changes of the stereo image: width, swapped and muted channels."""

from typing import Literal

import numpy as np
from pydantic import Field

from desmezcla.datasets.augment.base import Audio, Range, StemAugmentation


class ChannelSwap(StemAugmentation):
    """Exchange left and right of a stem; a mono one stays as it is."""

    kind: Literal["channel_swap"] = "channel_swap"
    p: float = Field(default=0.5, ge=0, le=1)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with C reversed."""
        return audio[:, ::-1]


class ChannelMute(StemAugmentation):
    """Silence one channel of a stem, drawn evenly; a mono one stays as it is.

    With `together` it is the same channel in all stems, and so in the mixture.
    """

    kind: Literal["channel_mute"] = "channel_mute"
    p: float = Field(default=0.1, ge=0, le=1)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with zeros in one of C."""
        muted: Audio = audio.copy()
        if audio.shape[1] > 1:
            muted[:, rng.integers(audio.shape[1])] = 0.0
        return muted


class StereoWidth(StemAugmentation):
    """Scale what the channels differ by: y_c = m + w·(x_c - m), m the mean of the channels.

    A network trained on one way of mixing takes a stem's usual place in the stereo image for the
    stem itself. A mono signal stays as it is.

    Attributes:
        width: Range of w; 0 makes the stem mono, 1 leaves it as it is.
    """

    kind: Literal["stereo_width"] = "stereo_width"
    width: Range = (0.0, 1.1)

    def change(self, audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
        """Return `[N, C, T]` with another width."""
        middle = audio.mean(axis=1, keepdims=True)
        changed: Audio = middle + np.float32(rng.uniform(*self.width)) * (audio - middle)
        return changed
