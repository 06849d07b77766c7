"""Stem files of DJ programs: an MP4 file with the mix and the stems as its audio streams.

The layout is that of Native Instruments' Stems format: stream 0 is the mix and the only one that
ordinary players play; streams 1 to 4 are the stems; the box `moov/udta/stem` holds their names and
colours as JSON.
"""

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.formats import BitDepth, check_output
from desmezcla.audio.tags import Tags
from desmezcla.audio.writer import FileWriter
from desmezcla.errors import ParameterError

Audio = NDArray[np.float32]

# The box describes exactly this many stems; with another number it is left out.
_BOX_STEMS = 4

# Colours that stay apart for colour-blind eyes (Okabe and Ito 2008).
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#F0E442")

# Programs apply this compressor and limiter to the sum of the stems; both are switched off.
_MASTERING = {
    "compressor": {
        "enabled": False,
        "input_gain": 0.0,
        "output_gain": 0.0,
        "dry_wet": 100,
        "threshold": 0.0,
        "ratio": 1.0,
        "attack": 0.003,
        "release": 0.3,
        "hp_cutoff": 20,
    },
    "limiter": {"enabled": False, "threshold": 0.0, "ceiling": 0.0, "release": 0.05},
}


class StemMp4Writer(FileWriter):
    """Write a `.stem.mp4` file in blocks.

    Args:
        path: The final name.
        stems: Names of the stems, in the order of the axis S. DJ programs expect drums, bass,
            other, vocals.
        sample_rate: In Hz.
        channels: Number of channels of each stream.
        bit_depth: None for AAC; "16" or "24" for the lossless ALAC.
        bitrate: Of each AAC stream, in bit/s; None for 128 kbit/s per channel.
        layout: Names of the channels; None for the usual ones.
        tags: Tags and cover to write.

    Errors:
        ParameterError: if the format cannot hold that, or `stems` is empty.
        AudioFileError: if the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        stems: Sequence[str],
        *,
        sample_rate: int,
        channels: int,
        bit_depth: BitDepth | None = None,
        bitrate: int | None = None,
        layout: Sequence[str] | None = None,
        tags: Tags | None = None,
    ) -> None:
        if not stems:
            raise ParameterError(f"stems={stems!r} must name at least one stem")
        self.stems = tuple(stems)
        output = check_output("stem.mp4", sample_rate, channels, bit_depth, bitrate)
        super().__init__(path, output, layout=layout, titles=("mix", *stems), tags=tags)

    def write(self, stems: Audio, mix: Audio | None = None) -> None:
        """Append a block to each stream.

        Args:
            stems: The stems.
            mix: What stream 0 gets; None for the sum of the stems.

        Shape:
            stems: `[S, C, n]`; mix: `[C, n]`.
        """
        if stems.ndim != 3 or stems.shape[0] != len(self.stems):
            raise ParameterError(
                f"stems has shape {stems.shape}, but must be [{len(self.stems)}, C, n]"
            )
        if mix is None:
            mix = stems.sum(axis=0)
        if mix.shape != stems.shape[1:]:
            raise ParameterError(f"mix has shape {mix.shape}, but must be {stems.shape[1:]}")
        for stream, block in enumerate([mix, *stems]):
            self._encode(block, stream)
        self.length_samples += stems.shape[2]

    def _complete(self, path: Path) -> None:
        if len(self.stems) == _BOX_STEMS:
            _add_stem_box(path, self.stems)
        super()._complete(path)


def _add_stem_box(path: Path, stems: Sequence[str]) -> None:
    """Add the box with the stems' names to a file whose last box is `moov`, so that none moves."""
    described = {
        "version": 1,
        "mastering_dsp": _MASTERING,
        "stems": [
            {"name": stem.capitalize(), "color": colour}
            for stem, colour in zip(stems, _COLOURS, strict=True)
        ],
    }
    box = _box(b"stem", json.dumps(described).encode())
    with path.open("r+b") as file:
        start = _start_of_last_box(file)
        file.seek(start)
        header, moov = file.read(8), file.read()
        assert header[4:] == b"moov", header
        file.seek(start)
        file.write(_box(b"moov", _with_user_data(moov, box)))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _start_of_last_box(file: BinaryIO) -> int:
    end = file.seek(0, os.SEEK_END)
    start = position = 0
    while position < end:
        start = position
        file.seek(start)
        (length,) = struct.unpack(">I", file.read(4))
        if length == 1:  # the length follows the kind, in 8 bytes
            file.seek(start + 8)
            (length,) = struct.unpack(">Q", file.read(8))
        position += length
    return start


def _with_user_data(moov: bytes, box: bytes) -> bytes:
    """Return the content of `moov` with a box added to its user data."""
    position = 0
    while position < len(moov):
        length, kind = struct.unpack_from(">I4s", moov, position)
        if kind == b"udta":
            user_data = moov[position + 8 : position + length]
            rest = moov[position + length :]
            return moov[:position] + _box(b"udta", user_data + box) + rest
        position += length
    return moov + _box(b"udta", box)
