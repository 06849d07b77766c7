import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from desmezcla.audio.formats import BitDepth
from desmezcla.audio.reader import AudioReader, read_audio, read_stems
from desmezcla.audio.stem_mp4 import StemMp4Writer
from desmezcla.audio.tags import Cover, Tags, read_tags
from desmezcla.errors import AudioFileError, ParameterError

Make = Callable[..., Any]

NAMES = ("drums", "bass", "other", "vocals")
TAGS = Tags({"title": ("Song",)}, Cover(b"\xff\xd8\xff\xd9", "image/jpeg"))


def write(path: Path, stems: np.ndarray, **options: Any) -> Path:
    names = NAMES[: len(stems)]
    with StemMp4Writer(
        path, names, sample_rate=44100, channels=stems.shape[1], tags=TAGS, **options
    ) as writer:
        half = stems.shape[2] // 2
        writer.write(stems[:, :, :half])
        writer.write(stems[:, :, half:])
    return path


def box(content: bytes, *kinds: bytes) -> bytes | None:
    """Return the content of a box inside boxes, by an own reading of the format."""
    position = 0
    while position < len(content):
        size, kind = struct.unpack_from(">I4s", content, position)
        if kind == kinds[0]:
            inside = content[position + 8 : position + size]
            return box(inside, *kinds[1:]) if len(kinds) > 1 else inside
        position += size
    return None


@pytest.mark.parametrize("length", [1, 4097, 50_000])
@pytest.mark.parametrize("bit_depth", [None, "16", "24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_streams_are_the_mix_and_the_stems(
    length: int, bit_depth: BitDepth | None, channels: int, music: Make, tmp_path: Path
) -> None:
    stems = 0.2 * np.stack([music(channels, length, seed=seed) for seed in range(4)])
    path = write(tmp_path / "a.stem.mp4", stems, bit_depth=bit_depth)
    audio, rate = read_stems(path)
    assert (rate, audio.shape) == (44100, (5, channels, length))
    info = AudioReader(path).info
    assert info.titles == ("mix", *NAMES)
    assert info.codec == ("aac" if bit_depth is None else "alac")
    if bit_depth is not None:
        np.testing.assert_allclose(audio[1:], stems, atol=2.0 ** -int(bit_depth))
        np.testing.assert_allclose(audio[0], stems.sum(axis=0), atol=2.0 ** -int(bit_depth))
    elif length > 10_000:
        assert np.sum((audio[1:] - stems) ** 2) < 0.04 * np.sum(stems**2)


def test_box_names_the_stems_and_players_play_only_the_mix(music: Make, tmp_path: Path) -> None:
    stems = 0.2 * np.stack([music(2, 5000, seed=seed) for seed in range(4)])
    path = write(tmp_path / "a.stem.mp4", stems)
    found = box(path.read_bytes(), b"moov", b"udta", b"stem")
    assert found is not None
    described = json.loads(found)
    assert described["version"] == 1
    assert [stem["name"] for stem in described["stems"]] == ["Drums", "Bass", "Other", "Vocals"]
    assert len({stem["color"] for stem in described["stems"]}) == 4
    assert set(described["mastering_dsp"]) == {"compressor", "limiter"}
    with av.open(str(path)) as container:
        default = [bool(s.disposition & 1) for s in container.streams.audio]
    assert default == [True, False, False, False, False]
    assert read_tags(path) == TAGS


def test_another_number_of_stems_has_no_box(music: Make, tmp_path: Path) -> None:
    stems = np.stack([music(2, 5000, seed=seed) for seed in range(2)])
    path = write(tmp_path / "a.stem.mp4", stems)
    assert box(path.read_bytes(), b"moov", b"udta", b"stem") is None
    assert read_stems(path)[0].shape == (3, 2, 5000)


def test_a_mix_of_its_own(music: Make, tmp_path: Path) -> None:
    stems, mix = np.zeros((4, 2, 3000), np.float32), 0.5 * music(2, 3000)
    with StemMp4Writer(
        tmp_path / "a.stem.mp4", NAMES, sample_rate=44100, channels=2, bit_depth="24"
    ) as writer:
        writer.write(stems, mix)
    np.testing.assert_allclose(read_audio(tmp_path / "a.stem.mp4")[0], mix, atol=2**-23)


def test_same_bytes_each_time(music: Make, tmp_path: Path) -> None:
    stems = 0.2 * np.stack([music(2, 20_000, seed=seed) for seed in range(4)])
    contents = [write(tmp_path / name, stems).read_bytes() for name in ("a.mp4", "b.mp4")]
    assert contents[0] == contents[1]


def test_streams_of_different_length_are_not_stacked(
    music: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=44100) for _ in range(2)]
        for stream, length in zip(streams, (1000, 2000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * length), np.int16), layout="stereo")
            frame.sample_rate = 44100
            container.mux(stream.encode(frame))
    with pytest.raises(AudioFileError, match="different length"):
        read_stems(tmp_path / "a.mka")


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="at least one stem"):
        StemMp4Writer(tmp_path / "a.stem.mp4", [], sample_rate=44100, channels=2)
    writer = StemMp4Writer(tmp_path / "a.stem.mp4", NAMES, sample_rate=44100, channels=2)
    with pytest.raises(ParameterError, match=r"must be \[4, C, n\]"):
        writer.write(np.zeros((3, 2, 5), np.float32))
    with pytest.raises(ParameterError, match=r"mix has shape"):
        writer.write(np.zeros((4, 2, 5), np.float32), np.zeros((2, 4), np.float32))
    writer.discard()
    assert list(tmp_path.iterdir()) == []
