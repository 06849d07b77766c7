"""Correlations of long signals at short lags, block by block.

With signals that are zero outside of a span, and lags 0 <= k < L,

    r_ij[k] = Σ_t x_i[t] y_j[t + k].

A block of N samples of x meets N + L - 1 samples of y. Its correlation is a product of spectra, and
the spectra of all blocks of a span add up before a single transform back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from desmezcla.dsp.threads import on_all_cores, summed_on_all_cores

# Samples of a block's transform for each sample of lag. Longer ones do less work twice, but each
# span ends with one transform back for each pair of channels.
_TRANSFORM_PER_LAG = 4

# Samples, of all channels together, that are transformed at once: what stays in a core's cache.
_BATCH_SAMPLES = 1 << 19

# Longer spans are cut, so that all cores have something to do.
_SPAN_SAMPLES = 1 << 18

Span = tuple[int, int]
"""First sample, and the one after the last."""


@dataclass(frozen=True)
class Channels:
    """All channels of the references, followed by all those of the estimates.

    Attributes:
        read: Gives samples from start to before stop, float64 `[I + O, stop - start]`.
        references: Channels of the references, I.
        estimates: Channels of the estimates, O.
        device: Where they are.
    """

    read: Callable[[int, int], Tensor]
    references: int
    estimates: int
    device: torch.device

    def span(self, start: int, stop: int, span: Span) -> Tensor:
        """Return samples with zeros for what is outside of a span: `[I + O, stop - start]`."""
        first, last = (min(max(edge, span[0]), span[1]) for edge in (start, stop))
        return pad(self.read(first, last), (first - start, stop - last))


def span_correlations(channels: Channels, spans: Sequence[Span], lags: int) -> Iterator[Tensor]:
    """Yield the correlations of the references (x) with all channels (y), for each span.

    Args:
        channels: The signals.
        spans: Outside of its span everything counts as zero.
        lags: How many lags, L.

    Shape:
        yields `[I, I + O, L]`, float64.
    """

    def correlations(span: Span) -> Tensor:
        return _of_span(channels, span, lags)

    at_once = 16 * torch.get_num_threads()
    for begin in range(0, len(spans), at_once):
        group = spans[begin : begin + at_once]
        if all(stop - start <= _SPAN_SAMPLES for start, stop in group):
            yield from on_all_cores(correlations, group, channels.device)
            continue
        for start, stop in group:
            parts = cut(start, stop, _SPAN_SAMPLES)
            inner = summed_on_all_cores(correlations, parts, channels.device)
            edges = [edge for edge, _ in parts[1:]]
            yield inner + across(channels, edges, (start, stop), lags)


def across(channels: Channels, edges: Sequence[int], span: Span, lags: int) -> Tensor:
    """Return what correlates across the edges between neighbouring parts of a span.

    It is what the correlations of the parts lack to be those of the span, if no part but the last
    is shorter than L - 1 samples.

    Args:
        channels: The signals.
        edges: Where a part ends and the next one begins.
        span: What is in parts.
        lags: How many lags, L.

    Shape:
        returns `[I, I + O, L]`.
    """
    size, known = power_of_two(2 * lags), channels.references
    shape = (size // 2 + 1, known, known + channels.estimates)
    spectrum = torch.zeros(shape, dtype=torch.complex128, device=channels.device)
    for edge in edges:
        audio = channels.span(edge - lags + 1, edge - lags + 1 + size, span)
        x, y = audio[:known].clone(), audio.clone()
        x[:, lags - 1 :] = 0
        y[:, : lags - 1] = 0
        y[:, 2 * (lags - 1) :] = 0
        spectrum += cross_spectrum(x[:, None], y[:, None])
    return from_spectrum(spectrum, size, lags)


def cut(start: int, stop: int, length: int) -> list[Span]:
    """Cut a span into neighbouring ones."""
    return [(edge, min(stop, edge + length)) for edge in range(start, stop, length)]


def cross_spectrum(x: Tensor, y: Tensor) -> Tensor:
    """Return the spectra of the correlations of blocks, added up.

    Shape:
        x: `[X, blocks, size]`; y: `[Y, blocks, size]`; returns `[F, X, Y]`.
    """
    left = by_frequency(x).mH.resolve_conj()
    return left @ by_frequency(y)


def by_frequency(blocks: Tensor) -> Tensor:
    """Transform blocks; laid out in memory as a product by frequency wants them, five times faster.

    Shape:
        blocks: `[X, blocks, size]`; returns `[F, blocks, X]`.
    """
    spectra: Tensor = torch.fft.rfft(blocks)
    return spectra.permute(2, 1, 0).contiguous()


def from_spectrum(spectrum: Tensor, size: int, lags: int) -> Tensor:
    """Transform the spectra of correlations back. Shape: `[F, X, Y]` -> `[X, Y, L]`."""
    correlations: Tensor = torch.fft.irfft(spectrum.permute(1, 2, 0), n=size)
    return correlations[..., :lags].contiguous()


def _of_span(channels: Channels, span: Span, lags: int) -> Tensor:
    start, stop = span
    size = power_of_two(min(_TRANSFORM_PER_LAG * lags, stop - start + lags - 1))
    hop = size - lags + 1
    known = channels.references
    blocks_at_once = max(1, _BATCH_SAMPLES // (size * (2 * known + channels.estimates)))
    spectra = []
    for begin, end in cut(start, stop, blocks_at_once * hop):
        blocks = -(-(end - begin) // hop)
        audio = channels.span(begin, begin + (blocks - 1) * hop + size, span)
        y = audio.unfold(1, size, hop)
        x = y[:known].clone()
        x[..., hop:] = 0
        spectra.append(cross_spectrum(x, y))
    return from_spectrum(torch.stack(spectra).sum(dim=0), size, lags)


def power_of_two(samples: int) -> int:
    """Return the power of two that is not below a number."""
    return 1 << max(0, samples - 1).bit_length()
