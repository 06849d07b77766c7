"""Writing one file for each stem, all or none."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.formats import BitDepth
from desmezcla.audio.tags import Tags
from desmezcla.audio.writer import AudioWriter
from desmezcla.errors import ParameterError

Audio = NDArray[np.float32]


class StemWriter:
    """Write one file for each stem; all of them appear, when all are complete, or none.

    Args:
        paths: The final name of each stem's file, in the order of the axis S.
        sample_rate: In Hz.
        channels: Number of channels.
        format: As for `AudioWriter`, like the following.
        bit_depth: …
        bitrate: …
        layout: …
        tags: Tags and cover; the titles get the names of the stems.
        threads: Files that are encoded at the same time, at most.

    Errors:
        ParameterError: if a format cannot hold that, or two stems have one name.
        AudioFileError: if a file cannot be written.
    """

    def __init__(
        self,
        paths: Mapping[str, str | os.PathLike[str]],
        *,
        sample_rate: int,
        channels: int,
        format: str | None = None,
        bit_depth: BitDepth | None = None,
        bitrate: int | None = None,
        layout: Sequence[str] | None = None,
        tags: Tags | None = None,
        threads: int = 1,
    ) -> None:
        names = {os.path.normcase(Path(path).absolute()) for path in paths.values()}
        if len(names) < len(paths):
            raise ParameterError(f"paths={dict(paths)!r} must be different; add the stem's name")
        self._threads = min(threads, len(paths))
        self._writers: dict[str, AudioWriter] = {}
        with contextlib.ExitStack() as opened:
            for stem, path in paths.items():
                writer = AudioWriter(
                    path,
                    sample_rate=sample_rate,
                    channels=channels,
                    format=format,
                    bit_depth=bit_depth,
                    bitrate=bitrate,
                    layout=layout,
                    tags=tags.for_stem(stem) if tags is not None else None,
                )
                opened.callback(writer.discard)
                self._writers[stem] = writer
            opened.pop_all()

    @property
    def paths(self) -> dict[str, Path]:
        """The final name of each stem's file."""
        return {stem: writer.path for stem, writer in self._writers.items()}

    @property
    def clipped_samples(self) -> int:
        """How many samples of all stems were limited to full scale."""
        return sum(writer.clipped_samples for writer in self._writers.values())

    def write(self, stems: Audio) -> None:
        """Append a block to each stem.

        Shape:
            stems: `[S, C, n]`.
        """
        if stems.shape[0] != len(self._writers):
            raise ParameterError(
                f"stems has shape {stems.shape}, but must be [{len(self._writers)}, C, n]"
            )
        if self._threads <= 1:
            for writer, block in zip(self._writers.values(), stems, strict=True):
                writer.write(block)
            return
        # The threads end with the block, whatever happens: no file grows while it is discarded.
        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(AudioWriter.write, self._writers.values(), stems):
                pass

    def close(self) -> None:
        """Complete all files, then give each its final name.

        Errors:
            AudioFileError: if one cannot be written; then none is left.
        """
        try:
            for writer in self._writers.values():
                writer.finish()
            for writer in self._writers.values():
                writer.publish()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written, except files that have their final name already."""
        for writer in self._writers.values():
            writer.discard()

    def __enter__(self) -> "StemWriter":
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
