from pathlib import PurePath

import pytest

from desmezcla.audio.formats import (
    FORMATS,
    BitDepth,
    check_output,
    find_format,
    format_of_path,
    writable_rate,
)
from desmezcla.errors import ParameterError


@pytest.mark.parametrize("name", list(FORMATS))
def test_defaults_fit_every_format(name: str) -> None:
    output = check_output(name, writable_rate(name, 44100), 2)
    assert output.format is FORMATS[name]
    assert (output.bit_depth is None) == (output.bitrate is not None)


def test_default_bitrates_are_those_that_are_promised() -> None:
    bitrates = {name: check_output(name, writable_rate(name, 44100), 2).bitrate for name in FORMATS}
    assert bitrates["mp3"] == 320_000
    assert bitrates["m4a"] == bitrates["stem.mp4"] == 256_000
    assert check_output("mp3", 22050, 2).bitrate == 160_000
    assert check_output("m4a", 8000, 1).bitrate == 48_000
    assert bitrates["wav"] is bitrates["flac"] is bitrates["alac"] is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/Song.WAV", "wav"),
        ("song.stem.mp4", "stem.mp4"),
        ("song.STEM.MP4", "stem.mp4"),
        ("song.mp4", "m4a"),
        ("song.oga", "ogg"),
        ("x.y.flac", "flac"),
    ],
)
def test_format_of_a_file_name(path: str, name: str) -> None:
    assert format_of_path(PurePath(path)).name == name


@pytest.mark.parametrize("path", ["song", "song.txt", "song.aiff", ""])
def test_a_file_name_without_a_known_ending(path: str) -> None:
    with pytest.raises(ParameterError, match="choose one of wav, flac, mp3"):
        format_of_path(PurePath(path))


def test_names_may_have_a_dot_and_capitals() -> None:
    assert find_format(".FLAC") is FORMATS["flac"]


@pytest.mark.parametrize(
    ("format", "rate", "nearest"),
    [
        ("wav", 12345, 12345),
        ("flac", 192000, 192000),
        ("mp3", 44100, 44100),
        ("mp3", 88200, 44100),
        ("mp3", 96000, 48000),
        ("mp3", 192000, 48000),
        ("mp3", 37800, 44100),
        ("mp3", 100000, 48000),
        ("m4a", 176400, 88200),
        ("m4a", 192000, 96000),
        ("opus", 44100, 48000),
        ("opus", 8000, 48000),
        ("ogg", 44100, 44100),
    ],
)
def test_writable_rates(format: str, rate: int, nearest: int) -> None:
    assert writable_rate(format, rate) == nearest
    check_output(format, nearest, 2)


@pytest.mark.parametrize(
    ("format", "rate", "channels", "bit_depth", "bitrate", "message"),
    [
        ("opus", 44100, 2, None, None, "sample_rate=44100 Hz .* resample to 48000 Hz"),
        ("mp3", 44100, 6, None, None, "channels=6 does not fit mp3, .* choose wav or flac"),
        ("wav", 44100, 9, None, None, "channels=9"),
        ("alac", 44100, 6, None, None, "channels=6"),
        ("opus", 48000, 5, None, None, "channels=5"),
        ("flac", 44100, 2, "32f", None, "bit_depth=32f does not fit flac; it takes 16, 24"),
        ("mp3", 44100, 2, "16", None, "bit_depth=16 .* because it is lossy"),
        ("wav", 44100, 2, "24", 320_000, "bitrate=320000 has no meaning for wav"),
        ("mp3", 44100, 2, None, 640_000, "between 8000 and 320000"),
        ("mp3", 22050, 2, None, 320_000, "between 8000 and 160000"),
        ("m4a", 16000, 1, None, 256_000, "between 8000 and 96000 .* at 16000 Hz"),
        ("opus", 48000, 2, None, 1000, "between 24000 and 512000"),
        ("mod", 44100, 2, None, None, "format='mod' cannot be written"),
    ],
)
def test_what_does_not_fit_is_refused(
    format: str,
    rate: int,
    channels: int,
    bit_depth: BitDepth | None,
    bitrate: int | None,
    message: str,
) -> None:
    with pytest.raises(ParameterError, match=message):
        check_output(format, rate, channels, bit_depth, bitrate)
