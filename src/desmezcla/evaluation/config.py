"""How BSS Eval is run: one description, which stands in every result and under every table."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from desmezcla.errors import ParameterError

Version = Literal["v4", "v3"]


@dataclass(frozen=True)
class BssEvalConfig:
    """Settings of a framewise BSS Eval of stem images.

    Attributes:
        window_s: Length of a frame in seconds; infinity for the whole track as one frame.
        hop_s: From one frame to the next, in seconds.
        version: "v4" estimates the distortion filters once for the whole track, "v3" anew for
            each frame.
        filter_samples: Length of the distortion filters.

    Errors:
        ParameterError: if a value is out of range.
    """

    window_s: float = 1.0
    hop_s: float = 1.0
    version: Version = "v4"
    filter_samples: int = 512

    def __post_init__(self) -> None:
        if not (self.window_s > 0 and self.hop_s > 0):
            raise ParameterError(
                f"window_s={self.window_s} and hop_s={self.hop_s} must be positive; 1 is usual"
            )
        if self.version not in ("v4", "v3"):
            raise ParameterError(f"version={self.version!r} must be v4 or v3")
        if not 1 <= self.filter_samples <= 65536:
            raise ParameterError(
                f"filter_samples={self.filter_samples} must be from 1 to 65536; 512 is usual"
            )

    def describe(self) -> str:
        """Return one line for the foot of a table.

        >>> BssEvalConfig().describe()
        'BSS Eval v4, frames of 1 s every 1 s, filters of 512 samples'
        """
        frames = f"frames of {self.window_s:g} s every {self.hop_s:g} s"
        if math.isinf(self.window_s):
            frames = "one frame of the whole track"
        return f"BSS Eval {self.version}, {frames}, filters of {self.filter_samples} samples"

    def as_dict(self) -> dict[str, Any]:
        """Return the settings for JSON."""
        return asdict(self)
