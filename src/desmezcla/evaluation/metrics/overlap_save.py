"""Convolution of several channels with a bank of filters, in blocks of one transform each."""

import torch
from torch import Tensor

from desmezcla.evaluation.metrics.correlations import power_of_two

# Lengths of a block's transform that are tried, in units of the filters' length rounded up to a
# power of two: all are quick to transform.
_LENGTHS = (3, 4, 5, 6, 8, 9, 10, 12, 15, 16)


class OverlapSave:
    """Filters from some channels to others, ready to be applied to blocks.

    Args:
        filters: Impulse responses.
        samples: How many samples of output will be wanted, as a rule; blocks are made to fit.

    Shape:
        filters: `[I, L, O]`.

    Attributes:
        past: Samples of input, L - 1, that a block needs before its first sample of output.
        size: Samples of input of a block.
        step: Samples of output of a block.
    """

    def __init__(self, filters: Tensor, samples: int) -> None:
        taps = filters.shape[1]
        sizes = [power_of_two(taps) * n for n in _LENGTHS]
        self.past = taps - 1
        self.size = min(sizes, key=lambda size: size * -(-samples // (size - taps + 1)))
        self.step = self.size - self.past
        response: Tensor = torch.fft.rfft(filters, n=self.size, dim=1)
        self._response = response.transpose(0, 1).contiguous()  # [F, I, O]

    def apply(self, spectra: Tensor) -> Tensor:
        """Return the output of blocks. Shape: `[F, rows, I]` -> `[O, rows, step]`."""
        product = (spectra @ self._response).permute(2, 1, 0)
        output: Tensor = torch.fft.irfft(product, n=self.size)
        return output[..., self.past :]
