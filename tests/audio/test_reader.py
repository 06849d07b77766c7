# mutagen's functions carry no types.
# mypy: disable-error-code="no-untyped-call"

import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutagen.mp4 import MP4, MP4FreeForm

from desmezcla.audio.reader import AudioReader, read_audio, read_stems
from desmezcla.errors import ParameterError

Make = Callable[..., Any]

REAL = Path(__file__).parents[3] / "shared" / "real"
SHARED_FIXTURE = [HealthCheck.function_scoped_fixture]


def similarity_db(reference: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - found) ** 2)))


@pytest.mark.parametrize(
    ("format", "subtype", "bit_depth"),
    [
        ("WAV", "PCM_U8", "16"),
        ("WAV", "PCM_16", "16"),
        ("WAV", "PCM_24", "24"),
        ("WAV", "PCM_32", "24"),
        ("WAV", "FLOAT", "32f"),
        ("WAV", "DOUBLE", "32f"),
        ("WAVEX", "PCM_24", "24"),
        ("RF64", "FLOAT", "32f"),
        ("W64", "PCM_16", "16"),
        ("AIFF", "PCM_16", "16"),
        ("AIFF", "PCM_24", "24"),
        ("AIFF", "FLOAT", "32f"),
        ("CAF", "PCM_24", "24"),
        ("FLAC", "PCM_16", "16"),
        ("FLAC", "PCM_24", "24"),
    ],
)
def test_lossless_files_are_read_as_by_libsndfile(
    format: str, subtype: str, bit_depth: str, music: Make, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, music(2, 50_000).T, 44100, format=format, subtype=subtype)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    audio, rate = read_audio(path)
    np.testing.assert_array_equal(audio, expected.T)
    info = AudioReader(path).info
    assert (rate, info.bit_depth, info.length_samples) == (44100, bit_depth, 50_000)
    assert info.layout == ("FL", "FR")


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW"])
def test_lossy_wave_files_are_read(subtype: str, music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(1, 20_000).T, 22050, subtype=subtype)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    audio, _ = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(audio[0], expected, atol=1e-3)
    assert AudioReader(tmp_path / "a.wav").info.bit_depth is None


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_one_to_eight_channels_keep_their_order(
    format: str, channels: int, music: Make, tmp_path: Path
) -> None:
    audio = music(channels, 100)
    soundfile.write(tmp_path / "a", audio.T, 48000, format=format, subtype="PCM_24")
    read, _ = read_audio(tmp_path / "a")
    np.testing.assert_allclose(read, audio, atol=2**-23)
    assert len(AudioReader(tmp_path / "a").layout) == channels


@pytest.mark.parametrize("sample_rate", [8000, 11025, 96000, 192000])
def test_sample_rates(sample_rate: int, music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(2, 1000).T, sample_rate)
    audio, rate = read_audio(tmp_path / "a.wav")
    assert (rate, audio.shape) == (sample_rate, (2, 1000))


@pytest.mark.parametrize(
    ("format", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
)
@pytest.mark.parametrize("length", [1000, 48_000, 100_001])
def test_what_encoders_add_at_the_edges_is_removed(
    format: str, subtype: str, length: int, music: Make, tmp_path: Path
) -> None:
    original = music(2, length, sample_rate=48000)
    soundfile.write(tmp_path / "a", original.T, 48000, format=format, subtype=subtype)
    audio, _ = read_audio(tmp_path / "a")
    assert audio.shape == original.shape
    inner = slice(100, -100)
    assert similarity_db(original[:, inner], audio[:, inner]) > 15


@given(length=st.integers(1, 5000), channels=st.sampled_from([1, 2, 6]))
@settings(max_examples=40, deadline=None, suppress_health_check=SHARED_FIXTURE)
def test_short_vorbis_files_keep_every_sample(length: int, channels: int, tmp_path: Path) -> None:
    # libvorbis puts them on one page, for which FFmpeg computes wrong times.
    audio = np.random.default_rng(length).uniform(-0.5, 0.5, (length, channels))
    soundfile.write(tmp_path / "a.ogg", audio, 44100, format="OGG", subtype="VORBIS")
    expected, _ = soundfile.read(tmp_path / "a.ogg", dtype="float32", always_2d=True)
    read, _ = read_audio(tmp_path / "a.ogg")
    assert read.shape == (channels, length)
    np.testing.assert_allclose(read[0], expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("timescale", ["600", "1000", "44100"])
@pytest.mark.parametrize("length", [88_217, 2048, 300])
def test_aac_in_mp4_ends_where_the_last_packet_does(
    timescale: str, length: int, music: Make, encode: Make, tmp_path: Path
) -> None:
    original = music(2, length)
    options = {"movie_timescale": timescale}
    path = encode(tmp_path / "a", original, muxer="ipod", codec="aac", options=options)
    audio, _ = read_audio(path)
    assert audio.shape == original.shape
    assert similarity_db(original[:, 50:-50], audio[:, 50:-50]) > 15


def test_aac_of_itunes_has_the_length_that_its_note_tells(
    music: Make, encode: Make, tmp_path: Path
) -> None:
    original = music(2, 50_000)
    path = encode(
        tmp_path / "a", original, muxer="ipod", codec="aac", options={"use_editlist": "0"}
    )
    note = " 00000000 00000400 00000130 000000000000C350" + " 00000000" * 8
    file = MP4(path)
    file["----:com.apple.iTunes:iTunSMPB"] = [MP4FreeForm(note.encode())]
    file.save()
    audio, _ = read_audio(path)
    assert audio.shape == original.shape
    assert similarity_db(original, audio) > 15
    assert AudioReader(path).info.length_samples == 50_000


@pytest.mark.parametrize(
    ("muxer", "codec"), [("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "flac"), ("avi", "mp3")]
)
def test_sound_of_video_files(
    muxer: str, codec: str, music: Make, encode: Make, tmp_path: Path
) -> None:
    original = music(2, 30_000)
    encoder = "libmp3lame" if codec == "mp3" else codec
    path = encode(tmp_path / "film", original, muxer=muxer, codec=encoder, picture=True)
    audio, rate = read_audio(path)
    info = AudioReader(path).info
    assert (rate, info.codec, info.streams) == (44100, codec, 1)
    # AVI has no place for the encoder's delay.
    assert audio.shape == original.shape or muxer == "avi"


def test_webm(music: Make, encode: Make, tmp_path: Path) -> None:
    original = music(2, 30_000, sample_rate=48000)
    path = encode(tmp_path / "a", original, muxer="webm", codec="libopus", sample_rate=48000)
    audio, _ = read_audio(path)
    assert audio.shape == original.shape
    assert similarity_db(original[:, 100:], audio[:, 100:]) > 15


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("WAV", "PCM_16"),
        ("RF64", "PCM_24"),
        ("AIFF", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
    ],
)
def test_a_part_is_exactly_that_part_of_the_whole(
    format: str, subtype: str, music: Make, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, music(2, 60_000).T, 44100, format=format, subtype=subtype)
    whole, rate = read_audio(path)
    for start_s, duration_s in itertools.product([0.0, 0.1, 0.77777, 1.36], [1e-5, 0.2, 5.0, None]):
        end = None if duration_s is None else round((start_s + duration_s) * rate)
        expected = whole[:, round(start_s * rate) : end]
        if expected.shape[1] == 0:
            continue
        with AudioReader(path, start_s=start_s, duration_s=duration_s) as reader:
            part = np.concatenate(list(reader.blocks()), axis=1)
            assert reader.length_samples == expected.shape[1]
        np.testing.assert_array_equal(part, expected)


def test_adjoining_parts_make_up_the_whole(music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(1, 44_100).T, 44100)
    third_s = 1 / 3
    parts = [
        read_audio(tmp_path / "a.wav", start_s=i * third_s, duration_s=third_s)[0] for i in range(3)
    ]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), read_audio(tmp_path / "a.wav")[0])


def test_blocks_start_again_at_each_call(music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", music(2, 60_000).T, 44100)
    with AudioReader(tmp_path / "a.flac") as reader:
        abandoned = reader.blocks()
        first = next(abandoned)
        again = list(reader.blocks())
        assert list(abandoned) == []
    np.testing.assert_array_equal(first, again[0])
    assert all(block.shape[1] >= 1 for block in again)
    assert sum(block.shape[1] for block in again) == 60_000


@pytest.mark.parametrize("wrong", ["a.mp3", "a.wav", "a.flac", "a.txt", "a"])
@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
def test_the_content_counts_and_not_the_ending(
    format: str, wrong: str, music: Make, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / wrong, music(2, 20_000).T, 44100, format=format)
    assert read_audio(tmp_path / wrong)[0].shape == (2, 20_000)


@pytest.mark.parametrize(
    "name", ["two words.wav", 'it\'s "so".wav', "line\nbreak.wav", "🎸é.wav", "\udcff\udcfe.wav"]
)
def test_any_file_name(name: str, music: Make, tmp_path: Path) -> None:
    plain = tmp_path / "plain.wav"
    soundfile.write(plain, music(1, 100).T, 44100)
    try:
        plain.rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system does not take such names")
    assert read_audio(tmp_path / name)[0].shape == (1, 100)
    assert read_audio(str(tmp_path / name))[0].shape == (1, 100)


@pytest.mark.parametrize("stream", [-1, 1])
def test_a_stream_that_is_not_there(stream: int, music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(1, 100).T, 44100)
    with pytest.raises(ParameterError, match="has 1 audio stream"):
        AudioReader(tmp_path / "a.wav", stream=stream)


@pytest.mark.parametrize(
    "part", [{"start_s": -1.0}, {"duration_s": 0.0}, {"start_s": float("nan")}]
)
def test_impossible_parts(part: dict[str, float], music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(1, 100).T, 44100)
    with pytest.raises(ParameterError, match=next(iter(part))):
        AudioReader(tmp_path / "a.wav", **part)  # type: ignore[arg-type]


def test_a_start_after_the_end(music: Make, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", music(1, 44_100).T, 44100)
    with pytest.raises(ParameterError, match=r"before the end .* at 1\.000 s"):
        read_audio(tmp_path / "a.wav", start_s=1.0)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("The Easton Ellises - Falcon 69.stem.mp4", 262 * 1024),
        ("Music Delta - 80s Rock.stem.mp4", 294 * 1024 + 883 - 2048),
    ],
)
def test_real_stem_files(name: str, length: int) -> None:
    # The lengths are those of the packets in the file, less what its edit list skips.
    if not (REAL / name).exists():
        pytest.skip("the real stem files are not here")
    audio, rate = read_stems(REAL / name)
    assert (rate, audio.shape) == (44100, (5, 2, length))
    assert np.abs(audio).max(axis=(1, 2)).min() > 0.01


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros((44_100, 2)), 44100, subtype="PCM_16")
    header, size = path.read_bytes()[:44], 300 * 44_100 * 4
    with path.open("wb") as file:
        file.write(header[:4] + (size + 36).to_bytes(4, "little") + header[8:40])
        file.write(size.to_bytes(4, "little"))
        file.truncate(size + 44)  # five minutes of silence
    tracemalloc.start()
    try:
        with AudioReader(path) as reader:
            total = sum(block.shape[1] for block in reader.blocks())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 300 * 44_100
    assert peak < 4_000_000  # the whole would be 106 MB
