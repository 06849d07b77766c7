"""Spectrograms as PNG images, without a library for plots or pictures."""

import struct
import zlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Levels below the loudest one that are shown.
RANGE_DB = 75.0
LOWEST_HZ = 40.0

# Colours from soft to loud, in equal steps: dark blue, violet, red, orange, light yellow.
_COLOURS = np.array(
    [(6, 6, 26), (58, 16, 104), (138, 34, 106), (208, 66, 62), (247, 142, 40), (252, 250, 180)]
)


def spectrogram_png(
    audio: NDArray[np.float32], sample_rate: int, *, width: int = 760, height: int = 150
) -> bytes:
    """Draw the spectrogram of a song, low notes at the bottom, on a logarithmic axis.

    Args:
        audio: What is drawn; its channels are added.
        sample_rate: In Hz.
        width: Of the picture in pixels, each a moment.
        height: Of the picture in pixels, each a frequency between 40 Hz and half the sample rate.

    Shape:
        audio: `[C, T]`.
    """
    decibels = _spectrogram_db(audio.mean(axis=0), sample_rate, width, height)
    shown = np.clip(1 + decibels / RANGE_DB, 0, 1)
    return _png(np.rint(255 * shown[::-1]).astype(np.uint8))


def _spectrogram_db(
    mono: NDArray[np.float32], sample_rate: int, width: int, height: int
) -> NDArray[np.float64]:
    """Return levels relative to full scale; each pixel is the loudest of what it covers."""
    size = 4096
    padded = np.pad(mono, size // 2)
    # Two frames in each column, so that no stroke of a drum is passed over in a short song.
    starts = np.linspace(0, len(mono) - 1, 2 * width).astype(int)
    window = np.hanning(size).astype(np.float32)
    spectra = np.concatenate(
        [
            np.abs(np.fft.rfft(padded[block[:, None] + np.arange(size)] * window, axis=1))
            for block in np.array_split(starts, -(-len(starts) // 128))
        ]
    )
    columns = spectra.reshape(width, 2, -1).max(axis=1)
    edges_hz = np.geomspace(LOWEST_HZ, sample_rate / 2, height + 1)
    bins = np.minimum(edges_hz / sample_rate * size, size // 2)
    rows = [
        columns[:, int(low) : max(int(high), int(low) + 1)].max(axis=1)
        for low, high in pairwise(bins)
    ]
    # A sine of full scale has a peak of half the window's sum.
    return np.asarray(20 * np.log10(np.maximum(np.stack(rows) / (0.5 * window.sum()), 1e-9)))


def _png(indices: NDArray[np.uint8]) -> bytes:
    """Return a PNG image of a picture whose pixels are places in the colours, 0 to 255."""
    height, width = indices.shape
    steps = np.linspace(0, len(_COLOURS) - 1, 256)
    palette = np.stack(
        [np.interp(steps, np.arange(len(_COLOURS)), _COLOURS[:, c]) for c in range(3)], axis=1
    )
    # Each row begins with the number of its filter; 0 is none.
    rows = np.concatenate((np.zeros((height, 1), np.uint8), indices), axis=1).tobytes()
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", np.rint(palette).astype(np.uint8).tobytes()),
            _chunk(b"IDAT", zlib.compress(rows, 9)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
