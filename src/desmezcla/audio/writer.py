"""Writing audio in blocks, to files that appear only when they are complete."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.encode import open_encoder
from desmezcla.audio.files import PendingFile, write_error
from desmezcla.audio.formats import BitDepth, OutputFormat, check_output, format_of_path
from desmezcla.audio.tags import Tags, write_tags
from desmezcla.errors import AudioFileError, ParameterError

_log = logging.getLogger(__name__)

Audio = NDArray[np.float32]

# Full scale of the integer formats, and the number of bits below them in FFmpeg's integers.
_SCALES: dict[BitDepth, tuple[int, type[np.signedinteger], int]] = {
    "16": (2**15, np.int16, 0),
    "24": (2**23, np.int32, 8),
}


def quantised(block: Audio, bit_depth: BitDepth | None) -> tuple[NDArray[np.generic], int]:
    """Round samples to the integers of a bit depth, to the nearest, without dither.

    Args:
        block: Samples with a full scale of 1.
        bit_depth: "16" or "24"; any other leaves the samples as they are.

    Shape:
        block: `[C, n]`; returns `[n, C]`, and how many samples were limited because they were
        beyond full scale. The highest integer is one level below it, which is not counted.
    """
    if bit_depth not in _SCALES:
        return np.ascontiguousarray(block.T), 0
    scale, dtype, shift = _SCALES[bit_depth]
    with np.errstate(over="ignore"):  # infinity is limited like the rest
        levels = np.rint(block.T * np.float32(scale))  # exact: the scale is a power of two
    integers = np.ascontiguousarray(np.clip(levels, -scale, scale - 1).astype(dtype))
    clipped = np.count_nonzero(np.abs(levels) > scale)
    return integers << shift if shift else integers, int(clipped)


_Writer = TypeVar("_Writer", bound="FileWriter")


class FileWriter:
    """What the writers of one file share: it grows under a hidden name, and appears when complete.

    Leaving the context after an exception removes what was written; an older file of the same
    name is then still there, as it was.

    Args:
        path: The final name.
        output: What to write, as `check_output` returned it.
        layout: Names of the channels.
        titles: Titles of the streams, one each.
        tags: What to write into the file when it is complete.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        output: OutputFormat,
        *,
        layout: Sequence[str] | None,
        titles: Sequence[str] = ("",),
        tags: Tags | None,
    ) -> None:
        if layout is not None and len(layout) != output.channels:
            raise ParameterError(f"layout={layout!r} must name {output.channels} channels")
        self.output = output
        self.clipped_samples = 0
        self.length_samples = 0
        self._tags = tags
        self._finished = False
        self._file = PendingFile(path)
        try:
            self._encoder = open_encoder(self._file, output, layout=layout, titles=titles)
        except BaseException:
            self._file.discard()
            raise

    @property
    def path(self) -> Path:
        """The final name."""
        return self._file.path

    def finish(self) -> None:
        """Complete the file under its temporary name; `publish` gives it the final one.

        Errors:
            AudioFileError: if it cannot be written, or nothing was written to it.
        """
        if self._finished:
            return
        if self.length_samples == 0:
            raise AudioFileError(
                f"{str(self.path)!r} would hold no samples; write at least one before closing"
            )
        self._encoder.finish()
        self._file.finish()
        self._finished = True
        try:
            self._complete(self._file.temporary)
        except OSError as error:
            raise write_error(self.path, error) from error
        if self.clipped_samples:
            _log.warning(
                "%r: %d samples were beyond full scale and were limited to it; "
                "choose a bit depth of 32f to keep them",
                str(self.path),
                self.clipped_samples,
            )

    def publish(self) -> None:
        """Give the finished file its final name."""
        self._file.publish()

    def close(self) -> None:
        """Complete the file and give it its final name; a second call does nothing.

        Errors:
            AudioFileError: if it cannot be written; then nothing of it is left.
        """
        if self._finished:
            return
        try:
            self.finish()
            self.publish()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written, unless the file has its final name already."""
        self._file.discard()
        if not self._finished:
            self._finished = True
            self._encoder.abandon()

    def __enter__(self: _Writer) -> _Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def _complete(self, path: Path) -> None:
        """Add to the encoded file what encoders do not write."""
        if self._tags is not None:
            write_tags(path, self._tags, format=self.output.format.name)

    def _encode(self, block: Audio, stream: int = 0) -> None:
        channels = self.output.channels
        if block.ndim != 2 or block.shape[0] != channels:
            raise ParameterError(f"block has shape {block.shape}, but must be [{channels}, n]")
        if self._finished:
            raise ParameterError(f"{str(self.path)!r} is closed; write before closing it")
        block = block.astype(np.float32, copy=False)
        finite = np.isfinite(block).all(axis=0)
        if not finite.all():
            at_s = (self.length_samples + int(np.argmin(finite))) / self.output.sample_rate
            raise AudioFileError(
                f"{str(self.path)!r} cannot hold a sample that is not a finite number, at "
                f"{at_s:.3f} s; check what computed it, or compute in float32"
            )
        samples, clipped = quantised(block, self.output.bit_depth)
        self.clipped_samples += clipped
        self._encoder.write(samples, stream)


class AudioWriter(FileWriter):
    """Write one audio file in blocks.

    Integer formats round to the nearest level and limit what is beyond full scale, which is
    counted and told in one warning; no level is ever changed otherwise.

    Args:
        path: The final name. Missing folders are made.
        sample_rate: In Hz.
        channels: Number of channels.
        format: A name in `FORMATS`; None to take it from the path's ending.
        bit_depth: "16", "24" or "32f" for lossless formats; None for 16.
        bitrate: For lossy formats, in bit/s of the whole file; None for the format's default.
        layout: Names of the channels, as `AudioReader` has them; None for the usual ones.
        tags: Tags and cover to write.

    Errors:
        ParameterError: if the format cannot hold that; see `check_output`.
        AudioFileError: if the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int,
        channels: int,
        format: str | None = None,
        bit_depth: BitDepth | None = None,
        bitrate: int | None = None,
        layout: Sequence[str] | None = None,
        tags: Tags | None = None,
    ) -> None:
        if format is None:
            format = format_of_path(Path(path)).name
        output = check_output(format, sample_rate, channels, bit_depth, bitrate)
        super().__init__(path, output, layout=layout, tags=tags)

    def write(self, block: Audio) -> None:
        """Append a block.

        Shape:
            block: `[C, n]`.

        Errors:
            ParameterError: if the shape is another.
            AudioFileError: if a sample is not finite, or the file cannot be written.
        """
        self._encode(block)
        self.length_samples += block.shape[1]
