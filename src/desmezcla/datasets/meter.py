"""Measuring one file of a dataset while it is decoded in blocks."""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.reader import AudioReader
from desmezcla.datasets.track import Source
from desmezcla.errors import DesmezclaError

Audio = NDArray[np.float32]

# What a 16-bit file saturates at, with a margin for other depths.
_FULL_SCALE = 0.999

# A stretch counts as silent if no sample in it is beyond this: -60 dB below full scale.
_SILENCE_PEAK = 1e-3
_SILENCE_WINDOW_S = 0.1


@dataclass(frozen=True)
class FileReport:
    """What one file, or one stream or channel of it, holds.

    Attributes:
        role: Name of the stem that it is, or a part of; "mixture" for the song.
        file: Its path.
        stream: Which of its audio streams.
        channel: Which of its channels; None for all.
        sample_rate: In Hz; 0 if it cannot be read.
        channels: Number of channels that are used.
        length_samples: As decoded.
        peak: Largest magnitude; 1 is full scale.
        rms: Root mean square over all channels.
        clipped_runs: How often three or more consecutive samples are equal, at full scale.
        silent_share: Share of the time without a sample beyond -60 dBFS.
        digest: Of the samples, to find equal ones.
        warnings: What the reader says about a damaged file.
        error: Why it cannot be read, or "".
    """

    role: str
    file: str
    stream: int
    channel: int | None
    sample_rate: int
    channels: int
    length_samples: int
    peak: float
    rms: float
    clipped_runs: int
    silent_share: float
    digest: str
    warnings: tuple[str, ...]
    error: str

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.length_samples / self.sample_rate if self.sample_rate else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON takes it."""
        return asdict(self)


class _Heard(threading.local):
    """Where the warnings of the audio reader in this thread go to."""

    messages: list[str] | None = None


_heard = _Heard()


class _Collector(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _heard.messages is not None:
            _heard.messages.append(record.getMessage())


@contextlib.contextmanager
def collected_warnings() -> Iterator[None]:
    """Make what the audio reader warns of a part of the reports, instead of the log."""
    log = logging.getLogger("desmezcla.audio")
    before = log.level, log.propagate
    collector = _Collector()
    log.addHandler(collector)
    log.setLevel(logging.WARNING)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(collector)
        log.setLevel(before[0])
        log.propagate = before[1]


class Meter:
    """Decode a source in chunks and measure what passes; an error ends it and is kept.

    Args:
        role: Name of the stem, or "mixture".
        source: Where its audio is.
    """

    def __init__(self, role: str, source: Source) -> None:
        self.role = role
        self._source = source
        self._messages: list[str] = []
        self._error = ""
        self._blocks: Iterator[Audio] = iter(())
        self._held: list[Audio] = []
        self.sample_rate = 0
        self.channels = 0
        self._length = 0
        self._peak = 0.0
        self._energy = 0.0
        self._clipped_runs = 0
        self._windows = self._silent_windows = 0
        self._digest = hashlib.blake2b(digest_size=16)
        with self._guarded():
            self._open()
        # Before the first sample there is none that a run could start with.
        self._last = np.full((self.channels, 3), np.nan, np.float32)

    @property
    def failed(self) -> bool:
        """Whether the file could not be read to its end."""
        return bool(self._error)

    def take(self) -> Audio:
        """Decode and measure the next second; what is shorter is the end.

        Shape:
            returns `[C, n]`.
        """
        wanted = max(1, round(_SILENCE_WINDOW_S * self.sample_rate)) * 10
        with self._guarded():
            while sum(block.shape[1] for block in self._held) < wanted:
                block = next(self._blocks, None)
                if block is None:
                    break
                one = self._source.channel
                self._held.append(block if one is None else block[one : one + 1])
        if not self._held:
            return np.zeros((self.channels, 0), np.float32)
        audio = np.concatenate(self._held, axis=1)
        self._held = [audio[:, wanted:]] if audio.shape[1] > wanted else []
        chunk = audio[:, :wanted]
        self._measure(chunk)
        return chunk

    def report(self) -> FileReport:
        """Return what was measured so far."""
        samples = self._length * self.channels
        return FileReport(
            role=self.role,
            file=str(self._source.path),
            stream=self._source.stream,
            channel=self._source.channel,
            sample_rate=self.sample_rate,
            channels=self.channels,
            length_samples=self._length,
            peak=self._peak,
            rms=(self._energy / samples) ** 0.5 if samples else 0.0,
            clipped_runs=self._clipped_runs,
            silent_share=self._silent_windows / self._windows if self._windows else 1.0,
            digest=self._digest.hexdigest(),
            warnings=tuple(self._messages),
            error=self._error,
        )

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        _heard.messages = self._messages
        try:
            yield
        except DesmezclaError as error:
            self._error = str(error)
            self._blocks = iter(())
        finally:
            _heard.messages = None

    def _open(self) -> None:
        reader = AudioReader(self._source.path, stream=self._source.stream)
        self.sample_rate = reader.sample_rate
        self.channels = reader.channels if self._source.channel is None else 1
        if (self._source.channel or 0) >= reader.channels:
            self._error = (
                f"{str(self._source.path)!r} has {reader.channels} channel(s), but channel "
                f"{self._source.channel} is wanted (they count from 0)"
            )
            return
        self._blocks = reader.blocks()

    def _measure(self, chunk: Audio) -> None:
        magnitude = np.abs(chunk)
        window = max(1, round(_SILENCE_WINDOW_S * self.sample_rate))
        padded = np.pad(magnitude, ((0, 0), (0, -chunk.shape[1] % window)))
        peaks = padded.reshape(self.channels, -1, window).max(axis=(0, 2))
        self._windows += len(peaks)
        self._silent_windows += int(np.count_nonzero(peaks <= _SILENCE_PEAK))
        peak = float(peaks.max())
        self._peak = max(self._peak, peak)
        self._energy += float(np.square(chunk, dtype=np.float64).sum())
        self._length += chunk.shape[1]
        self._digest.update(np.ascontiguousarray(chunk).data)
        joined = np.concatenate([self._last, chunk], axis=1)
        if peak >= _FULL_SCALE:
            self._clipped_runs += _new_runs(joined)
        self._last = joined[:, -3:]


def _new_runs(joined: Audio) -> int:
    """Count the runs whose third sample is not among the first three."""
    equal = joined[:, 2:] == joined[:, 1:-1]
    equal &= joined[:, 2:] == joined[:, :-2]
    equal &= np.abs(joined[:, 2:]) >= _FULL_SCALE
    return int(np.count_nonzero(equal[:, 1:] & ~equal[:, :-1]))
