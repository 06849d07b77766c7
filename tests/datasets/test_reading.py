"""Stems as arrays: lengths, rates and channels, parts of files, sums of stems."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from desmezcla.audio.resample import resample
from desmezcla.datasets.reading import (
    TrackInfo,
    component_stems,
    read_source,
    read_stem,
    stem_sources,
    track_info,
)
from desmezcla.datasets.track import Source, Track
from desmezcla.errors import AudioFileError, DatasetError, ParameterError

Audio = NDArray[np.float32]

RATE = 16000


def noise(seed: int, channels: int = 2, samples: int = 12000) -> Audio:
    # Below the cut-off of any resampling here, so that both sides of it can be compared.
    white = np.random.default_rng(seed).standard_normal((channels, samples))
    band = signal.sosfiltfilt(signal.butter(8, 0.3, output="sos"), white)
    return np.asarray(0.1 * band, np.float32)


def saved(path: Path, audio: Audio, rate: int = RATE) -> Source:
    soundfile.write(path, audio.T, rate, subtype="FLOAT")
    return Source(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reading")


@pytest.fixture(scope="module")
def track(folder: Path) -> Track:
    return Track(
        "song",
        {
            "vocals": (saved(folder / "v.wav", noise(1)),),
            "drums": (saved(folder / "d1.wav", noise(2)), saved(folder / "d2.wav", noise(3))),
            "bass": (saved(folder / "b.wav", noise(4, channels=1, samples=9000)),),
        },
    )


def test_headers_tell_length_rate_and_channels(track: Track) -> None:
    assert track_info(track) == TrackInfo(12000, RATE, 2)


def test_the_parts_of_a_stem_are_added(track: Track) -> None:
    drums = read_stem(track, "drums", sample_rate=RATE, channels=2)
    np.testing.assert_array_equal(drums, noise(2) + noise(3))


def test_a_short_mono_stem_gets_silence_and_a_second_channel(track: Track) -> None:
    bass = read_stem(track, "bass", sample_rate=RATE, channels=2)
    assert bass.shape == (2, 12000)
    np.testing.assert_array_equal(bass[:, :9000], np.repeat(noise(4, 1, 9000), 2, axis=0))
    assert not bass[:, 9000:].any()


def test_two_channels_become_one_by_their_mean(track: Track) -> None:
    vocals = read_stem(track, "vocals", sample_rate=RATE, channels=1)
    np.testing.assert_allclose(vocals, noise(1).mean(axis=0, keepdims=True), atol=1e-7)


def test_a_stem_that_the_song_does_not_have_is_silent(track: Track) -> None:
    piano = read_stem(track, "piano", sample_rate=RATE, channels=2)
    np.testing.assert_array_equal(piano, np.zeros((2, 12000), np.float32))


def test_the_mixture_is_the_sum_where_there_is_no_file(track: Track) -> None:
    mixture = read_stem(track, "mixture", sample_rate=RATE, channels=2)
    bass = np.pad(noise(4, 1, 9000), ((0, 0), (0, 3000)))
    np.testing.assert_allclose(mixture, noise(1) + noise(2) + noise(3) + bass, atol=1e-6)


@pytest.mark.parametrize(
    ("stem", "left_out"),
    [("accompaniment", "vocals"), ("no_vocals", "vocals"), ("no_drums", "drums")],
)
def test_a_sum_of_stems_is_all_others(stem: str, left_out: str, track: Track) -> None:
    form = {"sample_rate": RATE, "channels": 2}
    rest = read_stem(track, stem, **form)
    whole = read_stem(track, "mixture", **form)
    np.testing.assert_allclose(rest + read_stem(track, left_out, **form), whole, atol=1e-6)


def test_a_sum_that_the_track_holds_is_taken_and_not_added_twice() -> None:
    def of(*stems: str) -> Track:
        return Track("x", {stem: (Source(Path(stem)),) for stem in stems})

    def files(track: Track, stem: str) -> list[str]:
        return [str(source.path) for source in stem_sources(track, stem)]

    both = of("vocals", "drums", "no_vocals")
    assert files(both, "mixture") == ["vocals", "drums"]
    assert files(both, "no_vocals") == ["no_vocals"]
    assert files(of("vocals", "accompaniment"), "mixture") == ["vocals", "accompaniment"]
    assert files(of("vocals", "accompaniment"), "no_vocals") == ["accompaniment"]
    assert component_stems(["vocals", "no_vocals", "accompaniment"]) == ("vocals", "no_vocals")
    with pytest.raises(
        DatasetError, match=r"stem='no_drums' cannot be made .* choose one of vocals"
    ):
        stem_sources(of("vocals", "accompaniment"), "no_drums")


def test_the_channel_of_a_source_is_picked(folder: Path) -> None:
    source = saved(folder / "picked.wav", noise(5))
    right = read_source(Source(source.path, channel=1), sample_rate=RATE, channels=1)
    np.testing.assert_array_equal(right, noise(5)[1:])
    with pytest.raises(DatasetError, match=r"has 2 channel\(s\), so channel 2 cannot be taken"):
        read_source(Source(source.path, channel=2), sample_rate=RATE, channels=1)


def test_more_than_two_channels_are_refused(folder: Path) -> None:
    source = saved(folder / "surround.wav", noise(6, channels=6, samples=100))
    with pytest.raises(DatasetError, match=r"surround.wav' has 6 channels, and datasets have 1 or"):
        read_source(source, sample_rate=RATE, channels=2)
    with pytest.raises(DatasetError, match="has 6 channels"):
        track_info(Track("x", {"vocals": (source,)}))


@settings(max_examples=25)
@given(
    start=st.integers(0, 25000),
    samples=st.integers(1, 25000),
    rate=st.sampled_from([RATE, 8000, 11025, 22050, 32000, 44100]),
    channels=st.sampled_from([1, 2]),
)
def test_a_part_is_that_part_of_the_whole(
    start: int, samples: int, rate: int, channels: int, track: Track
) -> None:
    form = {"sample_rate": rate, "channels": channels}
    whole = read_stem(track, "mixture", **form)
    part = read_stem(track, "mixture", start_samples=start, samples=samples, **form)
    expected = np.pad(whole, ((0, 0), (0, 60000)))[:, start : start + samples]
    assert part.dtype == np.float32
    np.testing.assert_allclose(part, expected, atol=2e-6)


def test_another_rate_is_resampled_as_a_whole_file_would_be(track: Track) -> None:
    vocals = read_stem(track, "vocals", sample_rate=44100, channels=2)
    np.testing.assert_array_equal(vocals, resample(noise(1), RATE, 44100))


def test_files_of_different_rates_have_one_length(folder: Path) -> None:
    track = Track(
        "x",
        {
            "vocals": (saved(folder / "x8.wav", noise(1, samples=8000), 8000),),
            "drums": (saved(folder / "x44.wav", noise(2, samples=22050), 44100),),
        },
    )
    assert track_info(track) == TrackInfo(44100, 44100, 2)
    for stem in track.stems:
        assert read_stem(track, stem, sample_rate=RATE, channels=2).shape == (2, RATE)


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ({"sample_rate": 0}, "sample_rate=0 Hz must be positive"),
        ({"channels": 3}, "channels=3 must be 1 or 2"),
        ({"start_samples": -1}, "start_samples=-1 must be 0 or more"),
        ({"samples": 0}, "samples=0 must be 1 or more"),
        ({"start_samples": 12000}, "start_samples=12000 must be before the end of track 'song'"),
    ],
)
def test_arguments_out_of_range_are_refused(
    option: dict[str, int], rule: str, track: Track
) -> None:
    with pytest.raises(ParameterError, match=rule):
        read_stem(track, "vocals", **{"sample_rate": RATE, "channels": 2, **option})


def test_a_missing_file_is_named(folder: Path) -> None:
    track = Track("x", {"vocals": (Source(folder / "nowhere.wav"),)})
    with pytest.raises(AudioFileError, match=r"nowhere.wav' does not exist"):
        read_stem(track, "vocals", sample_rate=RATE, channels=2)
