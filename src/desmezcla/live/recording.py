"""Recording stems while they play: the music never waits for the disk."""

import contextlib
import logging
import os
import queue
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from desmezcla.audio.files import write_error
from desmezcla.audio.formats import BitDepth, find_format
from desmezcla.audio.stems import StemWriter
from desmezcla.errors import AudioFileError, DesmezclaError, ParameterError
from desmezcla.live.mixer import Mixer
from desmezcla.live.stream import Audio

_log = logging.getLogger(__name__)

# With less than this on the disk a recording ends, as long as its files can still be completed.
_KEEP_FREE_BYTES = 32 * 2**20
# How often that is looked at, and how much silence is written at once.
_CHECK_S = 1.0


class StemRecorder:
    """Writes stems to one file each, from a thread of its own.

    The files appear under their final names when the recording is closed, however it ended: what
    was recorded up to an interruption is kept. If the disk fills up, the recording ends there, its
    files are completed, and that is logged as an error; the music goes on.

    Args:
        folder: Where the files go, as `STEM.EXTENSION`.
        stems: Names of the stems, in order.
        sample_rate: In Hz.
        channels: Channels of each stem.
        format: A name in `FORMATS`, except stem.mp4.
        bit_depth: "16", "24" or "32f" for lossless formats; None for 24.
        buffer_s: How far the disk may fall behind. What comes then is lost, and becomes silence
            in the files, which so stay in step.

    Attributes:
        lost_samples: How many samples have become silence because the disk was too slow.
        recorded_samples: How many samples stand in each file, those included.
        error: Why the recording ended before it was closed; None if it did not.
        paths: The files, by stem; empty until they are complete, and if there is nothing in them.

    Errors:
        ParameterError: if the format cannot hold that, or a file of this name is there already: a
            recording cannot be made again, so none is replaced.
        AudioFileError: if the folder cannot be written, or the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        stems: Sequence[str],
        sample_rate: int,
        channels: int,
        *,
        format: str = "wav",
        bit_depth: BitDepth | None = None,
        buffer_s: float = 10.0,
    ) -> None:
        chosen = find_format(format)
        if chosen.name == "stem.mp4":
            raise ParameterError(
                "format='stem.mp4' cannot be recorded; choose another, such as wav or flac"
            )
        if chosen.lossless and bit_depth is None:
            bit_depth = "24"
        paths = {stem: folder / f"{stem}.{chosen.extension}" for stem in stems}
        for path in paths.values():
            if os.path.lexists(path):
                raise ParameterError(
                    f"{str(path)!r} is there already, and a recording is never replaced; "
                    "choose another folder"
                )
        self.lost_samples = 0
        self.recorded_samples = 0
        self.error: DesmezclaError | None = None
        self.paths: dict[str, Path] = {}
        self._folder = folder
        self._new_folder = not folder.exists()
        self._sample_rate = sample_rate
        self._shape = (len(paths), channels)
        self._buffer_samples = round(buffer_s * sample_rate)
        self._writer = StemWriter(
            paths,
            sample_rate=sample_rate,
            channels=channels,
            format=chosen.name,
            bit_depth=bit_depth,
        )
        try:
            self._check_disk()
        except AudioFileError:
            self._discard()
            raise
        self._checked_at = 0
        self._missing = 0  # samples that no longer fitted, since the last that did
        self._given = 0  # samples put into the queue, and those taken out of it
        self._taken = 0
        self._closed = False
        # Its `put` never waits, unlike that of a queue with a size; the size is looked after here.
        self._queue: queue.SimpleQueue[tuple[int, Audio] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recording")
        self._thread.start()

    def write(self, stems: Audio) -> None:
        """Append a block to the recording, without waiting for the disk.

        Shape:
            stems: `[S, C, n]`; it may be changed afterwards.
        """
        if stems.ndim != 3 or stems.shape[:2] != self._shape:
            raise ParameterError(
                f"stems has shape {stems.shape}, but must be [{self._shape[0]}, {self._shape[1]}, "
                "n]"
            )
        if self._closed:
            raise ParameterError("the recording is closed; write before closing it")
        n = stems.shape[-1]
        if n == 0 or self.error is not None:
            return
        if self._given - self._taken + n > self._buffer_samples:
            self._missing += n
            self.lost_samples += n
            return
        self._given += n
        self._queue.put((self._missing, stems.astype(np.float32)))
        self._missing = 0

    def close(self) -> dict[str, Path]:
        """Write what waits, complete the files and return them; a second call changes nothing."""
        if not self._closed:
            self._closed = True
            self._queue.put((self._missing, np.zeros((*self._shape, 0), np.float32)))
            self._queue.put(None)
        self._thread.join()
        return self.paths

    def __enter__(self) -> "StemRecorder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        """Write what comes until the end or an error; the thread's whole life."""
        try:
            for missing, block in iter(self._queue.get, None):
                self._append(missing, block)
                self._taken += block.shape[-1]
        except DesmezclaError as error:
            self._end(error)
        except Exception as error:  # in a thread, it would go unnoticed
            _log.debug("unexpected error", exc_info=True)
            self._end(DesmezclaError(f"{type(error).__name__}: {error}"))
        else:
            self._complete()

    def _append(self, missing: int, block: Audio) -> None:
        if missing:
            _log.warning(
                "the disk was too slow: %.3f s of the recording are silence, at %.3f s",
                missing / self._sample_rate,
                self.recorded_samples / self._sample_rate,
            )
        piece = round(_CHECK_S * self._sample_rate)
        for start in range(0, missing, piece):
            self._write(np.zeros((*self._shape, min(piece, missing - start)), np.float32))
        if block.shape[-1]:
            self._write(block)

    def _write(self, block: Audio) -> None:
        # Before any stem is written: files that have ended can all be completed at one length.
        if not np.isfinite(block).all():
            raise AudioFileError("a stem has samples that are no numbers, which no file can hold")
        if self.recorded_samples - self._checked_at >= _CHECK_S * self._sample_rate:
            self._checked_at = self.recorded_samples
            self._check_disk()
        try:
            self._writer.write(block)
        except BaseException:
            self._writer.discard()
            self.recorded_samples = 0
            raise
        self.recorded_samples += block.shape[-1]

    def _end(self, error: DesmezclaError) -> None:
        """End the recording because of an error, and say what is left of it."""
        self.error = error
        at_s = self.recorded_samples / self._sample_rate
        self._complete()
        kept = f"the {at_s:.3f} s before that are kept" if self.paths else "nothing of it is kept"
        _log.error("the recording has ended: %s; %s, and the music goes on", error, kept)

    def _complete(self) -> None:
        """Give the files their final names, unless there is nothing in them."""
        if self.recorded_samples == 0:
            self._discard()
            return
        try:
            self._writer.close()
        except DesmezclaError as error:
            self.recorded_samples = 0
            self.error = self.error or error
            _log.error("the recording is lost: %s", error)
        else:
            self.paths = self._writer.paths

    def _discard(self) -> None:
        self._writer.discard()
        if self._new_folder:
            with contextlib.suppress(OSError):  # someone else has put something into it
                self._folder.rmdir()

    def _check_disk(self) -> None:
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise write_error(self._folder, error) from error
        if free < _KEEP_FREE_BYTES:
            raise AudioFileError(
                f"the disk of {str(self._folder)!r} has only {free // 2**20} MiB left, and "
                f"{_KEEP_FREE_BYTES // 2**20} MiB are kept free to complete the files; free some "
                "space or choose another folder"
            )


class MixRecorder:
    """A mixer that has what it puts out recorded, as one more stem after the others.

    Args:
        mixer: The mixer.
        recorder: Made for the mixer's stems and one more.
    """

    def __init__(self, mixer: Mixer, recorder: StemRecorder) -> None:
        self._mixer = mixer
        self._recorder = recorder

    def mix(self, stems: Audio) -> Audio:
        """Mix a block, and record it. Shape: `[S, C, n]`; returns `[C, n]`."""
        output = self._mixer.mix(stems)
        self._recorder.write(np.concatenate([stems, output[None]]))
        return output
