"""What the mixing desk plays and draws, made once when a job is done.

Decoded, a song of ten minutes has four stems of 200 MB each, too much for the browser of a phone;
and what files it can decode, browsers differ in. So each stem is laid down as plain 16-bit samples,
of which the desk fetches the seconds that it is about to play, whatever the format of the files is.
Waveforms and spectrograms, which need all samples, are drawn from what is computed here.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.reader import AudioReader

FACTS_FILE = "preview.json"
PEAKS = 1500
COLUMNS = 1000
BANDS = 128
_FFT_SAMPLES = 4096
_LOWEST_HZ = 40.0
_RANGE_DB = 90.0
_MOST_CHANNELS = 2
_PIECE_SAMPLES = 1 << 20

Samples = NDArray[np.int16]


def samples_file(stem: str) -> str:
    """Return the name of the file with the samples of a stem: 16 bits, little-endian, `[T, C]`."""
    return f"{stem}.pcm"


def picture_file(stem: str) -> str:
    """Return the name of the file with the spectrogram of a stem: bytes, `[COLUMNS, BANDS]`."""
    return f"{stem}.spectrum"


def make_preview(
    stems: Mapping[str, tuple[Path, int]], folder: Path, *, check: Callable[[], None]
) -> int:
    """Write the samples, waveforms and spectrograms of stems; return the size in bytes.

    Args:
        stems: File of each stem, and which of its audio streams it is.
        folder: An empty folder.
        check: Called now and then; what it raises ends the work.
    """
    facts: dict[str, Any] = {"stems": list(stems), "peaks": {}}
    lengths = []
    for stem, (path, stream) in stems.items():
        with AudioReader(path, stream=stream) as reader:
            rate, channels = reader.sample_rate, min(reader.channels, _MOST_CHANNELS)
            _write_samples(reader, folder / samples_file(stem), channels, check)
        samples = np.memmap(folder / samples_file(stem), "<i2", "r").reshape(-1, channels)
        facts["peaks"][stem] = _peaks(samples)
        (folder / picture_file(stem)).write_bytes(_spectrogram(samples, rate).tobytes())
        lengths.append(len(samples))
        facts |= {"sample_rate": rate, "channels": channels}
    facts |= {
        "length_samples": max(lengths),
        "columns": COLUMNS,
        "bands": BANDS,
        "lowest_hz": _LOWEST_HZ,
    }
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    return sum(path.stat().st_size for path in folder.iterdir())


def _write_samples(
    reader: AudioReader, path: Path, channels: int, check: Callable[[], None]
) -> None:
    with path.open("xb") as file:
        for block in reader.blocks():
            check()
            clipped = np.clip(block[:channels] * 32768, -32768, 32767)
            file.write(np.rint(clipped).astype("<i2").T.tobytes())


def _peaks(samples: Samples) -> list[list[int]]:
    """Return the lowest and the highest sample of each of `PEAKS` stretches, from -127 to 127.

    Shape:
        samples: `[T, C]`; returns two lists of `PEAKS`.
    """
    edges = np.linspace(0, len(samples), PEAKS + 1).astype(np.int64)
    lows, highs = np.zeros(PEAKS, np.int64), np.zeros(PEAKS, np.int64)
    for index, (start, stop) in enumerate(itertools.pairwise(edges)):
        stretch = samples[start : max(stop, start + 1)]
        lows[index], highs[index] = stretch.min(), stretch.max()
    return [(lows * 127 // 32768).tolist(), (highs * 127 // 32768).tolist()]


def _spectrogram(samples: Samples, rate: int) -> NDArray[np.uint8]:
    """Return levels in bands that are equally wide in octaves, 255 for the loudest of all.

    Shape:
        samples: `[T, C]`; returns `[COLUMNS, BANDS]`, low bands first.
    """
    window = np.hanning(_FFT_SAMPLES)
    first = _bands(rate)
    power = np.zeros((COLUMNS, BANDS))
    for column, middle in enumerate(np.linspace(0, len(samples), COLUMNS).astype(np.int64)):
        start = max(0, min(int(middle) - _FFT_SAMPLES // 2, len(samples) - _FFT_SAMPLES))
        frame = samples[start : start + _FFT_SAMPLES].mean(axis=1)
        spectrum = np.abs(np.fft.rfft(frame * window[: len(frame)], _FFT_SAMPLES)) ** 2
        power[column] = np.maximum.reduceat(spectrum, first)[:BANDS]
    level_db = 10 * np.log10(power / max(power.max(), 1.0) + 1e-12)
    shade = np.clip(1 + level_db / _RANGE_DB, 0, 1) * 255
    return np.asarray(np.rint(shade), np.uint8)


def _bands(rate: int) -> NDArray[np.int64]:
    """Return the first bin of each band, and the end of the last. Shape: returns `[BANDS + 1]`."""
    edges_hz = np.geomspace(_LOWEST_HZ, rate / 2, BANDS + 1)
    return np.minimum(edges_hz / rate * _FFT_SAMPLES, _FFT_SAMPLES // 2).astype(np.int64)
