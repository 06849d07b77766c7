import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desmezcla.audio.formats import FORMATS, BitDepth, writable_rate
from desmezcla.audio.reader import AudioReader, read_audio
from desmezcla.audio.stems import StemWriter
from desmezcla.audio.tags import Tags, read_tags
from desmezcla.audio.writer import AudioWriter
from desmezcla.errors import AudioFileError, ParameterError

Make = Callable[..., Any]

LOSSY = ["mp3", "ogg", "opus", "m4a"]
LOSSLESS: list[tuple[str, BitDepth]] = [
    ("wav", "16"),
    ("wav", "24"),
    ("wav", "32f"),
    ("flac", "16"),
    ("flac", "24"),
    ("alac", "16"),
    ("alac", "24"),
]
LAYOUT_OF_A_FILM = ("FL", "FR", "FC", "LFE", "SL", "SR")


def every_channel_count(names: list[Any]) -> list[tuple[Any, int]]:
    return [
        (name, channels)
        for name, channels in itertools.product(names, [1, 2, 6, 8])
        if channels in FORMATS[name if isinstance(name, str) else name[0]].channels
    ]


def write(path: Path, audio: np.ndarray, sample_rate: int = 44100, **options: Any) -> Path:
    with AudioWriter(path, sample_rate=sample_rate, channels=len(audio), **options) as writer:
        writer.write(audio)
    return path


def bits(audio: np.ndarray, depth: BitDepth) -> np.ndarray:
    """Return the samples as a file of that depth holds them, computed in another way."""
    if depth == "32f":
        return audio
    scale = 2.0 ** (int(depth) - 1)
    levels = np.round(audio.astype(np.float64) * scale)
    return (np.clip(levels, -scale, scale - 1) / scale).astype(np.float32)


@pytest.mark.parametrize(("kind", "channels"), every_channel_count(LOSSLESS))
@pytest.mark.parametrize("length", [1, 4097, 30_000])
def test_lossless_round_trip_keeps_every_bit(
    kind: tuple[str, BitDepth], channels: int, length: int, music: Make, tmp_path: Path
) -> None:
    name, depth = kind
    original = bits(music(channels, length), depth)
    path = write(tmp_path / "a", original, format=name, bit_depth=depth)
    audio, rate = read_audio(path)
    np.testing.assert_array_equal(audio, original)
    assert (rate, AudioReader(path).info.bit_depth) == (44100, depth)
    if name != "alac":  # which libsndfile does not read in MP4
        independent, _ = soundfile.read(path, dtype="float32", always_2d=True)
        np.testing.assert_array_equal(independent.T, original)


@pytest.mark.parametrize(("name", "channels"), every_channel_count(LOSSY))
@pytest.mark.parametrize("length", [1, 1153, 1170, 30_000])
def test_lossy_round_trip_keeps_length_rate_and_channels(
    name: str, channels: int, length: int, music: Make, tmp_path: Path
) -> None:
    rate = writable_rate(name, 44100)
    original = music(channels, length, sample_rate=rate)
    path = write(tmp_path / f"a.{FORMATS[name].extension}", original, rate)
    audio, found = read_audio(path)
    assert (found, audio.shape) == (rate, original.shape)
    if length > 10_000:
        error = np.sum((audio - original) ** 2, axis=1) / np.sum(original**2, axis=1)
        assert (10 * np.log10(error)).max() < -14  # dB, for each channel at its own place


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 32000, 48000])
def test_mp3_keeps_the_length_at_any_rate(sample_rate: int, tmp_path: Path) -> None:
    for length in [1, 46, 47, 577, 1153, 1200, 2305]:
        path = write(tmp_path / "a.mp3", np.full((1, length), 0.1, np.float32), sample_rate)
        assert read_audio(path)[0].shape == (1, length)
        assert AudioReader(path).length_samples == length


@pytest.mark.parametrize("name", ["ogg", "opus", "mp3"])
def test_libsndfile_reads_the_same_lengths(name: str, music: Make, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{name}", music(2, 30_001), 48000)
    assert len(soundfile.read(path)[0]) == 30_001


@given(
    kind=st.sampled_from([*LOSSLESS, *((name, None) for name in LOSSY)]),
    cuts=st.lists(st.integers(1, 9999), max_size=5),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_same_bytes_each_time_however_the_audio_is_cut(
    kind: tuple[str, BitDepth | None], cuts: list[int], music: Make, tmp_path: Path
) -> None:
    name, depth = kind
    audio, tags = music(2, 10_000), Tags({"title": ("Song",)})
    edges = sorted({0, *cuts, len(audio[0])})
    contents = []
    for borders in (edges, [0, len(audio[0])]):
        with AudioWriter(
            tmp_path / "a", sample_rate=48000, channels=2, format=name, bit_depth=depth, tags=tags
        ) as writer:
            for start, end in itertools.pairwise(borders):
                writer.write(audio[:, start:end])
        contents.append((tmp_path / "a").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("name", ["wav", "flac"])
def test_layout_is_kept_where_the_format_can(name: str, music: Make, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{name}", music(6, 100), layout=LAYOUT_OF_A_FILM)
    assert AudioReader(path).layout == LAYOUT_OF_A_FILM


@pytest.mark.parametrize("name", ["ogg", "opus", "m4a"])
def test_layout_becomes_the_usual_one_elsewhere(name: str, music: Make, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{name}", music(6, 100), 48000, layout=LAYOUT_OF_A_FILM)
    assert AudioReader(path).layout == ("FL", "FR", "FC", "LFE", "BL", "BR")


def test_an_unknown_layout_is_no_reason_to_fail(music: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", music(2, 100), layout=("X", "Y"))
    assert AudioReader(path).layout == ("FL", "FR")


def test_a_higher_bitrate_gives_a_larger_file(music: Make, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 48_000)).astype(np.float32)
    for name in LOSSY:
        path = tmp_path / f"a.{name}"
        small = write(path, noise, 48000, bitrate=96_000).stat().st_size
        assert write(path, noise, 48000, bitrate=256_000).stat().st_size > 1.5 * small


@pytest.mark.parametrize(("name", "depth"), [("wav", "16"), ("flac", "24"), ("alac", "16")])
def test_integers_saturate_with_one_warning(
    name: str, depth: BitDepth, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = np.array([[0.5, 1.0, 1.5, -1.0, -1.5, 3e38, 0.0]], np.float32)
    with AudioWriter(
        tmp_path / "a", sample_rate=44100, channels=1, format=name, bit_depth=depth
    ) as writer:
        writer.write(audio)
        writer.write(audio)
        assert writer.clipped_samples == 6
    highest = 1 - 2.0 ** (1 - int(depth))
    expected = [0.5, highest, highest, -1.0, -1.0, highest, 0.0]
    np.testing.assert_array_equal(read_audio(tmp_path / "a")[0][0], expected * 2)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "6 samples were beyond full scale" in warning


def test_floats_keep_what_is_beyond_full_scale(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = np.array([[2.0, -1e10]], np.float32)
    path = write(tmp_path / "a.wav", audio, bit_depth="32f")
    np.testing.assert_array_equal(read_audio(path)[0], audio)
    assert not caplog.records


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    audio = np.zeros((2, 44_100), np.float32)
    audio[1, 22_050] = value
    with pytest.raises(AudioFileError, match=r"not a finite number, at 0\.500 s"):
        write(tmp_path / "a.wav", audio)
    assert list(tmp_path.iterdir()) == []


def test_the_input_is_not_changed(music: Make, tmp_path: Path) -> None:
    audio = music(2, 1000)
    before = audio.copy()
    write(tmp_path / "a.wav", audio)
    write(tmp_path / "a.ogg", audio)
    np.testing.assert_array_equal(audio, before)


def test_wrong_shapes_are_refused(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "a.wav", sample_rate=44100, channels=2)
    with pytest.raises(ParameterError, match=r"shape \(1, 5\), but must be \[2, n\]"), writer:
        writer.write(np.zeros((1, 5), np.float32))
    with pytest.raises(ParameterError, match="must name 2 channels"):
        AudioWriter(tmp_path / "a.wav", sample_rate=44100, channels=2, layout=("FC",))
    assert list(tmp_path.iterdir()) == []


def test_writing_after_closing_is_refused(tmp_path: Path) -> None:
    writer = AudioWriter(tmp_path / "a.wav", sample_rate=44100, channels=1)
    writer.write(np.zeros((1, 5), np.float32))
    writer.close()
    writer.close()
    with pytest.raises(ParameterError, match="is closed"):
        writer.write(np.zeros((1, 5), np.float32))


@pytest.mark.parametrize("threads", [1, 2])
def test_stem_writer_writes_one_tagged_file_for_each_stem(
    threads: int, music: Make, tmp_path: Path
) -> None:
    paths = {stem: tmp_path / "song" / f"{stem}.flac" for stem in ("vocals", "drums")}
    stems = np.stack([bits(music(2, 5000, seed=seed), "24") for seed in range(2)])
    tags = Tags({"title": ("Song",), "artist": ("Someone",)})
    with StemWriter(
        paths, sample_rate=44100, channels=2, bit_depth="24", tags=tags, threads=threads
    ) as writer:
        writer.write(stems[:, :, :2000])
        writer.write(stems[:, :, 2000:])
        assert not paths["vocals"].exists()
    for stem, expected in zip(paths, stems, strict=True):
        np.testing.assert_array_equal(read_audio(paths[stem])[0], expected)
        assert read_tags(paths[stem]).fields["title"] == (f"Song ({stem})",)
    assert writer.paths == paths


def test_one_of_several_threads_that_fails_leaves_no_file(tmp_path: Path) -> None:
    paths = {stem: tmp_path / f"{stem}.flac" for stem in ("a", "b")}
    stems = np.zeros((2, 1, 5), np.float32)
    stems[1, 0, 2] = np.nan
    writer = StemWriter(paths, sample_rate=8000, channels=1, threads=2)
    with pytest.raises(AudioFileError, match="not a finite number"), writer:
        writer.write(stems)
    assert list(tmp_path.iterdir()) == []


def test_stem_writer_refuses_wrong_shapes_and_equal_names(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with pytest.raises(ParameterError, match="must be different"):
        StemWriter({"a": path, "b": path}, sample_rate=8000, channels=1)
    writer = StemWriter({"a": path}, sample_rate=8000, channels=1)
    with pytest.raises(ParameterError, match=r"must be \[1, C, n\]"), writer:
        writer.write(np.zeros((2, 1, 5), np.float32))
    assert list(tmp_path.iterdir()) == []
