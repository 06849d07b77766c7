"""The Vorbis encoder, which is libsndfile's, since FFmpeg's own keeps neither mono nor length."""

import contextlib
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray

from desmezcla.audio.files import PendingFile, write_error
from desmezcla.audio.formats import OutputFormat
from desmezcla.audio.ogg import set_serial_number
from desmezcla.errors import AudioFileError

# Nominal bitrates of stereo at 44.1 kHz, in kbit/s, for libvorbis' qualities 0 to 1 (its
# documentation); other numbers of channels are taken in proportion.
_STEREO_KBITS = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)

# The place of each channel of a file in the order of Vorbis (Vorbis I specification, 4.3.9):
# left, centre, right, …, subwoofer.
_CHANNEL_ORDER: dict[int, list[int]] = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}

_SERIAL_NUMBER = 1

# The library's choices depend on how much it is given at once, so this is always the same.
_PIECE_SAMPLES = 4096


class _QuietFile:
    """A file whose failures libsndfile sees as short writes: it cannot hand an exception on."""

    def __init__(self, file: PendingFile) -> None:
        self._file = file
        self.read = file.read
        self.tell = file.tell

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except (OSError, ValueError):  # ValueError: the file was discarded
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):
            return -1


class VorbisEncoder:
    """Write an Ogg Vorbis file with libsndfile.

    Args:
        file: Where it writes.
        output: The format; the bitrate is met on average only.
    """

    def __init__(self, file: PendingFile, output: OutputFormat) -> None:
        assert output.bitrate is not None, output
        self._file = file
        self._waiting = np.zeros((0, output.channels), np.float32)
        self._order = _CHANNEL_ORDER.get(output.channels)
        kbits = output.bitrate / 1000 * 2 / output.channels
        quality = np.interp(kbits, _STEREO_KBITS, np.linspace(0, 1, len(_STEREO_KBITS)))
        self._sound = soundfile.SoundFile(
            _QuietFile(file),
            "w",
            samplerate=output.sample_rate,
            channels=output.channels,
            format="OGG",
            subtype="VORBIS",
            compression_level=float(1 - quality),
        )

    def write(self, samples: NDArray[np.generic], stream: int = 0) -> None:
        """Encode samples `[n, C]` of float32."""
        if self._order is not None:
            samples = samples[:, self._order]
        self._waiting = np.concatenate([self._waiting, samples])
        whole = len(self._waiting) - len(self._waiting) % _PIECE_SAMPLES
        for start in range(0, whole, _PIECE_SAMPLES):
            self._push(self._waiting[start : start + _PIECE_SAMPLES])
        self._waiting = self._waiting[whole:].copy()

    def finish(self) -> None:
        """Encode what is still inside, and complete the file's structure."""
        self._push(self._waiting)
        with self._translated():
            self._sound.close()
        with self._translated():
            set_serial_number(self._file, _SERIAL_NUMBER)

    def abandon(self) -> None:
        """Free the encoder after its file has been discarded."""
        self._sound.close()

    def _push(self, samples: NDArray[np.generic]) -> None:
        with self._translated():
            self._sound.write(samples)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (soundfile.LibsndfileError, OSError) as error:
            if self._file.error is None:
                raise AudioFileError(
                    f"{str(self._file.path)!r} cannot be written: the encoder failed ({error}); "
                    "choose another format, such as wav"
                ) from error
        if self._file.error is not None:
            raise write_error(self._file.path, self._file.error)
