import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from desmezcla.datasets.reading import read_stem
from desmezcla.datasets.segments import Segments
from desmezcla.datasets.track import Dataset, Source, Track
from desmezcla.errors import DatasetError, ParameterError

RATE = 8000
STEMS = ("vocals", "drums")
Audio = NDArray[np.float32]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))


def code(track: int, stem: int, samples: int) -> Audio:
    """Return samples that tell where they are from: track and stem left, position right."""
    left = np.full(samples, 100 * (track + 1) + stem)
    return (np.stack([left, np.arange(samples)]) / 32768).astype(np.float32)


def source(path: Path, audio: Audio, **kind: Any) -> Source:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, RATE, **kind)
    return Source(path)


def songs(folder: Path, lengths: tuple[int, ...]) -> Dataset:
    return Dataset(
        "songs",
        folder,
        tuple(
            Track(
                f"song {number}",
                {
                    stem: (source(folder / str(number) / f"{stem}.wav", code(number, s, length)),)
                    for s, stem in enumerate(STEMS)
                },
            )
            for number, length in enumerate(lengths)
        ),
    )


def segments(dataset: Dataset, **options: Any) -> Segments:
    defaults: dict[str, Any] = {
        "stems": STEMS,
        "sample_rate": RATE,
        "channels": 2,
        "segment_samples": 500,
    }
    return Segments(dataset, **(defaults | options))


def place(stem: Audio) -> tuple[int, int, int]:
    """Return which track and stem a segment is from, and its first sample."""
    number = np.rint(stem * 32768).astype(int)
    assert (number[0] == number[0, 0]).all()
    assert (np.diff(number[1]) == 1).all()
    return number[0, 0] // 100 - 1, number[0, 0] % 100, number[1, 0]


def test_stems_come_from_one_place_of_one_track(tmp_path: Path) -> None:
    source = segments(songs(tmp_path, (2000, 3000)))
    places = [[place(stem) for stem in source.example(index)] for index in range(40)]
    for vocals, drums in places:
        assert (vocals[0], vocals[2]) == (drums[0], drums[2])
        assert (vocals[1], drums[1]) == (0, 1)
    assert {vocals[0] for vocals, _ in places} == {0, 1}
    assert len({vocals[2] for vocals, _ in places}) > 30


def test_random_mixing_takes_stems_from_places_of_their_own(tmp_path: Path) -> None:
    dataset = songs(tmp_path, (2000, 2000, 2000))

    def shared(probability: float) -> float:
        source = segments(dataset, random_mixing=probability)
        found = [[place(stem) for stem in source.example(index)] for index in range(200)]
        assert all((vocals[1], drums[1]) == (0, 1) for vocals, drums in found)
        return sum(vocals[2] == drums[2] for vocals, drums in found) / 200

    assert shared(0.0) == 1
    assert shared(1.0) < 0.05
    assert 0.35 < shared(0.5) < 0.65


def test_an_example_depends_on_seed_and_number_only(tmp_path: Path) -> None:
    dataset = songs(tmp_path, (2000, 3000))
    first, again = segments(dataset, seed=3), segments(dataset, seed=3)
    examples = [first.example(index) for index in range(6)]
    for index in (5, 0, 3):
        np.testing.assert_array_equal(again.example(index), examples[index])
    sent = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(sent.example(4), examples[4])
    other = segments(dataset, seed=4)
    assert any((other.example(index) != examples[index]).any() for index in range(6))


@pytest.mark.parametrize(("weighting", "share"), [("length", 0.9), ("uniform", 0.5)])
def test_long_tracks_come_as_often_as_their_length_says(
    tmp_path: Path, weighting: str, share: float
) -> None:
    source = segments(songs(tmp_path, (1000, 9000)), weighting=weighting)
    drawn = [place(source.example(index)[0])[0] for index in range(300)]
    assert abs(sum(drawn) / 300 - share) < 0.08


@given(length=st.integers(1, 700), index=st.integers(0, 1000))
def test_every_place_fits_and_short_tracks_are_followed_by_silence(
    tmp_path_factory: pytest.TempPathFactory, length: int, index: int
) -> None:
    folder = tmp_path_factory.mktemp("songs")
    example = segments(songs(folder, (length,))).example(index)
    samples = min(500, length)
    _, _, start = place(example[0, :, :samples])
    assert 0 <= start <= max(0, length - 500)
    assert not example[:, :, samples:].any()


def test_the_last_sample_of_a_track_is_reached(tmp_path: Path) -> None:
    source = segments(songs(tmp_path, (503,)))
    assert {place(source.example(index)[0])[2] for index in range(60)} == {0, 1, 2, 3}


def test_missing_stems_are_silent_and_shorter_ones_end_early(tmp_path: Path) -> None:
    long, short = code(0, 0, 2000), code(0, 1, 300)
    track = Track(
        "song",
        {
            "vocals": (source(tmp_path / "v.wav", long),),
            "drums": (source(tmp_path / "d.wav", short),),
        },
    )
    other = Track("other", {"bass": (source(tmp_path / "b.wav", code(1, 2, 1000)),)})
    dataset = Dataset("songs", tmp_path, (track, other))
    seen = set()
    for example in map(segments(dataset, stems=("vocals", "drums", "bass")).example, range(60)):
        if example[2].any():
            assert not example[:2].any()
            seen.add("other")
            continue
        _, _, start = place(example[0])
        drums = short[:, start : start + 500]
        np.testing.assert_allclose(example[1, :, : drums.shape[1]], drums, atol=1e-7)
        assert not example[1, :, drums.shape[1] :].any()
        seen.add("drums" if drums.size else "no drums")
    assert seen == {"other", "drums", "no drums"}
    # Mixed at random, a stem is drawn from the tracks that have it.
    mixed = segments(dataset, stems=("vocals", "drums", "bass"), random_mixing=1.0)
    assert all(stem.any() for index in range(20) for stem in mixed.example(index))


def test_parts_of_a_stem_and_sums_of_stems_are_added(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, 0.1, (2, n)).astype(np.float32) for n in (900, 700, 800)]
    a, b, c = (
        source(tmp_path / f"{n}.wav", p, subtype="FLOAT") for n, p in zip("abc", parts, strict=True)
    )
    track = Track("song", {"vocals": (a,), "drums": (b, c)})
    dataset = Dataset("songs", tmp_path, (track,))
    example = segments(dataset, stems=("accompaniment",), segment_samples=900).example(0)
    expected = read_stem(track, "accompaniment", sample_rate=RATE, channels=2)
    np.testing.assert_allclose(example[0], expected, atol=1e-6)


@pytest.mark.parametrize("kind", [{"format": "OGG"}, {"format": "FLAC"}, {"subtype": "PCM_24"}])
def test_every_kind_of_file_gives_what_the_decoder_gives(
    tmp_path: Path, kind: dict[str, str]
) -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, (2, 4000)).astype(np.float32)
    suffix = kind.get("format", "wav").lower()
    track = Track("song", {"vocals": (source(tmp_path / f"a.{suffix}", audio, **kind),)})
    dataset = Dataset("songs", tmp_path, (track,))
    whole = segments(dataset, stems=("vocals",), segment_samples=4000).example(0)
    expected = read_stem(track, "vocals", sample_rate=RATE, channels=2)
    np.testing.assert_allclose(whole[0], expected, rtol=0, atol=2e-5)
    part = segments(dataset, stems=("vocals",), segment_samples=300).example(7)[0]
    windows = np.lib.stride_tricks.sliding_window_view(whole[0], 300, axis=1)
    assert (np.abs(windows - part[:, None]).max(axis=(0, 2)) == 0).sum() == 1


def test_silent_places_are_drawn_again_if_asked_for(tmp_path: Path) -> None:
    audio = np.zeros((2, 20000), np.float32)
    audio[:, 8000:12000] = 0.5
    track = Track("song", {"vocals": (source(tmp_path / "v.wav", audio),)})
    dataset = Dataset("songs", tmp_path, (track,))

    def silent(redraws: int) -> int:
        source = segments(dataset, stems=("vocals",), silent_redraws=redraws)
        return sum(not source.example(index).any() for index in range(50))

    assert silent(0) > 25
    assert silent(60) == 0
    audio[:] = 0
    quiet = Dataset("q", tmp_path, (Track("q", {"vocals": (source(tmp_path / "q.wav", audio),)}),))
    assert not segments(quiet, stems=("vocals",), silent_redraws=3).example(0).any()


def test_a_file_that_vanishes_is_named_or_another_example_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = songs(tmp_path, (2000, 2000))
    strict, lenient = segments(dataset), segments(dataset, skip_bad=True)
    before = [strict.example(index) for index in range(20)]
    (tmp_path / "1" / "drums.wav").unlink()
    with pytest.raises(DatasetError, match=r"1/drums\.wav' cannot be read"):
        [strict.example(index) for index in range(20)]
    after = [lenient.example(index) for index in range(20)]
    again = segments(songs(tmp_path, (2000, 2000)), skip_bad=True)
    (tmp_path / "1" / "drums.wav").unlink()
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert place(new[0])[0] == 0
        np.testing.assert_array_equal(again.example(index), new)
        if place(old[0])[0] == 0:
            np.testing.assert_array_equal(old, new)
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2  # one from each of the two lenient ones


def test_a_file_cut_short_after_the_start_is_named(tmp_path: Path) -> None:
    source = segments(songs(tmp_path, (5000,)))
    path = tmp_path / "0" / "vocals.wav"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"0/vocals\.wav'.*(ends at|cannot be read)"):
        [source.example(index) for index in range(10)]


def test_values_that_are_no_numbers_are_found(tmp_path: Path) -> None:
    audio = np.zeros((2, 600), np.float32)
    audio[1, 200] = np.nan
    track = Track("song", {"vocals": (source(tmp_path / "v.wav", audio, subtype="FLOAT"),)})
    bad = segments(Dataset("songs", tmp_path, (track,)), stems=("vocals",))
    with pytest.raises(DatasetError, match=r"v\.wav' holds a value that is not a number"):
        bad.example(0)
    lenient = segments(Dataset("songs", tmp_path, (track,)), stems=("vocals",), skip_bad=True)
    with pytest.raises(DatasetError, match=r"example 0 could not be read in 100 draws.*v\.wav"):
        lenient.example(0)


@pytest.mark.parametrize(
    "options",
    [
        {"segment_samples": 0},
        {"seed": -1},
        {"random_mixing": 1.5},
        {"weighting": "loud"},
        {"silent_redraws": -1},
        {"stems": ()},
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(options))):
        segments(songs(tmp_path, (600,)), **options)


def test_an_empty_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no readable track"):
        segments(Dataset("songs", tmp_path, ()))
