import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desmezcla.audio.mp3 import set_length

Make = Callable[..., Any]


def written(music: Make, encode: Make, path: Path, length: int) -> bytes:
    options = {"id3v2_version": "0"}
    encode(path, music(2, length), muxer="mp3", codec="libmp3lame", options=options)
    return path.read_bytes()


@pytest.mark.parametrize("length", [2000, 30_000])
def test_a_right_length_is_left_with_the_checksum_that_ffmpeg_computed(
    length: int, music: Make, encode: Make, tmp_path: Path
) -> None:
    content = written(music, encode, tmp_path / "a.mp3", length)
    file = io.BytesIO(content)
    set_length(file, length)
    assert file.getvalue() == content


def test_only_the_padding_and_the_checksum_change(
    music: Make, encode: Make, tmp_path: Path
) -> None:
    content = written(music, encode, tmp_path / "a.mp3", 1170)
    file = io.BytesIO(content)
    set_length(file, 1170)
    changed = [i for i, (a, b) in enumerate(zip(content, file.getvalue(), strict=True)) if a != b]
    start = content.index(b"Info")
    # The offsets are those of LAME's description: padding at 0xA2 of the frame, CRC at its end.
    assert {index - start for index in changed} <= {142, 143, 154, 155}
    assert len(changed) > 0
