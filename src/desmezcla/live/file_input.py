"""A file in the place of an input device: decoded ahead, by a thread of its own."""

import logging
import os
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.reader import AudioReader
from desmezcla.audio.resample import StreamResampler
from desmezcla.errors import AudioFileError, DesmezclaError, ParameterError
from desmezcla.live.ring import RingBuffer
from desmezcla.live.stream import Audio

_log = logging.getLogger(__name__)

# How often the decoder looks whether there is room again; the ring holds many times of that.
_LOOK_S = 0.02


class FileSource:
    """Reads a file as an input device would hear it: in blocks, at the rate of the session.

    A mono file goes to all channels. Of a file with more channels than needed the front ones are
    taken with centre and surround mixed in at -3 dB, as ITU-R BS.775 says; the low-frequency
    channel is left out.

    Args:
        path: Any audio file, or a video file with sound.
        sample_rate: Rate wanted, in Hz.
        channels: Channels wanted.
        ahead_s: How much is decoded ahead, in seconds.
        start_s: Where to start in the file.

    Errors:
        AudioFileError: if the file cannot be read.
        ParameterError: if an option is out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int,
        channels: int,
        ahead_s: float = 2.0,
        start_s: float = 0.0,
    ) -> None:
        if not 0.1 <= ahead_s <= 600:
            raise ParameterError(f"ahead_s={ahead_s} must be from 0.1 to 600")
        self._path = Path(path)
        self._reader = AudioReader(path, start_s=start_s)
        self._fold = fold_matrix(self._reader.layout, channels)
        self._resampler = StreamResampler(self._reader.sample_rate, sample_rate, channels)
        self._ring = RingBuffer(channels, max(1, round(ahead_s * sample_rate)))
        length, rate = self._reader.length_samples, self._reader.sample_rate
        self.length_s = None if length is None else length / rate
        self._error: DesmezclaError | None = None
        self._complete = False  # everything has been decoded
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)

    def start(self) -> None:
        """Start to decode, and return when as much is ready as is decoded ahead.

        Errors:
            AudioFileError: if there is nothing that can be decoded.
        """
        self._thread.start()
        self._ready.wait()
        if self._error is not None and self._ring.available == 0:
            raise self._error

    def read(self, out: Audio) -> int:
        """Fill the beginning of an array without waiting, and return how far. Shape: `[C, n]`."""
        return self._ring.read(out)

    @property
    def ended(self) -> bool:
        """Whether everything has been read."""
        return self._complete and self._ring.available == 0

    def check(self) -> None:
        """Raise the error that ended the file early, if one did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Decode no more; a second call changes nothing."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with self._reader as reader:
                for block in reader.blocks():
                    self._put(self._resampler.process(self._folded(block)))
                    if self._stopping.is_set():
                        return
            self._put(self._resampler.flush())
        except DesmezclaError as error:
            self._error = error
        except Exception as error:  # in a thread, it would go unnoticed
            _log.debug("unexpected error", exc_info=True)
            self._error = AudioFileError(
                f"{str(self._path)!r} could not be decoded: {type(error).__name__}: {error}; "
                "convert it to wav or flac"
            )
        finally:
            self._complete = True
            self._ready.set()

    def _folded(self, block: Audio) -> Audio:
        if self._fold is None:
            return block
        folded: Audio = self._fold @ block
        return folded

    def _put(self, block: Audio) -> None:
        """Write a block, waiting for room. Shape: `[C, n]`."""
        while True:
            block = block[:, self._ring.write(block) :]
            if block.shape[1] == 0 or self._stopping.is_set():
                return
            self._ready.set()
            self._stopping.wait(_LOOK_S)


def fold_matrix(layout: tuple[str, ...], channels: int) -> NDArray[np.float32] | None:
    """Return what the channels of a file are multiplied by, or None if they pass unchanged.

    Args:
        layout: Name of each channel.
        channels: How many are wanted.

    Errors:
        ParameterError: if there are fewer, and more than one.

    Shape:
        returns `[channels, len(layout)]`.

    >>> fold_matrix(("FC",), 2)
    array([[1.],
           [1.]], dtype=float32)
    """
    there = len(layout)
    if there == channels:
        return None
    if there == 1:
        return np.ones((channels, 1), np.float32)
    if channels == 1:
        return np.full((1, there), 1 / there, np.float32)
    if there < channels:
        raise ParameterError(
            f"channels={channels} must not be more than the {there} of the file; choose {there}"
        )
    matrix = np.eye(channels, there, dtype=np.float32)
    if channels == 2 and layout[:2] == ("FL", "FR"):
        half_power = np.float32(np.sqrt(0.5))
        for index, name in enumerate(layout[2:], start=2):
            if name.startswith("LFE"):
                continue
            matrix[0, index] = half_power * (not name.endswith("R"))
            matrix[1, index] = half_power * (not name.endswith("L"))
    return matrix
