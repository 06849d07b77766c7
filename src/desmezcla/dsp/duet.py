"""Sources of a stereo mixture by where they are: level and time between the channels (DUET)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from desmezcla.errors import ParameterError

# Below this part of the louder channel (-20 dB) the phase of the quieter one says little.
_AUDIBLE = 0.1
# A peak counts as a source from this part of the highest one on.
_LOWEST_PEAK = 1e-2


@dataclass(frozen=True)
class PlaceMap:
    """How the histogram of places is divided, smoothed and read.

    Attributes:
        angles: Cells from hard left to hard right.
        delays: Cells from the longest delay of left to that of right, odd: 0 has one.
        max_delay_samples: Longest delay between the channels; 0 to look at levels only.
        spread_cells: Standard deviation of the smoothing.
        separation_cells: Sources are further apart than this, in one of the directions.

    Errors:
        ParameterError: if a number is out of range.
    """

    angles: int = 91
    delays: int = 65
    max_delay_samples: float = 4.0
    spread_cells: float = 1.0
    separation_cells: int = 5

    def __post_init__(self) -> None:
        if self.angles < 2:
            raise ParameterError(f"angles={self.angles} must be at least 2; 91 are usual")
        if self.delays < 1 or self.delays % 2 == 0:
            raise ParameterError(f"delays={self.delays} must be odd and positive; 65 are usual")
        for name in ("max_delay_samples", "spread_cells", "separation_cells"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name}={getattr(self, name)} must be 0 or more")

    @property
    def cells_per_sample(self) -> float:
        """Cells that a delay of one sample spans."""
        return self.delays // 2 / self.max_delay_samples if self.max_delay_samples else 0.0


def find_places(
    spectrum: Tensor, frequencies: Tensor, *, sources: int, place_map: PlaceMap
) -> Tensor:
    """Find where the sources of a stereo mixture are (Yilmaz and Rickard 2004).

    Where a bin has one source only, its channels differ by the level and the delay of that source.
    The histogram of both, weighted by the power of the bins, has a peak for every source.

    Args:
        spectrum: Spectrograms of the left and the right channel.
        frequencies: Angular frequency of each bin, radians per sample.
        sources: Most places to be returned; the highest peaks are.
        place_map: How the histogram is divided.

    Shape:
        spectrum: `[2, F, N]`, complex; frequencies: `[F]`; returns `[K, 2]`, K up to `sources`:
        angle (0 for left only, π/2 for right only) and samples that right lags behind left,
        sorted from left to right. Silence has no places.
    """
    left, right = spectrum / spectrum.abs().amax().clamp(min=1e-30)
    weight = left.abs().square() + right.abs().square()
    angle = torch.atan2(right.abs(), left.abs()) * (2 / math.pi)  # 0 to 1
    row = (angle * (place_map.angles - 1)).round().long()
    middle = place_map.delays // 2
    column = (_delays(left, right, frequencies) * place_map.cells_per_sample).round() + middle
    # A constant says nothing of delays, nor does a bin of which half a period is less than the
    # longest delay; and a delay outside the map is that of no source.
    turn = frequencies * place_map.max_delay_samples
    sure = (((turn > 0) & (turn < math.pi)) | (place_map.max_delay_samples == 0))[:, None]
    sure = sure & (column >= 0) & (column < place_map.delays) & (weight > 0)
    cell = row[sure] * place_map.delays + column[sure].long()
    cells = weight.new_zeros(place_map.angles * place_map.delays, dtype=torch.float64)
    histogram = cells.index_add(0, cell, weight[sure].double())
    histogram = histogram.reshape(place_map.angles, place_map.delays)
    peaks = _peaks(_smoothed(histogram, place_map.spread_cells), sources, place_map)
    per_sample = place_map.cells_per_sample or 1.0
    return torch.tensor(
        [
            (math.pi / 2 * row / (place_map.angles - 1), (column - middle) / per_sample)
            for row, column in sorted(peaks)
        ]
    ).reshape(-1, 2)


def nearest_place(spectrum: Tensor, frequencies: Tensor, places: Tensor) -> Tensor:
    """Say for each bin from which place it most likely comes.

    A source at angle θ and delay δ has the image h = (cos θ, sin θ·exp(-iωδ)) times a number. The
    one that leaves least of the bin x, |x|² - |hᴴx|², is the most likely for white noise.

    Args:
        spectrum: Spectrograms of the left and the right channel.
        frequencies: Angular frequency of each bin, radians per sample.
        places: As `find_places` returns them, one at least.

    Shape:
        spectrum: `[2, F, N]`, complex; frequencies: `[F]`; places: `[K, 2]`; returns `[F, N]`,
        numbers of places.
    """
    left, right = spectrum
    likely = []
    for angle, delay in places.tolist():
        turn = torch.polar(torch.ones_like(frequencies), frequencies * delay)[:, None]
        likely.append((math.cos(angle) * left + math.sin(angle) * turn * right).abs())
    return torch.stack(likely).argmax(0)


def _delays(left: Tensor, right: Tensor, frequencies: Tensor) -> Tensor:
    """Return the samples that right lags behind left, 0 where one channel can hardly be heard."""
    quieter, louder = torch.minimum(left.abs(), right.abs()), torch.maximum(left.abs(), right.abs())
    heard = (quieter > _AUDIBLE * louder) & (frequencies > 0)[:, None]
    delay = (left.angle() - right.angle() + math.pi).remainder(2 * math.pi) - math.pi
    return torch.where(heard, delay / frequencies.clamp(min=1e-12)[:, None], 0.0)


def _smoothed(histogram: Tensor, spread: float) -> Tensor:
    """Smooth a histogram with a Gaussian; outside there is nothing."""
    reach = math.ceil(3 * spread)
    offsets = torch.arange(-reach, reach + 1, dtype=histogram.dtype, device=histogram.device)
    kernel = torch.exp(-0.5 * (offsets / max(spread, 1e-6)).square())
    image = F.conv2d(histogram[None, None], kernel[:, None][None, None], padding=(reach, 0))
    return F.conv2d(image, kernel[None, None, None], padding=(0, reach))[0, 0]


def _peaks(histogram: Tensor, count: int, place_map: PlaceMap) -> list[tuple[int, int]]:
    """Return the cells of the highest peaks, which are the highest for some cells around."""
    reach = place_map.separation_cells
    around = F.max_pool2d(histogram[None], 2 * reach + 1, stride=1, padding=reach)[0]
    lowest = _LOWEST_PEAK * histogram.amax()
    heights = torch.where((histogram == around) & (histogram > lowest), histogram, 0.0)
    peaks: list[tuple[int, int]] = []
    while len(peaks) < count and heights.any():
        row, column = divmod(int(heights.argmax()), heights.shape[1])
        peaks.append((row, column))
        # Of neighbours with exactly the same height only one is a peak.
        rows = slice(max(0, row - reach), row + reach + 1)
        columns = slice(max(0, column - reach), column + reach + 1)
        heights[rows, columns] = 0.0
    return peaks
